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
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.experiment import ExperimentDetector
from percept_ros.detectors.experiment_setup import OpenGroup
from percept_ros.errors import ConfigError
from percept_ros.evaluate.experiment_report import write_report
from percept_ros.inference.experiment import GroupPlan, Plan
from percept_ros.inference.experiment_artefacts import stage
from percept_ros.types import Detections, SensorSet

UNHURRIED_MS = 60_000.0
LOG = "records"
Progress = Callable[[int, int], None]


def run_experiment(
    config: Config, frames: Iterable[SensorSet], out: Path, progress: Progress, *, opener: OpenGroup | None = None
) -> dict[str, Any]:
    """Run the plan of ``config.experiment`` over frames and write the report into ``out``; returns its summary.

    Nothing is cut off for being late and every shadow is waited for. opener: makes the groups' chains. Raises ConfigError
    without a plan.
    """
    if not config.experiment.plan:
        raise ConfigError("experiment.plan is empty: name the file of a plan")
    settings = replace(config.experiment, watch_s=0.0, log=str(out / LOG), shadow_ms=UNHURRIED_MS)
    budget = replace(config.budget, detect_ms=UNHURRIED_MS)
    config = replace(config, experiment=replace(settings, plan=""), budget=budget)
    detector = ExperimentDetector(settings, opener or group_opener(config, "thread"), wait=True, shadow_ms=UNHURRIED_MS)
    said: list[str] = []
    detector.on_change = said.append
    published: Counter[str] = Counter()
    pipeline = build_pipeline(
        replace(config, detector=replace(config.detector, chain=("geometric",))), seed=0, isolation="thread"
    )
    try:
        detector.load()
        pipeline.exchange(detector).close()
        for done, sensors in enumerate(frames, 1):
            published[pipeline.process(sensors, sensors.stamp_ns).group] += 1
            progress(done, 0)
        detector.settle()
        state = detector.state
    finally:
        pipeline.close()
        detector.close()
    summary = write_report(out / LOG, out, state=state)
    return {**summary, "published": dict(published), "said": said}


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
