"""Tracks as other packages' messages, where those are installed: vision_msgs and autoware_perception_msgs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3

from percept_ros.nodes.convert import time_message
from percept_ros.types import F64, Forecasts, ObjectClass, Tracks

_NS = 1_000_000_000


def vision_detections(tracks: Tracks, forecasts: Forecasts) -> Any:
    """vision_msgs/Detection3DArray: box, id and all class hypotheses of each track."""
    msg = importlib.import_module("vision_msgs.msg")
    array = msg.Detection3DArray()
    array.header.stamp, array.header.frame_id = time_message(tracks.stamp_ns), tracks.frame_id
    for row in range(len(tracks)):
        detection = msg.Detection3D(id=tracks.id[row].tobytes().hex())
        detection.header = array.header
        detection.bbox.center, detection.bbox.size = _pose(tracks.boxes[row]), _vector(tracks.boxes[row, 3:6])
        for label, probability in _classes(tracks, row):
            hypothesis = msg.ObjectHypothesisWithPose()
            hypothesis.hypothesis.class_id = ObjectClass(label).name.lower()
            hypothesis.hypothesis.score = probability * float(tracks.existence[row])
            hypothesis.pose.pose = detection.bbox.center
            hypothesis.pose.covariance = tracks.pose_covariance[row].ravel().tolist()
            detection.results.append(hypothesis)
        array.detections.append(detection)
    return array


def autoware_tracked(tracks: Tracks, forecasts: Forecasts) -> Any:
    """autoware_perception_msgs/TrackedObjects; Autoware's twist is in the axes of the object."""
    msg = importlib.import_module("autoware_perception_msgs.msg")
    array = msg.TrackedObjects()
    array.header.stamp, array.header.frame_id = time_message(tracks.stamp_ns), tracks.frame_id
    for row in range(len(tracks)):
        found = msg.TrackedObject()
        _fill_common(found, msg, tracks, row)
        kinematics = found.kinematics
        _fill_motion(
            kinematics.pose_with_covariance,
            kinematics.twist_with_covariance,
            kinematics.acceleration_with_covariance,
            tracks,
            row,
        )
        kinematics.is_stationary = bool(tracks.stationary[row])
        kinematics.orientation_availability = 0 if int(tracks.class_ids[row]) == ObjectClass.PEDESTRIAN else 2
        array.objects.append(found)
    return array


def autoware_predicted(tracks: Tracks, forecasts: Forecasts) -> Any:
    """autoware_perception_msgs/PredictedObjects with every predicted path."""
    msg = importlib.import_module("autoware_perception_msgs.msg")
    array = msg.PredictedObjects()
    array.header.stamp, array.header.frame_id = time_message(tracks.stamp_ns), tracks.frame_id
    for row in range(len(tracks)):
        found = msg.PredictedObject()
        _fill_common(found, msg, tracks, row)
        kinematics = found.kinematics
        _fill_motion(
            kinematics.initial_pose_with_covariance,
            kinematics.initial_twist_with_covariance,
            kinematics.initial_acceleration_with_covariance,
            tracks,
            row,
        )
        kinematics.predicted_paths = [_path(msg, tracks, forecasts, row, k) for k in range(forecasts.paths.shape[1])]
        array.objects.append(found)
    return array


OUTPUTS: dict[str, tuple[str, str, Callable[[Tracks, Forecasts], Any]]] = {
    "~/detections_3d": ("vision_msgs", "Detection3DArray", vision_detections),
    "~/tracked_objects": ("autoware_perception_msgs", "TrackedObjects", autoware_tracked),
    "~/objects": ("autoware_perception_msgs", "PredictedObjects", autoware_predicted),
}
"""Topic -> package, message and the function that makes it."""


def available_outputs() -> dict[str, tuple[Any, Callable[[Tracks, Forecasts], Any]]]:
    """Topic -> message class and maker, for the packages that are installed."""
    return {
        topic: (getattr(importlib.import_module(f"{package}.msg"), name), make)
        for topic, (package, name, make) in OUTPUTS.items()
        if find_spec(package) is not None
    }


def _fill_common(found: Any, msg: Any, tracks: Tracks, row: int) -> None:
    found.object_id.uuid = np.ascontiguousarray(tracks.id[row])
    found.existence_probability = float(tracks.existence[row])
    found.classification = [
        msg.ObjectClassification(label=label, probability=probability) for label, probability in _classes(tracks, row)
    ]
    found.shape.type, found.shape.dimensions = 0, _vector(tracks.boxes[row, 3:6])


def _fill_motion(pose: Any, twist: Any, acceleration: Any, tracks: Tracks, row: int) -> None:
    pose.pose, pose.covariance = _pose(tracks.boxes[row]), tracks.pose_covariance[row].ravel()
    c, s = np.cos(tracks.boxes[row, 6]), np.sin(tracks.boxes[row, 6])
    object_R_fixed = np.array([[c, s], [-s, c]])
    forward, left = (float(v) for v in object_R_fixed @ tracks.velocity_mps[row])
    twist.twist.linear.x, twist.twist.linear.y = forward, left
    twist.twist.angular.z = float(tracks.yaw_rate_radps[row])
    turn = np.eye(6)
    turn[:2, :2] = object_R_fixed
    twist.covariance = (turn @ tracks.twist_covariance[row] @ turn.T).ravel()
    ahead, aside = (float(v) for v in object_R_fixed @ tracks.acceleration_mps2[row])
    acceleration.accel.linear.x, acceleration.accel.linear.y = ahead, aside


def _path(msg: Any, tracks: Tracks, forecasts: Forecasts, row: int, k: int) -> Any:
    path = msg.PredictedPath(confidence=float(forecasts.confidence[row, k]))
    step_ns = round(forecasts.step_s * _NS)
    path.time_step.sec, path.time_step.nanosec = step_ns // _NS, step_ns % _NS
    z = float(tracks.boxes[row, 2])
    points = forecasts.paths[row, k, : int(forecasts.steps[row])]
    path.path = [_pose(np.array([x, y, z, 0.0, 0.0, 0.0, yaw])) for x, y, yaw in points]
    return path


def _classes(tracks: Tracks, row: int) -> list[tuple[int, float]]:
    probabilities = tracks.class_probabilities[row]
    return [(int(c), float(probabilities[c])) for c in np.argsort(-probabilities) if probabilities[c] > 0.0]


def _pose(box: F64) -> Pose:
    x, y, z, yaw = (float(box[i]) for i in (0, 1, 2, 6))
    turned = Quaternion(x=0.0, y=0.0, z=float(np.sin(yaw / 2)), w=float(np.cos(yaw / 2)))
    return Pose(position=Point(x=x, y=y, z=z), orientation=turned)


def _vector(values: F64) -> Vector3:
    return Vector3(x=float(values[0]), y=float(values[1]), z=float(values[2]))
