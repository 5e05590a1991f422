"""Readers of recorded data sets, on small hand-made copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from percept_ros.errors import RecordingError
from percept_ros.evaluate import detection_data as data
from percept_ros.types import ObjectClass

CALIBRATION = """P2: 700 0 600 0 0 700 180 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
"""


def block(x: float, y: float, bottom_z: float, count: int) -> np.ndarray:
    """Points of a car-sized block in the LiDAR's frame."""
    rng = np.random.default_rng(0)
    points = rng.uniform((x - 1.9, y - 0.8, bottom_z + 0.1), (x + 1.9, y + 0.8, bottom_z + 1.4), (count, 3))
    return np.column_stack([points, np.zeros(count)]).astype(np.float32)


@pytest.fixture
def kitti_root(tmp_path: Path) -> Path:
    for folder in ("velodyne", "label_2", "calib", "image_2"):
        (tmp_path / folder).mkdir()
    (tmp_path / "calib" / "000000.txt").write_text(CALIBRATION)
    (tmp_path / "label_2" / "000000.txt").write_text(
        "Car 0.00 0 0.0 1 1 2 2 1.5 1.6 4.0 2.0 1.7 10.0 -1.57\n"
        "Van 0.00 0 0.0 1 1 2 2 2.0 1.8 5.0 -3.0 1.7 20.0 -1.57\n"
        "Car 0.00 0 0.0 1 1 2 2 1.5 1.6 4.0 2.0 1.7 30.0 1.57\n"
        "DontCare -1 -1 -10 500 100 560 200 -1 -1 -1 -1000 -1000 -1000 -10\n"
    )
    cloud = np.concatenate([block(10.0, -2.0, -1.7, 100), block(30.0, -2.0, -1.7, 5)])
    cloud.tofile(tmp_path / "velodyne" / "000000.bin")
    return tmp_path


def test_kitti_labels_become_boxes_in_the_base_frame(kitti_root: Path) -> None:
    (sweep,) = data.kitti(kitti_root)
    near, van, far = sweep.reference.boxes
    np.testing.assert_allclose(near, [10.0, -2.0, 1.73 - 1.7 + 0.75, 4.0, 1.6, 1.5, 0.0], atol=2e-3)
    assert abs(far[6]) == pytest.approx(np.pi, abs=2e-3)
    assert van[1] == pytest.approx(3.0)
    assert sweep.reference.class_ids.tolist() == [ObjectClass.CAR, ObjectClass.UNKNOWN, ObjectClass.CAR]
    assert sweep.reference.counted.tolist() == [True, False, False]


def test_kitti_region_is_the_image_without_the_ignored_parts(kitti_root: Path) -> None:
    (sweep,) = data.kitti(kitti_root)
    places = np.array(
        [[10, 0, 1, 4, 2, 2, 0], [-10, 0, 1, 4, 2, 2, 0], [60, 0, 1, 4, 2, 2, 0], [20, 2, 2.4, 4, 2, 2, 0.0]]
    )
    assert sweep.region(places).tolist() == [True, False, False, False]


def test_recorded_boxes_of_low_score_only_excuse(tmp_path: Path) -> None:
    (tmp_path / "velodyne").mkdir()
    (tmp_path / "boxes_velo").mkdir()
    np.concatenate([block(10, 0, -1.7, 60), block(20, 5, -1.7, 60)]).tofile(tmp_path / "velodyne" / "000000.bin")
    (tmp_path / "boxes_velo" / "000000.txt").write_text(
        "10 0 -0.95 4 1.7 1.5 0.1 0 0.9\n20 5 -0.95 4 1.7 1.5 0.1 0 0.2\n\n"
    )
    (sweep,) = data.recorded(tmp_path)
    assert sweep.reference.counted.tolist() == [True, False]


def test_a_box_labelled_twice_counts_once() -> None:
    boxes = np.array([[5, 0, 0.8, 4, 2, 1.6, 0], [5, 0, 0.8, 4, 2, 1.6, 0], [5, 0, 0.8, 4, 2, 1.6, 0.0]])
    twice = data._labelled_twice(boxes, np.array([1, 1, 2]))
    assert twice.tolist() == [False, True, False]


def test_missing_and_cut_files_are_named(tmp_path: Path, kitti_root: Path) -> None:
    with pytest.raises(RecordingError, match="label_2"):
        list(data.kitti(tmp_path / "velodyne"))
    (kitti_root / "velodyne" / "000000.bin").write_bytes(b"\0" * 20)
    with pytest.raises(RecordingError, match="cut off"):
        list(data.kitti(kitti_root))
    (kitti_root / "calib" / "000000.txt").write_text("P2: 1 2 3\n")
    with pytest.raises(RecordingError, match="not usable"):
        list(data.kitti(kitti_root))
