"""The recorded data through converter and replay, as a user does it: answered, tracked, drawn, and the same twice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from percept_ros.cli.main import main

pytestmark = pytest.mark.data

ROOT = Path(os.environ.get("PERCEPT_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
MODEL = ROOT / "models" / "yolox_nano"
FRAMES = 8


@pytest.fixture(autouse=True)
def _data() -> None:
    if not MODEL.is_dir() or not (ROOT / "kitti_drive").is_dir():
        pytest.skip(f"no kitti_drive or models/yolox_nano under {ROOT}: set PERCEPT_DATA")


def short_drive(tmp_path: Path) -> Path:
    """The first frames of the KITTI drive, as a bag."""
    root = tmp_path / "drive"
    (root / "calib").mkdir(parents=True)
    (root / "calib" / "calib.txt").symlink_to((ROOT / "kitti_drive" / "calib" / "calib.txt").resolve())
    for part in ("image_02", "velodyne"):
        (root / part).mkdir()
        for file in sorted((ROOT / "kitti_drive" / part).iterdir())[:FRAMES]:
            (root / part / file.name).symlink_to(file.resolve())
    assert main(["convert", "kitti-drive", str(root), "-o", str(tmp_path / "drive.mcap"), "--json"]) == 0
    return tmp_path / "drive.mcap"


def test_the_drive_is_tracked_and_two_replays_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = short_drive(tmp_path)
    for name in ("a", "b"):
        arguments = ["--camera-model", str(MODEL), "-o", str(tmp_path / name), "--pictures", "2", "--json"]
        assert main(["replay", str(bag), *arguments]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["frames_in"] == summary["frames_out"] == FRAMES
    assert summary["tracks_confirmed"] >= 4
    assert summary["drops"] == {}
    assert (tmp_path / "a" / "tracks.mcap").read_bytes() == (tmp_path / "b" / "tracks.mcap").read_bytes()
    assert (tmp_path / "a" / "report.html").read_text().count("data:image/jpeg") == 4


def test_six_cameras_and_the_lidar_are_fused_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (ROOT / "nuscenes_sample").is_dir():
        pytest.skip(f"no nuscenes_sample under {ROOT}")
    bag, out = tmp_path / "sample.mcap", tmp_path / "out"
    assert main(["convert", "nuscenes", str(ROOT / "nuscenes_sample"), "-o", str(bag), "--json"]) == 0
    assert main(["replay", str(bag), "--camera-model", str(MODEL), "-o", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["frames_in"], summary["frames_out"], summary["drops"]) == (1, 1, {})
    assert len(summary["sensors"]) == 7
    assert summary["detections"]["matches"] >= 3
    page = (out / "report.html").read_text()
    assert page.count("data:image/jpeg") == 7
    assert all(
        f'alt="cam_{name}"' in page
        for name in ("front", "front_left", "front_right", "back", "back_left", "back_right")
    )
