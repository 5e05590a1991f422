"""Detection metrics against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.evaluate.detection import (
    Found,
    Reference,
    average_precision,
    called,
    from_above,
    in_image,
    judge,
    mean_ap,
    nuscenes_ap,
    summarise,
    within,
    working_point,
)
from percept_ros.types import ObjectClass

CAR, TRUCK, WALKER = int(ObjectClass.CAR), int(ObjectClass.TRUCK), int(ObjectClass.PEDESTRIAN)


def at(*xs: float, yaw: float = 0.0) -> np.ndarray:
    """Cars of 4 x 2 m along the x axis."""
    return np.array([[x, 0, 0.8, 4, 2, 1.6, yaw] for x in xs]).reshape(-1, 7)


def found(boxes: np.ndarray, scores: list[float], classes: list[int] | None = None) -> Found:
    ids = np.array(classes if classes is not None else [CAR] * len(boxes), np.int64)
    return Found(boxes, ids, np.array(scores), np.ones(len(boxes), bool))


def reference(boxes: np.ndarray, classes: list[int] | None = None, counted: list[bool] | None = None) -> Reference:
    ids = np.array(classes if classes is not None else [CAR] * len(boxes), np.int64)
    return Reference(boxes, ids, np.array(counted if counted is not None else [True] * len(boxes), bool))


def test_ap_by_hand() -> None:
    # three cars; right 0.9, false 0.8, right 0.7, one missed: precision 1 up to recall 1/3, then 2/3 up to 2/3
    frame = (found(at(0.2, 50.0, 20.0), [0.9, 0.8, 0.7]), reference(at(0.0, 20.0, 40.0)))
    judged = judge([frame], ObjectClass.CAR)
    assert judged.right.tolist() == [True, False, True]
    assert average_precision(judged) == pytest.approx(1 / 3 + (2 / 3) / 3)
    point = working_point(judged, 0.75)
    assert (point["count"], point["found"], point["false"]) == (3, 1, 1)
    assert point["recall_40m"] == pytest.approx(1 / 3)


def test_one_object_is_found_once_and_the_second_box_is_false() -> None:
    judged = judge([(found(at(0.0, 0.3), [0.9, 0.8]), reference(at(0.0)))], ObjectClass.CAR)
    assert judged.right.tolist() == [True, False]


def test_objects_that_do_not_count_excuse_but_are_not_found() -> None:
    frame = (found(at(0.0, 10.0), [0.9, 0.8]), reference(at(0.0, 10.0), counted=[False, True]))
    judged = judge([frame], ObjectClass.CAR)
    assert judged.right.tolist() == [True]
    assert len(judged.reference_score) == 1


def test_a_car_on_a_lorry_is_false_and_the_lorry_is_called_car() -> None:
    frame = (found(at(0.0), [0.9]), reference(at(0.0), [TRUCK]))
    assert judge([frame], ObjectClass.CAR).right.tolist() == [False]
    assert called([frame], ObjectClass.TRUCK, 0.3, from_above) == {"car": 1}
    assert called([frame], ObjectClass.TRUCK, 0.95, from_above) == {"nothing": 1}


def test_boxes_outside_the_region_are_not_false() -> None:
    outside = Found(at(90.0), np.array([CAR]), np.array([0.9]), np.array([False]))
    assert len(judge([(outside, reference(at(0.0)))], ObjectClass.CAR).scores) == 0


def test_heading_is_counted_on_found_objects() -> None:
    frames = [
        (found(at(0.0, yaw=3.0), [0.9]), reference(at(0.0))),
        (found(at(0.0, yaw=0.3), [0.9]), reference(at(0.0))),
    ]
    point = working_point(judge(frames, ObjectClass.CAR), 0.3)
    assert (point["heading_right"], point["heading_right_rate"]) == (1, 0.5)


def test_nothing_there_gives_none_and_counts() -> None:
    summary = summarise([(found(at(), []), reference(at()))], 0.3)
    assert summary["frames"] == 1
    assert summary["car"]["AP"] is None
    assert summary["car"]["recall_40m"] is None
    assert summary["car"]["count"] == 0


def test_nuscenes_ap_of_perfect_and_of_nothing() -> None:
    perfect = [(found(at(0.0, 20.0), [0.9, 0.8]), reference(at(0.0, 20.0)))]
    assert nuscenes_ap(judge(perfect, ObjectClass.CAR, within(0.5))) == pytest.approx(1.0)
    assert nuscenes_ap(judge([(found(at(), []), reference(at(0.0)))], ObjectClass.CAR, within(0.5))) == 0.0


def test_mean_ap_is_over_distances_and_classes() -> None:
    # the car is 1.5 m off: right at 2 and 4 m only; the walker is never seen
    boxes = at(0.0, 30.0)
    result = mean_ap([(found(at(1.5), [0.9]), reference(boxes, [CAR, WALKER]))])
    assert result["car"]["AP"] == pytest.approx(0.5)
    assert result["pedestrian"] == {"AP": 0.0, "count": 1}
    assert result["mAP"] == pytest.approx(0.25)


def test_image_boxes_overlap_by_hand() -> None:
    a = Found(np.array([[0, 0, 10, 10.0]]), np.array([CAR]), np.array([0.9]), np.array([True]))
    b = reference(np.array([[5, 0, 15, 10.0], [0, 0, 10, 10], [9, 9, 30, 30]]))
    np.testing.assert_allclose(in_image(a, b), [[1 / 3, 1.0, 0.0]])
    judged = judge([(a, b)], ObjectClass.CAR, in_image)
    assert judged.right.tolist() == [True]


def test_the_shipped_model_with_cameras_is_scored_where_there_are_calibrated_ones() -> None:
    from percept_ros.cli.evaluate import default_model

    assert [default_model(name) for name in ("sim", "nuscenes")] == ["bev_fusion"] * 2
    assert {default_model(name) for name in ("kitti", "recorded", "av2", "kitti-drive")} == {"lidar_pillars"}
