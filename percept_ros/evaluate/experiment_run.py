"""Runs an experiment over frames that were recorded or simulated; and the demonstration of all that it does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from percept_ros.build import build_pipeline, group_opener
from percept_ros.config import Config
from percept_ros.core.tracking import Tracker
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.experiment import ExperimentDetector
from percept_ros.detectors.experiment_setup import OpenGroup
from percept_ros.errors import ConfigError
from percept_ros.evaluate.experiment_report import write_report
from percept_ros.inference.experiment import GroupPlan, Plan
from percept_ros.inference.experiment_artefacts import stage
from percept_ros.replay.runner import ReplayJob, replay
from percept_ros.types import Detections, FrameResult, SensorSet

UNHURRIED_MS = 60_000.0
LOG = "records"
Progress = Callable[[int, int], None]


class ExperimentRun:
    """A pipeline that detects with a plan's groups; what ``percept replay`` runs over a bag, or ``process`` frame by frame.

    Nothing is cut off for being late and every shadow is waited for. opener: makes the groups' chains. Raises ConfigError
    without a plan.
    """

    def __init__(self, config: Config, out: Path, opener: OpenGroup | None = None) -> None:
        if not config.experiment.plan:
            raise ConfigError("experiment.plan is empty: name the file of a plan")
        settings = replace(config.experiment, watch_s=0.0, log=str(out / LOG), shadow_ms=UNHURRIED_MS)
        budget = replace(config.budget, detect_ms=UNHURRIED_MS)
        config = replace(config, experiment=replace(settings, plan=""), budget=budget)
        opener = opener or group_opener(config, "thread")
        self._out, self._said = out, list[str]()
        self._published: Counter[str] = Counter()
        self.detector = ExperimentDetector(settings, opener, wait=True, shadow_ms=UNHURRIED_MS)
        self.detector.on_change = self._said.append
        plain = replace(config, detector=replace(config.detector, chain=("geometric",)))
        self._pipeline = build_pipeline(plain, seed=0, isolation="thread")
        try:
            self.detector.load()
            self._pipeline.exchange(self.detector).close()
        except BaseException:
            self.close()
            raise

    @property
    def tracker(self) -> Tracker:
        """That of the pipeline."""
        return self._pipeline.tracker

    def process(self, sensors: SensorSet, now_ns: int) -> FrameResult:
        """Have the frame's group answer."""
        result = self._pipeline.process(sensors, now_ns)
        self._published[result.group] += 1
        return result

    def reset(self) -> None:
        """Forget tracks (time jumped)."""
        self._pipeline.reset()

    def close(self) -> None:
        """Close every group. Safe to call twice."""
        self._pipeline.close()
        self.detector.close()

    def report(self) -> dict[str, Any]:
        """Wait for the shadows and write the report; returns its summary. Before ``close``."""
        self.detector.settle()
        summary = write_report(self._out / LOG, self._out, state=self.detector.state)
        return {**summary, "published": dict(self._published), "said": self._said}


def run_experiment(
    config: Config, frames: Iterable[SensorSet], out: Path, progress: Progress, *, opener: OpenGroup | None = None
) -> dict[str, Any]:
    """Run the plan of ``config.experiment`` over frames and write the report into ``out``; returns its summary."""
    running = ExperimentRun(config, out, opener)
    try:
        for done, sensors in enumerate(frames, 1):
            running.process(sensors, sensors.stamp_ns)
            progress(done, 0)
        return running.report()
    finally:
        running.close()


def run_recorded(job: ReplayJob, progress: Progress) -> dict[str, Any]:
    """The same over a bag, as ``percept replay`` runs it: tracks.mcap beside the report, and what was refused in the summary.

    Raises RecordingError for a bag that cannot be read at all or has no sensor.
    """
    reports: list[dict[str, Any]] = []

    class Recorded(ExperimentRun):
        def close(self) -> None:
            if not reports and self.detector.state:
                reports.append(self.report())
            super().close()

    summary = replay(job, progress, lambda config: Recorded(config, job.out)).summary
    kept = ("frames_in", "frames_out", "modes", "drops", "damage", "lost_bytes", "ego_motion")
    return {**reports[0], "bag": str(job.bag), "replay": {key: summary[key] for key in kept if key in summary}}


