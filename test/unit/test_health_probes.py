"""Probe states in files, what they answer, and the datagrams to systemd."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from percept_ros.health.probes import STALE_NS, Probe, ProbeBoard, ProbeState, answer, read_probes
from percept_ros.health.systemd import Notifier, watchdog_ns


def state(ready: bool = True, **other: object) -> ProbeState:
    return ProbeState("fusion", Probe(True), Probe(ready, "" if ready else "mode STALE"), Probe(True), **other)  # type: ignore[arg-type]


def test_a_state_comes_back_as_it_was_written(tmp_path: Path) -> None:
    board = ProbeBoard("/percept/fusion", tmp_path)
    written = state(mode="FULL", health=0.9, checks={"frozen": 1.0}, details={"model": "a"})
    board.write(written)
    assert read_probes(tmp_path) == {"percept-fusion": written}
    board.close()
    board.close()
    assert read_probes(tmp_path) == {}


def test_all_nodes_must_hold_and_none_at_all_is_a_no() -> None:
    now = time.monotonic_ns()
    assert not answer({}, "liveness", now)[0]
    assert answer({"a": state()}, "readiness", now)[0]
    ok, body = answer({"a": state(), "b": state(ready=False)}, "readiness", now)
    assert not ok
    assert body["nodes"]["b"] == {"ok": False, "reason": "mode STALE", "mode": ""}
    assert answer({"a": state(), "b": state(ready=False)}, "liveness", now)[0]
    with pytest.raises(ValueError, match="liveness, readiness, semantic"):
        answer({}, "health", now)


def test_a_state_that_is_not_renewed_is_dead() -> None:
    old = state(renewed_ns=10)
    assert answer({"a": old}, "liveness", 10 + STALE_NS)[0]
    ok, body = answer({"a": old}, "liveness", 11 + STALE_NS)
    assert not ok
    assert "silent for 3.0 s" in body["nodes"]["a"]["reason"]


@pytest.mark.parametrize("damage", [b"", b"PRB1", b"PRB1" + bytes(200), os.urandom(4096)])
def test_torn_and_foreign_files_are_left_out(tmp_path: Path, damage: bytes) -> None:
    board = ProbeBoard("good", tmp_path)
    board.write(state())
    (tmp_path / "bad.probe").write_bytes(damage)
    assert list(read_probes(tmp_path)) == ["good"]
    board.close()


def test_a_state_too_long_for_its_block_loses_details(tmp_path: Path) -> None:
    board = ProbeBoard("long", tmp_path)
    board.write(state(details={"text": "x" * 10_000}))
    assert read_probes(tmp_path)["long"].details == {"cut": "the details are too long"}
    board.close()


def test_systemd_hears_ready_status_and_watchdog(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(tmp_path / "notify"))
        service.settimeout(5.0)
        notifier = Notifier(str(tmp_path / "notify"))
        assert notifier.enabled
        assert notifier.ready()
        assert notifier.status("all\nactive")
        assert not notifier.status("all\nactive"), "said already"
        assert notifier.watchdog()
        assert notifier.stopping()
        heard = [service.recv(200) for _ in range(4)]
        notifier.close()
    assert heard == [b"READY=1", b"STATUS=all active", b"WATCHDOG=1", b"STOPPING=1"]
    assert not notifier.ready(), "closed"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not Notifier().ready()
    notifier = Notifier("/nowhere/notify")
    assert not notifier.ready(), "nobody listens: no error"
    notifier.close()


def test_watchdog_period_is_meant_for_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "2000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_ns() == 2_000_000_000
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_ns() == 0
