"""The lease: one publisher at a time, numbers that go on, and the state of the one before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from percept_ros.errors import ResourceExhausted
from percept_ros.runtime.lease import STATE_BYTES, Lease, lease_name, remove_lease

FRESH_NS = 10**11


@pytest.fixture
def name() -> Iterator[str]:
    unique = f"test-{os.getpid()}"
    yield unique
    remove_lease(unique)


def test_only_the_holder_publishes_and_numbers_go_on(name: str) -> None:
    numbers: list[tuple[str, int]] = []
    with Lease(name) as leader, Lease(name) as standby:
        assert not leader.used
        assert not leader.publish(lambda n: numbers.append(("nobody", n)), None)
        assert leader.take(FRESH_NS) is None
        for state in (b"one", b"two"):
            assert leader.publish(lambda n: numbers.append(("leader", n)), state)
        assert standby.used
        assert not standby.publish(lambda n: numbers.append(("standby", n)), None)
        assert standby.take(FRESH_NS) == b"two"
        assert standby.held
        assert not leader.held
        assert standby.publish(lambda n: numbers.append(("standby", n)), None)
        assert not leader.publish(lambda n: numbers.append(("leader", n)), b"never"), "fenced"
        assert leader.take(FRESH_NS) == b"two", "the last state that was kept"
    assert numbers == [("leader", 0), ("leader", 1), ("standby", 2)]


def test_old_and_oversized_states_are_not_handed_on(name: str) -> None:
    with Lease(name) as leader, Lease(name) as standby:
        leader.take(FRESH_NS)
        leader.publish(lambda n: None, b"good")
        leader.publish(lambda n: None, bytes(STATE_BYTES + 1))
        assert standby.take(0) is None, "older than asked for"
        assert standby.take(FRESH_NS) == b"good"


def test_taking_counts_as_a_sign_of_life(name: str) -> None:
    with Lease(name) as leader, Lease(name) as standby:
        leader.take(FRESH_NS)
        leader.publish(lambda n: None, None)
        before_ns = leader.silent_ns()
        standby.take(FRESH_NS)
        assert leader.silent_ns() < before_ns + 10**9
        assert standby.silent_ns() >= 0


def test_a_holder_killed_in_the_middle_of_a_publication_blocks_nobody(name: str) -> None:
    program = (
        "import os, signal, sys\n"
        "from percept_ros.runtime.lease import Lease\n"
        "held = Lease(sys.argv[1]); held.take(0); held.publish(lambda n: None, b'whole')\n"
        "held.publish(lambda n: os.kill(os.getpid(), signal.SIGKILL), b'never')\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, name], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    with Lease(name) as heir:
        assert heir.used
        assert heir.take(FRESH_NS) == b"whole"
        given: list[int] = []
        assert heir.publish(given.append, None)
        assert given == [2], "the number that was taken is not given again"


def test_close_gives_the_lease_back_and_names_are_plain(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Lease(name)
    held.take(FRESH_NS)
    held.close()
    held.close()
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    assert lease_name("/percept/left") == "7.percept-left"
    monkeypatch.delenv("ROS_DOMAIN_ID")
    assert lease_name("/") == "0.root"


def test_no_room_is_said(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ResourceExhausted, match="No space left"):
        Lease(name)
