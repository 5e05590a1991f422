"""An experiment's counts among the metrics of a service; read only when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.experiment import ExperimentDetector
from percept_ros.observe.meter import Meter


def watch_experiment(detector: DetectorChain, meter: Meter, say: Callable[[str], None]) -> None:
    """Count frames by group and tell changes through ``say``; nothing for a chain without groups."""
    if not isinstance(detector, ExperimentDetector):
        return
    detector.on_change = say

    def frames() -> Iterator[tuple[tuple[str, ...], float]]:
        for key, count in list(detector.log.counts.items()):
            yield key, float(count)

    def stopped() -> Iterator[tuple[tuple[str, ...], float]]:
        if canary := detector.state.get("canary"):
            yield (canary["group"],), float(canary["stopped"])

    meter.counter(
        "percept_experiment_frames_total",
        "frames of an experiment by group, role and outcome",
        "ab_result",
        "role",
        "outcome",
        read=frames,
    )
    meter.gauge("percept_experiment_canary_stopped", "1 when the canary was stopped", "ab_result", read=stopped)
