"""nuScenes key frames: labels, cameras and returns agree, and broken folders are refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from percept_ros.core.geometry import inverse, points_in_box, project_boxes
from percept_ros.errors import RecordingError
from percept_ros.evaluate.detection_nuscenes import FOLDER, key_frames, score_key_frames
from percept_ros.types import Detections, SensorSet

DATA = Path(os.environ.get("PERCEPT_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")) / FOLDER


@pytest.mark.parametrize("content", ["{", "{}", json.dumps({"timestamp": 1.0, "lidar": {}})])
def test_broken_key_frames_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(RecordingError, match="holds no"):
        list(key_frames(tmp_path))
    (tmp_path / "a_calib_gt.json").write_text(content)
    with pytest.raises(RecordingError, match="cannot be read as a key frame"):
        list(key_frames(tmp_path))


class Knowing:
    """Answers the reference, in every mode that has sensors."""

    model, artefact_sha256, takes_cameras = "knowing", "", True

    def __init__(self, boxes: np.ndarray, classes: np.ndarray) -> None:
        self._boxes, self._classes = boxes, classes
        self.seen: list[tuple[bool, int]] = []

    def load(self) -> None: ...

    def close(self) -> None: ...

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        self.seen.append((sensors.cloud is not None, len(sensors.cameras)))
        n = len(self._boxes)
        sure, unknown = np.eye(8)[self._classes], np.full((n, 2), np.nan)
        return Detections(0, "base_link", self._boxes, np.full(n, 0.9), sure, unknown, np.ones(n, np.uint32))


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data in {DATA}")
def test_a_real_key_frame() -> None:
    ((sensors, reference),) = key_frames(DATA)
    assert len(sensors.views) == 6
    assert sensors.cloud is not None
    pose = sensors.base_SE3["lidar"]
    points = (sensors.cloud.points @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)
    counted = reference.boxes[reference.counted]
    assert sum(points_in_box(points, box).any() for box in counted) == len(counted)
    seen = np.zeros(len(counted), bool)
    for view in sensors.views.values():
        size = (view.width_px, view.height_px)
        seen |= project_boxes(view.projection, inverse(view.base_SE3_camera), counted, size)[1]
    assert seen.all()
    knowing = Knowing(reference.boxes, reference.class_ids)
    scores = score_key_frames(DATA, knowing, lambda text: None)
    assert all(scores[mode]["mAP"] == pytest.approx(1.0) for mode in ("fusion", "lidar_only", "camera_only"))
    assert knowing.seen == [(True, 6), (True, 0), (False, 6)]
