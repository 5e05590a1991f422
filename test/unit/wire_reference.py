"""The columns of tracks as CDR bytes, one primitive after the other: what the compiled pass of wire.py is compared with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from percept_ros.types import F64, Forecasts, ObjectClass, PredictionMethod, Tracks
from percept_ros.wire import CdrWriter

_NS = 1_000_000_000
_ORIENTED = frozenset(
    {
        ObjectClass.CAR,
        ObjectClass.TRUCK,
        ObjectClass.BUS,
        ObjectClass.TRAILER,
        ObjectClass.BICYCLE,
        ObjectClass.MOTORCYCLE,
    }
)
_ORIENTATION_UNAVAILABLE, _ORIENTATION_SIGN_UNKNOWN, _ORIENTATION_AVAILABLE = 0, 1, 2
_SHAPE_BOX, _SHAPE_CYLINDER = 0, 1


def pose_rows(x_y_z_yaw: F64) -> F64:
    """(..., 4) x, y, z, yaw -> (..., 7) position and quaternion x, y, z, w."""
    rows = np.zeros((*x_y_z_yaw.shape[:-1], 7))
    rows[..., :3] = x_y_z_yaw[..., :3]
    rows[..., 5] = np.sin(x_y_z_yaw[..., 3] / 2)
    rows[..., 6] = np.cos(x_y_z_yaw[..., 3] / 2)
    return rows


def _path_rows(tracks: Tracks, forecasts: Forecasts) -> F64:
    n, k, t = forecasts.paths.shape[:3]
    flat = np.zeros((n, k, t, 4))
    flat[..., :2] = forecasts.paths[..., :2]
    flat[..., 2] = tracks.boxes[:n, None, None, 2]
    flat[..., 3] = forecasts.paths[..., 2]
    return pose_rows(flat)


def write_tracks(out: CdrWriter, tracks: Tracks, forecasts: Forecasts) -> None:
    poses = pose_rows(tracks.boxes[:, [0, 1, 2, 6]])
    twists = np.zeros((len(tracks), 6))
    twists[:, :2], twists[:, 5] = tracks.velocity_mps, tracks.yaw_rate_radps
    accelerations = np.zeros((len(tracks), 42))
    accelerations[:, :2] = tracks.acceleration_mps2
    order = np.argsort(-tracks.class_probabilities, axis=1, kind="stable")
    paths = _path_rows(tracks, forecasts)
    sigmas = forecasts.sigma_m.astype(np.float32)
    classes = tracks.class_ids
    for i in range(len(tracks)):
        out.array(tracks.id[i])
        out.pack("f", 4, float(tracks.existence[i]))
        _write_classes(out, tracks.class_probabilities[i], order[i])
        out.array(poses[i])
        out.array(tracks.pose_covariance[i])
        out.array(twists[i])
        out.array(tracks.twist_covariance[i])
        out.array(accelerations[i])
        shape = _SHAPE_CYLINDER if classes[i] == ObjectClass.PEDESTRIAN else _SHAPE_BOX
        out.pack("BBB", 1, _orientation(tracks, i, int(classes[i])), bool(tracks.stationary[i]), shape)
        out.array(tracks.boxes[i, 3:6])
        out.pack("I", 4, 0)
        _write_paths(out, forecasts, i, paths, sigmas)
        out.pack("B", 1, int(tracks.state[i]))
        out.time(int(tracks.age_ns[i]))
        out.time(int(tracks.since_measurement_ns[i]))
        out.pack("I", 4, int(tracks.sensors[i]))


def _orientation(tracks: Tracks, row: int, class_id: int) -> int:
    if class_id not in _ORIENTED:
        return _ORIENTATION_UNAVAILABLE
    moving = float(np.hypot(*tracks.velocity_mps[row])) > 1.0
    return _ORIENTATION_AVAILABLE if moving else _ORIENTATION_SIGN_UNKNOWN


def _write_classes(out: CdrWriter, probabilities: F64, order: npt.NDArray[np.intp]) -> None:
    known = [int(c) for c in order if probabilities[c] > 0.0] or [0]
    out.pack("I", 4, len(known))
    for label in known:
        out.pack("B", 1, label)
        out.pack("f", 4, float(probabilities[label]))


def _write_paths(out: CdrWriter, forecasts: Forecasts, row: int, paths: F64, sigmas: npt.NDArray[np.float32]) -> None:
    if row >= paths.shape[0] or forecasts.method[row] == PredictionMethod.NONE:
        out.pack("I", 4, 0)
        return
    steps, count = int(forecasts.steps[row]), paths.shape[1]
    step_ns = round(forecasts.step_s * _NS)
    out.pack("I", 4, count)
    for k in range(count):
        out.pack("I", 4, steps)
        out.array(paths[row, k, :steps])
        out.time(step_ns)
        out.pack("f", 4, float(forecasts.confidence[row, k]))
        out.pack("I", 4, steps)
        out.array(sigmas[row, k, :steps])
        out.pack("B", 1, int(forecasts.method[row]))
