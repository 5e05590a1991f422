"""An experiment's counts among the metrics of a service; read only when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.experiment import ExperimentDetector
from percept_ros.observe.meter import Meter


def tell_changes(detector: DetectorChain, say: Callable[[str], None]) -> None:
    """Tell an experiment's changes through ``say``; nothing for a chain without groups."""
    if isinstance(detector, ExperimentDetector):
        detector.on_change = say


def watch_experiment(current: Callable[[], DetectorChain], meter: Meter) -> None:
    """Count frames by group of the chain that ``current`` gives when asked; nothing for a chain without groups."""
    if not isinstance(current(), ExperimentDetector):
        return

    def frames() -> Iterator[tuple[tuple[str, ...], float]]:
        detector = current()
        if isinstance(detector, ExperimentDetector):
            for key, count in list(detector.log.counts.items()):
                yield key, float(count)

    def stopped() -> Iterator[tuple[tuple[str, ...], float]]:
        detector = current()
        if isinstance(detector, ExperimentDetector) and (canary := detector.state.get("canary")):
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
