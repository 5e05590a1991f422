"""The geometric detector on ray-cast scenes and, where it is there, on a recorded drive."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from small_scene import BASE_SE3_LIDAR, scan, sensors

from percept_ros.core.shapes import Column, box_as, extend_away, obstacles
from percept_ros.detectors.geometric import GeometricConfig, GeometricDetector
from percept_ros.errors import DeadlineExceeded, EngineClosed, InferenceError, TensorMismatch
from percept_ros.inference.cluster import COLUMNS, ClusterConfig, ClusterEngine
from percept_ros.types import LIDAR_BIT, Detections, ObjectClass

DATA = Path(os.environ.get("PERCEPT_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
CAR = (4.4, 1.8, 1.5)


def detect(points: np.ndarray, config: GeometricConfig | None = None) -> Detections:
    detector = GeometricDetector(config)
    detector.load()
    return detector.detect(sensors(points))


def car_at(x: float, y: float, yaw: float = 0.0, ground: float = 0.0) -> list[float]:
    return [x, y, ground + 0.2 + CAR[2] / 2, *CAR, yaw]


def nearest(found: Detections, x: float, y: float) -> int:
    return int(np.argmin(np.hypot(found.boxes[:, 0] - x, found.boxes[:, 1] - y)))


@pytest.mark.parametrize(
    ("x", "y", "yaw"), [(12, 3, 0.0), (10, -6, 0.4), (15, 4, 1.57), (-14, 5, -0.3), (25, -4, 0.1), (8, 8, 0.8)]
)
def test_car_is_found_where_it_stands(x: float, y: float, yaw: float) -> None:
    found = detect(scan([car_at(x, y, yaw)]))
    i = nearest(found, x, y)
    assert found.class_ids[i] == ObjectClass.CAR
    assert found.scores[i] > 0.5
    assert np.hypot(found.boxes[i, 0] - x, found.boxes[i, 1] - y) < 0.8
    assert abs(np.sin(found.boxes[i, 6] - yaw)) < np.sin(0.15)
    np.testing.assert_allclose(found.boxes[i, 3:6], CAR, atol=0.75)
    assert found.boxes[i, 2] + found.boxes[i, 5] / 2 == pytest.approx(1.7, abs=0.15)


@pytest.mark.parametrize("slope", [-0.05, 0.08])
def test_slope_is_ground_and_not_obstacle(slope: float) -> None:
    found = detect(scan([car_at(20, 2, 0.0, slope * 20)], slope=slope))
    cars = np.flatnonzero((found.class_ids != ObjectClass.UNKNOWN) & (found.scores > 0.3))
    assert len(cars) == 1
    assert np.hypot(found.boxes[cars[0], 0] - 20, found.boxes[cars[0], 1] - 2) < 0.8


def test_ghosts_below_the_road_do_not_hide_a_car() -> None:
    points = scan([car_at(10, 2)])
    rng = np.random.default_rng(3)
    ghosts = np.column_stack([rng.uniform(6, 14, 400), rng.uniform(0, 4, 400), rng.uniform(-6.5, -2.4, 400)])
    found = detect(np.vstack([points, ghosts.astype(np.float32)]))
    i = nearest(found, 10, 2)
    assert found.class_ids[i] == ObjectClass.CAR
    assert np.hypot(found.boxes[i, 0] - 10, found.boxes[i, 1] - 2) < 0.8


def test_wall_is_no_car_and_pedestrian_is_one() -> None:
    wall, person = [12, 10, 1.5, 40, 0.3, 3, 0.0], [9, -3, 0.9, 0.5, 0.6, 1.75, 0.0]
    found = detect(scan([wall, person]))
    named = np.flatnonzero((found.class_ids != ObjectClass.UNKNOWN) & (found.scores > 0.3))
    assert [found.class_ids[i] for i in named] == [ObjectClass.PEDESTRIAN]
    assert np.hypot(found.boxes[named[0], 0] - 9, found.boxes[named[0], 1] + 3) < 0.3


def test_car_beside_a_wall_stands_apart() -> None:
    found = detect(scan([[12, 5.3, 1.5, 40, 0.3, 3, 0.0], car_at(12, 4.0)]))
    i = nearest(found, 12, 4)
    assert found.class_ids[i] == ObjectClass.CAR
    assert np.hypot(found.boxes[i, 0] - 12, found.boxes[i, 1] - 4) < 0.8


def test_lorry_is_a_truck() -> None:
    found = detect(scan([[18, 3, 1.8, 8.5, 2.5, 3.2, 0.1]], beams=128))
    i = nearest(found, 18, 3)
    assert found.class_ids[i] == ObjectClass.TRUCK


def test_detections_obey_their_contract() -> None:
    found = detect(scan([car_at(12, 3), [9, -3, 0.9, 0.5, 0.6, 1.75, 0.0]]))
    assert found.stamp_ns == 5
    np.testing.assert_allclose(found.class_probabilities.sum(axis=1), 1.0)
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert np.isnan(found.velocity_mps).all()
    assert (found.sensors == LIDAR_BIT).all()
    assert (found.boxes[:, 3:6] > 0).all()
    assert (np.abs(found.boxes[:, 6]) <= np.pi).all()


def test_nothing_comes_from_nothing() -> None:
    detector = GeometricDetector()
    detector.load()
    assert len(detector.detect(sensors(None))) == 0
    assert len(detector.detect(sensors(np.zeros((0, 3), np.float32)))) == 0
    assert len(detector.detect(sensors(np.full((100, 3), np.nan, np.float32)))) == 0


def test_missing_extrinsic_is_an_error() -> None:
    detector = GeometricDetector()
    detector.load()
    bare = sensors(scan([]))
    object.__setattr__(bare, "base_SE3", {})
    with pytest.raises(InferenceError, match="extrinsic"):
        detector.detect(bare)


def test_strided_rows_and_bad_rows_give_the_same_clusters() -> None:
    points = scan([car_at(12, 3)])
    wide = np.full((len(points) + 3, 5), np.nan, np.float32)
    wide[:-3, :3] = points
    wide[-1] = np.inf
    engine = ClusterEngine(labels=True)
    engine.load()
    plain = engine.infer({"points": points, "base_SE3_lidar": BASE_SE3_LIDAR})
    expected, labels = plain["clusters"].copy(), plain["labels"].copy()
    again = engine.infer({"points": wide, "base_SE3_lidar": BASE_SE3_LIDAR})
    np.testing.assert_array_equal(again["clusters"], expected)
    np.testing.assert_array_equal(again["labels"], [*labels, -1, -1, -1])
    assert expected.shape[1] == COLUMNS == len(Column)
    assert (np.bincount(labels + 2)[2:] == expected[:, Column.POINTS]).all()


def test_engine_refuses_what_it_cannot_take() -> None:
    engine = ClusterEngine()
    cloud = {"points": np.zeros((4, 3), np.float32), "base_SE3_lidar": np.eye(4)}
    with pytest.raises(EngineClosed):
        engine.infer(cloud)
    engine.load()
    engine.warm_up()
    with pytest.raises(TensorMismatch, match="points"):
        engine.infer({"base_SE3_lidar": np.eye(4)})
    with pytest.raises(TensorMismatch, match="columns"):
        engine.infer({**cloud, "points": np.zeros((4, 2), np.float32)})
    with pytest.raises(InferenceError, match="refused"):
        engine.infer({**cloud, "base_SE3_lidar": np.full((4, 4), np.nan)})
    with pytest.raises(DeadlineExceeded):
        engine.infer(cloud, deadline_ns=0)
    engine.close()
    engine.close()
    with pytest.raises(EngineClosed):
        engine.infer(cloud)
    bad = ClusterEngine(ClusterConfig(min_range_m=50.0, max_range_m=10.0))
    bad.load()
    with pytest.raises(InferenceError, match="refused"):
        bad.infer(cloud)


def test_most_clusters_is_a_limit() -> None:
    engine = ClusterEngine(max_clusters=2)
    engine.load()
    crowd = scan([[x, y, 0.9, 0.6, 0.6, 1.7, 0] for x in (8, 12, 16) for y in (-4, 0, 4)])
    found = engine.infer({"points": crowd, "base_SE3_lidar": BASE_SE3_LIDAR})["clusters"]
    assert len(found) == 2
    assert found[0, Column.RANGE] <= found[1, Column.RANGE]


def test_hidden_side_is_extended_away_from_the_sensor() -> None:
    seen = np.array([[10.0, 0.0, 0.8, 0.4, 1.8, 1.5, 0.0]])
    whole = extend_away(seen, np.array([[4.2, 1.7]]), np.zeros(2))
    np.testing.assert_allclose(whole[0], [9.8 + 2.1, 0.0, 0.8, 4.2, 1.8, 1.5, 0.0])


def test_rear_of_a_car_becomes_a_whole_car_ahead() -> None:
    rectangle = np.array([10.0, 0.0, 0.0, 0.2, 1.8, 0.02, 0.1, 1.0], np.float32)
    box = box_as(ObjectClass.CAR, rectangle, -0.1, 1.5, np.zeros(2))
    np.testing.assert_allclose(box[[0, 1, 3, 4, 6]], [9.9 + 2.1, 0.0, 4.2, 1.8, 0.0], atol=1e-6)
    assert box[2] - box[5] / 2 == pytest.approx(-0.1)


def test_no_clusters_no_obstacles() -> None:
    boxes, scores, probabilities = obstacles(np.zeros((0, COLUMNS), np.float32), np.zeros(2))
    assert boxes.shape == (0, 7)
    assert len(scores) == len(probabilities) == 0


@pytest.mark.data
def test_cars_of_a_recorded_drive_are_found() -> None:
    file = DATA / "kitti_drive" / "velodyne" / "0000000020.bin"
    if not file.exists():
        pytest.skip(f"no recorded drive at {file}: set PERCEPT_DATA")
    points = np.fromfile(file, np.float32).reshape(-1, 4)
    found = detect(points[:, :3])
    cars = found.boxes[(found.class_ids == ObjectClass.CAR) & (found.scores > 0.5)]
    ahead = cars[(cars[:, 0] > 3) & (cars[:, 0] < 40) & (np.abs(cars[:, 1]) < 8)]
    assert len(ahead) >= 4
