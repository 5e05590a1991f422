"""Labels that beams pass through."""

from __future__ import annotations

import numpy as np

from percept_ros.evaluate.seen_through import seen_through

SENSOR = np.array([0.0, 0.0, 1.7])
CAR = np.array([10.0, 2.0, 0.75, 4.2, 1.8, 1.5, 0.4])


def front_of(box: np.ndarray, count: int) -> np.ndarray:
    """Returns from the side of a box that faces the sensor."""
    rng = np.random.default_rng(0)
    own = np.column_stack(
        [np.full(count, -box[3] / 2 + 0.02), rng.uniform(-0.8, 0.8, count), rng.uniform(0.4, 1.4, count)]
    )
    c, s = np.cos(box[6]), np.sin(box[6])
    turned = np.column_stack([c * own[:, 0] - s * own[:, 1], s * own[:, 0] + c * own[:, 1], own[:, 2]])
    return (turned + np.array([box[0], box[1], 0.0])).astype(np.float32)


def behind(box: np.ndarray, count: int) -> np.ndarray:
    """Returns of beams through the middle of a box, on the road behind it."""
    rng = np.random.default_rng(1)
    middle = np.column_stack([np.full(count, box[0]), rng.uniform(-0.1, 0.1, count) + box[1], np.full(count, 0.6)])
    way = middle - SENSOR
    return (SENSOR + way * (SENSOR[2] / -way[:, 2:3])).astype(np.float32)


def test_a_car_that_stops_the_beams_is_there() -> None:
    points = np.concatenate([front_of(CAR, 80), behind(CAR, 3)])
    assert seen_through(points, CAR[None], SENSOR).tolist() == [False]


def test_a_label_that_lets_most_beams_through_is_empty() -> None:
    points = np.concatenate([front_of(CAR, 30), behind(CAR, 60)])
    assert seen_through(points, CAR[None], SENSOR).tolist() == [True]


def test_a_label_without_any_return_is_not_called_empty() -> None:
    nothing = np.zeros((0, 3), np.float32)
    assert seen_through(nothing, CAR[None], SENSOR).tolist() == [False]
    assert seen_through(nothing, np.zeros((0, 7)), SENSOR).shape == (0,)


def test_simulated_cars_are_never_seen_through() -> None:
    from percept_ros.simulate.scenes import random_scene, scan

    rng = np.random.default_rng(5)
    sample = scan(random_scene(rng), rng)
    cars = (sample.class_ids == 1) & (sample.points_inside >= 20)
    cars &= np.hypot(sample.boxes[:, 0], sample.boxes[:, 1]) < 40.0
    assert cars.sum() > 3
    assert not seen_through(sample.points, sample.boxes[cars], sample.sensor).any()
