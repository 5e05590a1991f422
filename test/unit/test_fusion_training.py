"""Moments that bev_fusion learns from: images, labels and projections agree, and dropped sensors leave nothing behind."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from percept_ros.errors import RecordingError
from percept_ros.train.fusion_scans import FusionScan, load_moment, save_moment, simulate_moment

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def moment() -> FusionScan:
    return simulate_moment(7, 1)


def test_a_moment_is_repeatable_and_survives_the_disk(moment: FusionScan, tmp_path: Path) -> None:
    save_moment(moment, tmp_path / "m.npz")
    read, again = load_moment(tmp_path / "m.npz"), simulate_moment(7, 1)
    for name in ("images", "projections", "visible_px", "labels", "depth_m"):
        np.testing.assert_array_equal(getattr(read, name), getattr(moment, name))
        np.testing.assert_array_equal(getattr(again, name), getattr(moment, name))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "m.npz").read_bytes()[:500])
    with pytest.raises(RecordingError, match="cannot be read"):
        load_moment(tmp_path / "cut.npz")


def test_objects_lie_where_their_pixels_are(moment: FusionScan) -> None:
    rows, columns = moment.labels.shape[1:]
    agree = []
    for box, class_id, px in zip(moment.scan.boxes, moment.scan.classes, moment.visible_px, strict=True):
        if px < 2000 or class_id < 0:
            continue
        at = moment.projections.astype(float) @ np.r_[box[:3], 1.0]
        for camera, (x, y, depth) in enumerate(at):
            if depth > 1.0 and abs(x) < 0.95 * depth and abs(y) < 0.95 * depth:
                u, v = int((x / depth + 1) / 2 * columns), int((y / depth + 1) / 2 * rows)
                if moment.labels[camera, v, u] == class_id + 1:
                    agree.append(abs(float(moment.depth_m[camera, v, u]) - depth))
    assert len(agree) >= 3
    assert np.median(agree) < 2.5


@needs_torch
@pytest.mark.parametrize("mode", ["all", "some_cameras", "lidar_only", "camera_only"])
def test_samples_hold_what_the_mode_says(moment: FusionScan, mode: str) -> None:
    from percept_ros.train.bev_fusion import MomentMaker
    from percept_ros.train.loop import Recipe

    sample = MomentMaker(Recipe()).sample(moment, np.random.default_rng(1), mode)
    returns = max(float(window.image[:12].astype(np.float32).max()) for window in sample.windows)
    assert (returns > 0.0) == (mode != "camera_only")
    if mode == "lidar_only":
        assert not sample.projections.any()
        assert not sample.images.any()
        assert len(sample.labels) == 0
    else:
        assert 1 <= len(sample.images) <= len(moment.images)
        assert len(sample.labels) == len(sample.images)
    assert all(window.targets.heat.shape == (4, 128, 128) for window in sample.windows)


@needs_torch
def test_turning_the_world_moves_the_projections_with_it(moment: FusionScan) -> None:
    from percept_ros.train.augment import Augmentation, augment
    from percept_ros.train.bev_fusion import changed_SE3_inverse

    changed = augment(moment.scan, Augmentation(scale=0.0), np.random.default_rng(3))
    height = changed.plane.at(changed.boxes[:, :2])
    after = np.column_stack([changed.boxes[:, :2], changed.boxes[:, 2] - height, np.ones(len(height))])
    before = np.column_stack([moment.scan.boxes[:, :3], np.ones(len(height))])
    turned = moment.projections.astype(float) @ changed_SE3_inverse(changed)
    np.testing.assert_allclose(turned @ after.T, moment.projections.astype(float) @ before.T, atol=1e-6)
