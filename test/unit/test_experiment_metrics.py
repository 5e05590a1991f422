"""An experiment's metrics are those of the chain that detects now."""

from __future__ import annotations

from pathlib import Path

from test_experiment_detector import experiment

from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.experiment_metrics import tell_changes, watch_experiment
from percept_ros.observe.meter import Meter


def total(meter: Meter) -> float:
    """Frames of all groups."""
    (family,) = [family for family in meter.collect() if family.name == "percept_experiment_frames_total"]
    return sum(point.value for point in family.points)


def test_metrics_follow_an_exchanged_chain(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    with experiment(tmp_path / "1") as first, experiment(tmp_path / "2") as second:
        now: list[DetectorChain] = [first.detector]
        meter = Meter()
        watch_experiment(lambda: now[0], meter)
        first.run(3)
        assert total(meter) == 6.0, "three answers, three looks of the shadow"
        now[0] = second.detector
        assert total(meter) == 0.0
        second.run(2)
        assert total(meter) == 4.0


def test_changes_are_told_and_plain_chains_have_nothing_to_watch(tmp_path: Path) -> None:
    meter, said = Meter(), list[str]()
    watch_experiment(lambda: DetectorChain([]), meter)
    assert not meter.collect()
    with experiment(tmp_path) as bench:
        tell_changes(bench.detector, said.append)
        bench.detector.on_change("hello")
    assert said == ["hello"]
