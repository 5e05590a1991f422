"""Pictures of the report: boxes are where the geometry says."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import small_bags as small

from percept_ros.core.geometry import inverse, project_boxes, transform_boxes
from percept_ros.replay.birdseye import FRONT, draw_birdseye
from percept_ros.replay.gallery import Gallery
from percept_ros.replay.overlay import draw_overlay
from percept_ros.replay.record import percentiles
from percept_ros.replay.report import camera_rank
from percept_ros.replay.scene import COLOURS, Scene, TrackNames, scene_of
from percept_ros.types import U8, CameraCalibration, Detections, Forecasts, FrameResult, Mode, ObjectClass, SensorSet


def scene(i: int = 0, *, with_truth: bool = False) -> Scene:
    """Frame ``i`` of the small drive with a black image."""
    calibration = CameraCalibration(*small.SIZE_PX, small.K, np.zeros(0))
    black = np.zeros((small.SIZE_PX[1], small.SIZE_PX[0], 3), np.uint8)
    frame = dataclasses.replace(small.image(i), image=black, calibration=calibration)
    mounted = {"lidar": small.BASE_SE3_LIDAR, "camera_front": small.BASE_SE3_CAMERA}
    cameras = {"camera_front": frame}
    sensors = SensorSet(small.stamp(i), small.cloud(i), cameras, {}, ("camera_front",), mounted, small.ego_pose(i))
    tracks = small.truth(i + 1)[i].tracks
    empty = Detections.empty(small.stamp(i), "base_link")
    result = FrameResult(sensors, empty, {}, tracks, Forecasts.empty(0.1), Mode.FULL, {})
    return scene_of(result, TrackNames(), tracks if with_truth else None)


def boxed(image: U8, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 of the pixels of about one colour."""
    rows, columns = np.nonzero((np.abs(image.astype(int) - colour) < 40).all(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_the_scene_is_in_the_vehicle_frame() -> None:
    found = scene(5)
    expected = transform_boxes(inverse(small.ego_pose(5)), small.cars(5))
    assert np.allclose(found.tracks.boxes, expected)
    assert found.points is not None
    assert found.points[:, 2].min() == pytest.approx(0.0, abs=0.1)


def test_boxes_are_drawn_where_they_project() -> None:
    found = scene(0)
    image = draw_overlay(found, "camera_front", small.SIZE_PX[0] * 2)
    assert image is not None
    K = np.hstack([small.K, np.zeros((3, 1))])
    expected, visible = project_boxes(K, inverse(small.BASE_SE3_CAMERA), found.tracks.boxes, small.SIZE_PX)
    assert visible.all()
    low, high = 2 * expected[:, :2].min(axis=0), 2 * expected[:, 2:].max(axis=0)
    x1, y1, x2, y2 = boxed(image, COLOURS[ObjectClass.CAR])
    assert (x1, x2, y2) == pytest.approx((low[0], high[0], high[1]), abs=3)
    assert y1 <= low[1] + 3  # labels stand above the boxes


def test_nothing_is_drawn_behind_the_camera_or_without_it() -> None:
    found = scene(0)
    behind = found.tracks.boxes.copy()
    behind[:, 0] -= 80.0
    image = draw_overlay(
        dataclasses.replace(found, tracks=dataclasses.replace(found.tracks, boxes=behind)), "camera_front", 240
    )
    assert image is not None
    assert not image.any()
    assert draw_overlay(found, "camera_rear", 240) is None


def test_the_birdseye_view_looks_forward_to_the_right() -> None:
    assert FRONT.pixels((FRONT.x_min_m, FRONT.y_max_m)).tolist() == [0.0, 0.0]
    ahead, left = FRONT.pixels((10.0, 0.0)), FRONT.pixels((0.0, 10.0))
    centre = FRONT.pixels((0.0, 0.0))
    assert ahead[0] - centre[0] == pytest.approx(10 * FRONT.scale)
    assert centre[1] - left[1] == pytest.approx(10 * FRONT.scale)
    image = draw_birdseye(scene(0, with_truth=True), FRONT)
    assert image.shape == (*FRONT.size_px[::-1], 3)
    x, y = FRONT.pixels(small.cars(0)[0, :2])
    around = image[int(y) - 25 : int(y) + 25, int(x) - 30 : int(x) + 30].astype(int)
    assert (np.abs(around - COLOURS[ObjectClass.CAR]) < 40).all(axis=2).any()


def test_numbers_of_tracks_last() -> None:
    names = TrackNames()
    assert [names.of(b"x"), names.of(b"y"), names.of(b"x")] == [1, 2, 1]


@pytest.mark.parametrize(("frames", "pictures", "count"), [(0, 5, 0), (1, 5, 1), (40, 10, 10), (3, 10, 2), (40, 1, 1)])
def test_pictures_are_spread_over_the_recording(frames: int, pictures: int, count: int) -> None:
    chosen = Gallery.evenly(frames, pictures).chosen
    assert len(chosen) == count
    assert all(0 <= i < frames for i in chosen)
    if frames > 1 and pictures > 1:
        assert frames - 1 in chosen


def test_cameras_stand_as_around_the_vehicle() -> None:
    names = ["cam_back", "cam_back_left", "cam_back_right", "cam_front", "cam_front_left", "cam_front_right", "top"]
    in_order = sorted(names, key=camera_rank)
    assert in_order[:3] == ["cam_front_left", "cam_front", "cam_front_right"]
    assert in_order[3:6] == ["cam_back_left", "cam_back", "cam_back_right"]


def test_percentiles_are_in_milliseconds() -> None:
    assert percentiles([1_000_000, 2_000_000, 3_000_000], (50.0, 99.9)) == {"p50": 2.0, "p999": pytest.approx(2.998)}
    assert percentiles([], (50.0,)) == {"p50": None}
