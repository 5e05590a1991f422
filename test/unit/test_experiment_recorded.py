"""An experiment over a recorded bag, as percept replay runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from percept_ros.cli.experiment import app
from percept_ros.config import load_config
from percept_ros.errors import RecordingError
from percept_ros.evaluate.experiment_run import run_recorded
from percept_ros.replay.bag_reader import BagReader
from percept_ros.replay.runner import TRACKS_TOPIC, ReplayJob
from percept_ros.replay.simulated import record_drive
from percept_ros.simulate.drive import SimulateConfig

PLAN = {
    "name": "recorded",
    "control": "usual",
    "groups": {"usual": {"chain": ["geometric"]}, "other": {"chain": ["geometric"], "share": 0.4}},
    "shadow": ["other"],
}


def test_a_plan_over_a_recording_deals_compares_and_writes_tracks(tmp_path: Path) -> None:
    bag, plan, out = tmp_path / "drive.mcap", tmp_path / "plan.yaml", tmp_path / "out"
    record_drive(bag, SimulateConfig(seconds=1.0, cameras=0, beams=16), 1, lambda done, total: None)
    plan.write_text(yaml.safe_dump(PLAN), encoding="utf-8")
    config = load_config(None, {"experiment": {"plan": str(plan)}})
    found = run_recorded(ReplayJob(bag, out, config, pictures=0), lambda done, total: None)
    assert found["replay"]["frames_out"] == sum(found["published"].values()) == 10
    assert set(found["published"]) == {"usual", "other"}
    assert found["shadows"]["other_beside_usual"]["disagreement_mean"] == 0.0, "the same model"
    assert (out / "report.html").exists()
    with BagReader(out / "tracks.mcap") as reader:
        assert reader.count([TRACKS_TOPIC]) == 10


def test_a_recording_that_is_not_there_is_said(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(PLAN), encoding="utf-8")
    config = load_config(None, {"experiment": {"plan": str(plan)}})
    with pytest.raises(RecordingError):
        run_recorded(ReplayJob(tmp_path / "none.mcap", tmp_path / "out", config), lambda done, total: None)


def test_remap_needs_a_bag(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", "plan.yaml", "-o", str(tmp_path), "--remap", "/a:=/b"])
    assert isinstance(done.exception, RecordingError)
