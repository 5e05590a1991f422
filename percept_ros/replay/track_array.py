"""One published array of tracks as a value, and its message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from percept_ros.replay.messages import duration_message, duration_ns, header_message, stamp_ns, time_message
from percept_ros.types import (
    NUM_CLASSES,
    Forecasts,
    Mode,
    Tracks,
)

TRUTH = "ground_truth"
"""Model id of ground truth; ``ground_truth@camera`` where only objects in that camera's image were labelled."""
ORIENTATION_AVAILABLE = 2
SHAPE_BOUNDING_BOX = 0


@dataclass(frozen=True, slots=True)
class TrackArray:
    """All tracks of one sensor set and how far they can be trusted: the content of an ObstacleTrackArray.

    oldest_ns, newest_ns: stamps of the sensor data used. publish_ns: when it was published.
    absent: ``name: reason`` of each absent sensor.
    """

    tracks: Tracks
    forecasts: Forecasts
    oldest_ns: int
    newest_ns: int
    publish_ns: int
    mode: Mode = Mode.FULL
    absent: tuple[str, ...] = ()
    model: str = ""
    artefact_sha256: str = ""
    group: str = ""
    trace_id: str = ""
    sequence: int = 0
    extrapolated_ns: int = 0

    @staticmethod
    def of_truth(tracks: Tracks) -> TrackArray:
        """Ground truth: true at its stamp, without forecasts."""
        at = tracks.stamp_ns
        return TrackArray(tracks, Forecasts.empty(0.1), at, at, at, model=TRUTH)


def track_array_message(types: Mapping[str, Any], array: TrackArray) -> Any:
    """The percept_ros/msg/ObstacleTrackArray of ``array``."""
    constants = types["percept_ros/msg/ObstacleTrackArray"]
    return constants(
        header=header_message(types, array.tracks.stamp_ns, array.tracks.frame_id),
        tracks=[_track_message(types, array, row) for row in range(len(array.tracks))],
        oldest_sensor_stamp=time_message(types, array.oldest_ns),
        newest_sensor_stamp=time_message(types, array.newest_ns),
        publish_stamp=time_message(types, array.publish_ns),
        extrapolated=duration_message(types, array.extrapolated_ns),
        mode=int(array.mode),
        absent_sensors=list(array.absent),
        model_id=array.model,
        artefact_sha256=array.artefact_sha256,
        experiment_group=array.group,
        trace_id=array.trace_id,
        sequence=array.sequence,
    )


def _yaw_pose(types: Mapping[str, Any], x: float, y: float, z: float, yaw: float) -> Any:
    point = types["geometry_msgs/msg/Point"](x=x, y=y, z=z)
    half = 0.5 * yaw
    turn = types["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=float(np.sin(half)), w=float(np.cos(half)))
    return types["geometry_msgs/msg/Pose"](position=point, orientation=turn)


def _vector(types: Mapping[str, Any], values: Any, z: float = 0.0) -> Any:
    x, y = values
    return types["geometry_msgs/msg/Vector3"](x=float(x), y=float(y), z=float(z))


def _classification(types: Mapping[str, Any], probabilities: Any) -> list[Any]:
    label = types["percept_ros/msg/ObjectClassification"]
    order = np.argsort(-probabilities, kind="stable")
    return [label(label=int(i), probability=float(probabilities[i])) for i in order if probabilities[i] > 0.0]


def _track_message(types: Mapping[str, Any], array: TrackArray, row: int) -> Any:
    tracks = array.tracks
    x, y, z, length, width, height, yaw = map(float, tracks.boxes[row])
    twist = types["geometry_msgs/msg/Twist"](
        linear=_vector(types, tracks.velocity_mps[row]),
        angular=_vector(types, (0.0, 0.0), tracks.yaw_rate_radps[row]),
    )
    accel = types["geometry_msgs/msg/Accel"](
        linear=_vector(types, tracks.acceleration_mps2[row]), angular=_vector(types, (0.0, 0.0))
    )
    return types["percept_ros/msg/ObstacleTrack"](
        track_id=types["unique_identifier_msgs/msg/UUID"](uuid=np.ascontiguousarray(tracks.id[row])),
        existence_probability=float(tracks.existence[row]),
        classification=_classification(types, tracks.class_probabilities[row]),
        pose=types["geometry_msgs/msg/PoseWithCovariance"](
            pose=_yaw_pose(types, x, y, z, yaw), covariance=np.ascontiguousarray(tracks.pose_covariance[row]).ravel()
        ),
        twist=types["geometry_msgs/msg/TwistWithCovariance"](
            twist=twist, covariance=np.ascontiguousarray(tracks.twist_covariance[row]).ravel()
        ),
        acceleration=types["geometry_msgs/msg/AccelWithCovariance"](accel=accel, covariance=np.zeros(36)),
        orientation_availability=ORIENTATION_AVAILABLE,
        is_stationary=bool(tracks.stationary[row]),
        shape_type=SHAPE_BOUNDING_BOX,
        dimensions=_vector(types, (length, width), height),
        footprint=types["geometry_msgs/msg/Polygon"](points=[]),
        predicted_paths=_path_messages(types, array, row),
        state=int(tracks.state[row]),
        age=duration_message(types, int(tracks.age_ns[row])),
        time_since_measurement=duration_message(types, int(tracks.since_measurement_ns[row])),
        sensors=int(tracks.sensors[row]),
    )


def _path_messages(types: Mapping[str, Any], array: TrackArray, row: int) -> list[Any]:
    forecasts = array.forecasts
    steps = int(forecasts.steps[row]) if row < len(forecasts.steps) else 0
    if not steps:
        return []
    z = float(array.tracks.boxes[row, 2])
    step = duration_message(types, round(forecasts.step_s * 1e9))
    return [
        types["percept_ros/msg/PredictedPath"](
            path=[_yaw_pose(types, float(x), float(y), z, float(yaw)) for x, y, yaw in forecasts.paths[row, k, :steps]],
            time_step=step,
            confidence=float(forecasts.confidence[row, k]),
            sigma=np.asarray(forecasts.sigma_m[row, k, :steps], np.float32),
            method=int(forecasts.method[row]),
        )
        for k in range(forecasts.paths.shape[1])
    ]


def track_array_of(message: Any) -> TrackArray:
    """The value of an ObstacleTrackArray message (rosbags or rclpy: only fields are read)."""
    return TrackArray(
        _tracks_of(message),
        _forecasts_of(message.tracks),
        stamp_ns(message.oldest_sensor_stamp),
        stamp_ns(message.newest_sensor_stamp),
        stamp_ns(message.publish_stamp),
        Mode(message.mode),
        tuple(message.absent_sensors),
        message.model_id,
        message.artefact_sha256,
        message.experiment_group,
        message.trace_id,
        int(message.sequence),
        duration_ns(message.extrapolated),
    )


def _yaw_of(quaternion: Any) -> float:
    x, y, z, w = quaternion.x, quaternion.y, quaternion.z, quaternion.w
    return float(np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)))


