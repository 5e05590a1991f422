"""What training feeds the network decodes back to the boxes it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from percept_ros.core.decode import CentreHeads, decode_centres
from percept_ros.errors import RecordingError
from percept_ros.train.augment import Augmentation, augment
from percept_ros.train.scans import Scan, above_road, load_scan, save_scan
from percept_ros.train.targets import OutputGrid, draw_targets

GRID = OutputGrid(-12.8, -12.8, 0.8, 32, 32)
LEAST = (5, 5, 5, 5)


def boxes() -> np.ndarray:
    return np.array(
        [
            [3.1, 4.2, 0.8, 4.2, 1.8, 1.5, 2.0],
            [-6.0, -2.3, 1.6, 9.0, 2.5, 3.2, -0.4],
            [8.0, -7.7, 0.9, 0.6, 0.6, 1.7, 0.0],
        ]
    )


def test_targets_decode_to_their_boxes() -> None:
    targets = draw_targets(boxes(), np.array([0, 1, 2]), np.array([50, 50, 50]), GRID, 4, LEAST)
    found, scores, classes = decode_centres(targets.heat, targets.box, CentreHeads(origin_m=-12.8, score_threshold=0.9))
    order = np.argmax(classes, axis=1)
    np.testing.assert_allclose(scores, 1.0)
    np.testing.assert_allclose(found[np.argsort(order)], boxes(), atol=1e-5)
    assert targets.mask.all()


def test_objects_with_too_few_points_are_masked_and_others_are_not_asked_for() -> None:
    targets = draw_targets(boxes(), np.array([0, 1, -1]), np.array([2, 50, 50]), GRID, 4, LEAST)
    assert targets.heat[0].max() == 0.0
    assert targets.mask[0].min() == 0.0
    assert targets.mask[1:, :, :20].min() == 1.0
    assert targets.mask[3].min() == 0.0
    assert (targets.weight > 0).sum() < 40


def scan() -> Scan:
    rng = np.random.default_rng(0)
    ground = np.column_stack([rng.uniform(-30, 30, (20000, 2)), rng.normal(0, 0.02, 20000)])
    block = rng.uniform((2, 3, 0), (4, 5, 1.5), (500, 3))
    points = np.concatenate([ground, block]).astype(np.float32) + np.float32((0, 0, 0.3))
    return above_road(points, np.array([[3, 4, 1.05, 2.1, 2.1, 1.6, 0.0]]), np.array([1]))


def test_a_scan_stands_on_its_road_and_survives_the_disk(tmp_path: Path) -> None:
    made = scan()
    assert made.boxes[0, 2] == pytest.approx(0.75, abs=0.03)
    assert made.inside[0] > 480
    save_scan(made, tmp_path / "a.npz")
    read = load_scan(tmp_path / "a.npz")
    np.testing.assert_allclose(read.points, made.points, atol=0.003)
    np.testing.assert_array_equal(read.boxes, made.boxes)


def test_a_broken_scan_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(RecordingError, match="cannot be read"):
        load_scan(tmp_path / "b.npz")


@pytest.mark.parametrize("seed", range(6))
def test_augmented_points_stay_in_their_boxes(seed: int) -> None:
    how = Augmentation(
        drop_probability=0.0,
        beams_probability=0.0,
        sector_probability=0.0,
        view_probability=0.0,
        canopy_probability=0.0,
        jitter_probability=0.0,
    )
    changed = augment(scan(), how, np.random.default_rng(seed))
    points = changed.points @ changed.matrix.T.astype(np.float32)
    x, y, z, length, width, height, yaw = changed.boxes[0]
    offset = points - np.array([x, y, z], np.float32)
    along = np.abs(offset[:, 0] * np.cos(yaw) + offset[:, 1] * np.sin(yaw)) < length / 2
    across = np.abs(offset[:, 1] * np.cos(yaw) - offset[:, 0] * np.sin(yaw)) < width / 2
    assert (along & across & (np.abs(offset[:, 2]) < height / 2)).sum() > 450


def test_objects_that_a_sector_cuts_away_keep_no_returns() -> None:
    how = Augmentation(drop_probability=0, beams_probability=0, sector_probability=1, canopy_probability=0)
    made, kept = scan(), []
    for seed in range(40):
        changed = augment(made, how, np.random.default_rng(seed))
        own = changed.points[(changed.points[:, 2] > 0.1) & (np.hypot(*(changed.points[:, :2] - (3.0, 4.0)).T) < 1.6)]
        kept.append((len(own) / made.inside[0], changed.inside[0] / made.inside[0]))
    truth, told = np.array(kept).T
    assert np.abs(truth - told).max() < 0.25
    assert (told == 0.0).any()
    assert (told > 0.9).any()


def test_objects_that_the_view_of_a_camera_cuts_keep_what_is_left_of_them() -> None:
    how = Augmentation(
        drop_probability=0, beams_probability=0, sector_probability=0, view_probability=1, canopy_probability=0
    )
    made, told = scan(), []
    for seed in range(60):
        changed = augment(made, how, np.random.default_rng(seed))
        own = changed.points[(changed.points[:, 2] > 0.1) & (np.hypot(*(changed.points[:, :2] - (3.0, 4.0)).T) < 1.6)]
        assert abs(len(own) - changed.inside[0]) < 0.3 * made.inside[0]
        told.append(changed.inside[0] / made.inside[0])
    assert min(told) == 0.0
    assert max(told) > 0.4
