"""Profiles: sampled and heap, the ring on disk, flame graphs, the command."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest

from percept_ros.cli.main import main
from percept_ros.errors import InputError, SetupError
from percept_ros.observe.flame import flame_html, heaviest
from percept_ros.observe.profiles import CPU, HEAP, Profile, Profiler, ProfileStore, profile_cpu, profile_heap

WAIT_S = 20.0


class Spinner(threading.Thread):
    """A thread that burns time in a function of a known name."""

    def __init__(self) -> None:
        super().__init__(name="spinner", daemon=True)
        self.end = threading.Event()
        self.kept: list[bytes] = []

    def run(self) -> None:
        while not self.end.is_set():
            self.burn_in_a_known_place()

    def burn_in_a_known_place(self) -> None:
        sum(range(20_000))
        if len(self.kept) < 200:
            self.kept.append(bytes(10_000))


def test_the_sampler_sees_where_a_thread_is() -> None:
    spinner = Spinner()
    spinner.start()
    try:
        profile = profile_cpu(0.3, hz=200.0)
    finally:
        spinner.end.set()
        spinner.join(WAIT_S)
    found = [stack for stack in profile.stacks if stack.startswith("spinner;")]
    assert found
    assert any("burn_in_a_known_place" in stack for stack in found)
    assert profile.kind == CPU
    assert profile.total >= 1


def test_the_heap_profile_sees_what_stays() -> None:
    kept: list[list[bytes]] = []

    class Allocating(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            kept.append([bytes(1000) for _ in range(100)])
            return True

    profile = profile_heap(WAIT_S, stop=Allocating())
    assert profile.kind == HEAP
    assert profile.total > 90_000
    assert any("test_observe_profiles.py" in stack for stack in profile.stacks)
    assert kept


def test_the_ring_keeps_the_newest(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "profiles", keep=3)
    names = [store.add(Profile(CPU, float(at), 1.0, {"a;b c": 2.0, "a": 1.0}), f"reason {at}") for at in range(5)]
    assert [entry.name for entry in store.entries()] == names[:1:-1]
    assert store.entries()[0].reason == "reason 4"
    assert store.stacks(names[-1]) == {"a;b c": 2.0, "a": 1.0}
    with pytest.raises(InputError, match="no profile"):
        store.stacks(names[0])
    with pytest.raises(InputError, match="no profile"):
        store.stacks("../../etc/passwd")
    (store.folder / "cpu-1.folded").write_text("not a profile")
    assert len(store.entries()) == 3


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="profile folder"):
        ProfileStore(tmp_path / "file" / "profiles")


def test_the_flame_graph_is_well_formed_and_escaped() -> None:
    page = flame_html("x", {"main;<lambda> (a.py);work": 30.0, "main;rest": 10.0}, "samples")
    picture = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    widths = [float(box.get("width", "0")) for box in picture.iter("rect")]
    assert max(widths) == pytest.approx(1200.0)
    assert sorted(round(w) for w in widths) == [300, 900, 900, 1200, 1200]
    assert "<lambda>" not in page
    assert heaviest({"a;b": 3.0, "c;b": 2.0, "d": 4.0}) == [("b", 5.0), ("d", 4.0)]
    assert "0 samples" in flame_html("empty", {}, "samples")


def test_profiles_on_demand_and_periodic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ProfileStore(tmp_path)
    with Profiler(store, every_s=0.5, window_s=0.1) as profiler:
        assert profiler.take("asked").startswith(CPU)
        page = tmp_path / "flame.html"
        assert main(["profile", str(tmp_path), "--take", "heap", "--seconds", "0.1", "-o", str(page), "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["name"].startswith(HEAP)
        assert "<svg" in page.read_text()
        pause = threading.Event()
        for _ in range(200):
            if any(entry.reason == "periodic" for entry in store.entries()):
                break
            pause.wait(0.1)
    assert {entry.reason for entry in store.entries()} >= {"asked", "on demand", "periodic"}
    assert profiler.failed == 0


def test_wrong_use_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(tmp_path / "absent")]) == 2
    assert "profile_folder" in capsys.readouterr().err
    assert main(["profile", str(tmp_path), "--take", "gpu"]) == 2
    assert main(["profile", str(tmp_path), "-o", str(tmp_path / "x.html")]) == 2
    assert main(["profile", str(tmp_path), "--json"]) == 0