class Slowed(DetectorChain):
    """A chain that takes longer: what a bad engine build does."""

    def __init__(self, chain: DetectorChain, factor: float) -> None:
        super().__init__(chain.members)
        self._factor = factor

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """The chain's answer, ``factor`` times as late."""
        begin = time.monotonic()
        found = super().detect(sensors, deadline_ns=deadline_ns)
        time.sleep((self._factor - 1.0) * (time.monotonic() - begin))
        return found


DEMO = {
    "name": "demo",
    "control": "fp32",
    "groups": {
        "fp32": {"chain": ["lidar_pillars", "geometric"], "precision": "fp32"},
        "int8": {"chain": ["lidar_pillars", "geometric"], "precision": "int8"},
        "slowed": {"chain": ["lidar_pillars", "geometric"], "precision": "fp32"},
        "corrupt": {"share": 0.2},
    },
    "shadow": ["int8"],
    "canary": {"group": "slowed", "share": 0.3},
}
"""int8 shadows fp32; a canary with a slowed engine; a group whose first artefact is corrupt."""
SLOWED = 4.0


def demonstrate(config: Config, frames: Iterable[SensorSet], out: Path, progress: Progress) -> dict[str, Any]:
    """Run ``DEMO`` over frames; the result says what was to be seen, ``ok`` whether all of it was."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = stage("lidar_pillars", out / "models" / "corrupt", ["int8", "fp32"])
    with (out / "models" / "corrupt" / manifest.artefacts[0].file).open("r+b") as file:
        file.truncate(5000)
    plan = out / "plan.yaml"
    plan.write_text(yaml.safe_dump(DEMO, sort_keys=False), encoding="utf-8")
    plan.with_name("plan.yaml.stopped.json").unlink(missing_ok=True)
    config = replace(config, experiment=replace(config.experiment, plan=str(plan)))
    plain = group_opener(replace(config, budget=replace(config.budget, detect_ms=UNHURRIED_MS)), "thread")

    def opener(name: str, group: GroupPlan, given: Plan) -> DetectorChain:
        chain = plain(name, group, given)
        return Slowed(chain, SLOWED) if name == "slowed" else chain

    return _shown(run_experiment(config, frames, out, progress, opener=opener), out)


def _shown(found: dict[str, Any], out: Path) -> dict[str, Any]:
    state, published, frames = found["state"], found["published"], found["frames"]
    canary, pair = state["canary"], found["shadows"].get("int8_beside_fp32", {})
    looked = sum(f["frames"] for name, f in found["shadows"].items() if name.startswith("int8_"))
    corrupt = found["groups"].get("corrupt", {})
    result: dict[str, Any] = {
        "frames": frames,
        "published": published,
        "shadow": {"group": "int8", "frames": looked, "published": published.get("int8", 0), "beside_control": pair},
        "canary": {**canary, "against_control": found["against_control"].get("slowed")},
        "fallback": {
            "group": "corrupt",
            "said": state["notes"].get("corrupt", ""),
            "models": corrupt.get("models", []),
        },
        "said": found["said"],
        "pictures": found["pictures"],
        "report": str(out / "report.html"),
    }
    result["ok"] = bool(
        looked >= 0.95 * frames
        and not published.get("int8")
        and sum(published.values()) == frames
        and canary["stopped"]
        and canary["reason"].startswith("latency")
        and corrupt.get("models") == ["lidar_pillars@fp32"]
        and "sha256" in result["fallback"]["said"]
        and any(name.startswith("differs") for name in found["pictures"])
    )
    return result