def _box_of(track: Any) -> list[float]:
    pose, size = track.pose.pose, track.dimensions
    return [
        pose.position.x,
        pose.position.y,
        pose.position.z,
        size.x,
        size.y,
        size.z,
        _yaw_of(pose.orientation),
    ]


def _class_row(track: Any) -> list[float]:
    row = [0.0] * NUM_CLASSES
    for entry in track.classification:
        if entry.label < NUM_CLASSES:
            row[entry.label] = float(entry.probability)
    return row


def _tracks_of(message: Any) -> Tracks:
    rows = message.tracks
    at, frame = stamp_ns(message.header.stamp), message.header.frame_id
    if not rows:
        return Tracks.empty(at, frame)
    twists = [row.twist.twist for row in rows]
    accels = [row.acceleration.accel.linear for row in rows]
    return Tracks(
        at,
        frame,
        np.array([row.track_id.uuid for row in rows], np.uint8),
        np.array([row.state for row in rows], np.uint8),
        np.array([_class_row(row) for row in rows]),
        np.array([row.existence_probability for row in rows], np.float64),
        np.array([_box_of(row) for row in rows]),
        np.array([[t.linear.x, t.linear.y] for t in twists]),
        np.array([[a.x, a.y] for a in accels]),
        np.array([t.angular.z for t in twists]),
        np.array([row.pose.covariance for row in rows], np.float64).reshape(-1, 6, 6),
        np.array([row.twist.covariance for row in rows], np.float64).reshape(-1, 6, 6),
        np.array([duration_ns(row.age) for row in rows], np.int64),
        np.array([duration_ns(row.time_since_measurement) for row in rows], np.int64),
        np.array([row.sensors for row in rows], np.uint32),
        np.array([row.is_stationary for row in rows], np.bool_),
    )


def _forecasts_of(rows: Any) -> Forecasts:
    kinds = max((len(row.predicted_paths) for row in rows), default=0)
    steps = max((len(path.path) for row in rows for path in row.predicted_paths), default=0)
    first = next((path for row in rows for path in row.predicted_paths), None)
    if first is None:
        return Forecasts.empty(0.1)
    paths = np.zeros((len(rows), kinds, steps, 3))
    confidence, sigma = np.zeros((len(rows), kinds)), np.zeros((len(rows), kinds, steps))
    counts, method = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.uint8)
    for n, row in enumerate(rows):
        for k, path in enumerate(row.predicted_paths):
            size = len(path.path)
            paths[n, k, :size] = [[p.position.x, p.position.y, _yaw_of(p.orientation)] for p in path.path]
            sigma[n, k, :size] = path.sigma
            confidence[n, k], counts[n], method[n] = path.confidence, size, path.method
    return Forecasts(duration_ns(first.time_step) / 1e9, paths, confidence, sigma, counts, method)
