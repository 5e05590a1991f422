"""Classical prediction of track paths: constant velocity and constant turn rate and velocity (CTRV).

Both are vectorised over all tracks and steps; they are the floor that learned predictors are gated against.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from percept_ros.config import PredictionConfig
from percept_ros.types import F64, U8, Bool, Forecasts, ObjectClass, PredictionMethod, Tracks

_GOES_FAR = np.isin(np.array(ObjectClass), (ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE))
_TURNS = ~np.isin(np.array(ObjectClass), (ObjectClass.PEDESTRIAN, ObjectClass.UNKNOWN))
"""(C,) by ``ObjectClass``: predicted to the long horizon; predicted with a turn rate."""


def predict_classical(tracks: Tracks, config: PredictionConfig) -> Forecasts:
    """Paths of all tracks: CTRV for vehicles that move, constant velocity for the rest.

    Returns one path a track (K = 1). Empty for no tracks. sigma_m grows with the speed uncertainty of the track:
    sqrt(position variance + (t * speed sigma)^2).
    """
    if not len(tracks):
        return Forecasts.empty(config.step_s)
    steps = horizon_steps(tracks, config)
    times: F64 = config.step_s * np.arange(1.0, int(steps.max()) + 1)
    rate = turn_rates(tracks, config)
    paths = ctrv_paths(tracks.boxes[:, :2], tracks.velocity_mps, tracks.boxes[:, 6], rate, times)
    sigma = path_sigma(tracks, times)
    return Forecasts(
        config.step_s, paths[:, None], np.ones((len(tracks), 1)), sigma[:, None], steps, classical_method(rate)
    )


def classical_method(turn_radps: F64) -> U8:
    """(N,) CTRV where a track is predicted to turn, else constant velocity."""
    return np.where(turn_radps != 0.0, PredictionMethod.CTRV, PredictionMethod.CONSTANT_VELOCITY).astype(np.uint8)


def horizon_steps(tracks: Tracks, config: PredictionConfig) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(N,) number of path points of each track, by its class."""
    return steps_of_classes(config)[tracks.class_ids]


def steps_of_classes(config: PredictionConfig) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(C,) number of path points of each ``ObjectClass``."""
    horizon = np.where(_GOES_FAR, config.pedestrian_horizon_s, config.vehicle_horizon_s)
    return np.maximum(1, np.rint(horizon / config.step_s)).astype(np.int64)


def turning_classes() -> Bool:
    """(C,) whether each ``ObjectClass`` is predicted with a turn rate."""
    return _TURNS


def turn_rates(tracks: Tracks, config: PredictionConfig) -> F64:
    """(N,) turn rate that a track is predicted with, rad/s: 0 for those that go straight on."""
    fast = np.hypot(tracks.velocity_mps[:, 0], tracks.velocity_mps[:, 1]) >= config.turn_speed_mps
    turning: Bool = fast & _TURNS[tracks.class_ids] & (np.abs(tracks.yaw_rate_radps) > 1e-3)
    most = config.max_yaw_rate_radps
    return np.where(turning, np.clip(tracks.yaw_rate_radps, -most, most), 0.0)


def ctrv_paths(position_m: F64, velocity_mps: F64, yaw_rad: F64, yaw_rate_radps: F64, times_s: F64) -> F64:
    """(N, T, 3) x, y, yaw after each of ``times_s`` (T,) at constant turn rate and speed.

    A turn rate of zero gives a straight line: the chord of the arc is v t sinc(w t / 2) at heading + w t / 2.
    """
    out = np.empty((len(position_m), len(times_s), 3))
    out[..., :2] = velocity_mps[:, None] * times_s[:, None]
    out[..., 2] = yaw_rad[:, None]
    if len(turning := np.flatnonzero(yaw_rate_radps)):
        half = 0.5 * yaw_rate_radps[turning, None] * times_s
        sine, cosine = np.sin(half), np.cos(half)
        shorter = np.where(np.abs(half) > 1e-9, sine / np.where(half == 0.0, 1.0, half), 1.0)
        east, north = out[turning, :, 0] * shorter, out[turning, :, 1] * shorter
        out[turning, :, 0] = east * cosine - north * sine
        out[turning, :, 1] = east * sine + north * cosine
        out[turning, :, 2] += 2.0 * half
    out[..., :2] += position_m[:, None]
    out[..., 2] = wrapped(out[..., 2])
    return out


def wrapped(angle_rad: F64) -> F64:
    """Angles brought into [-pi, pi)."""
    return np.asarray(angle_rad - 2.0 * np.pi * np.floor(angle_rad / (2.0 * np.pi) + 0.5), np.float64)


def path_sigma(tracks: Tracks, times_s: F64) -> F64:
    """(N, T) one-sigma position error an axis along the path."""
    position, speed = position_and_speed_variance(tracks)
    sigma: F64 = np.sqrt(position[:, None] + speed[:, None] * times_s**2)
    return sigma


def position_and_speed_variance(tracks: Tracks) -> tuple[F64, F64]:
    """(N,) m^2 and (N,) (m/s)^2 an axis, mean of x and y."""
    position = 0.5 * (tracks.pose_covariance[:, 0, 0] + tracks.pose_covariance[:, 1, 1])
    speed = 0.5 * (tracks.twist_covariance[:, 0, 0] + tracks.twist_covariance[:, 1, 1])
    return position, speed


def extrapolate(tracks: Tracks, ahead_ns: int) -> Tracks:
    """The tracks moved ``ahead_ns`` along their CTRV motion (delay compensation); covariances grow with it.

    The stamp moves too. A non-positive ``ahead_ns`` gives the tracks back as they are.
    """
    if ahead_ns <= 0 or not len(tracks):
        return tracks
    ahead_s = ahead_ns * 1e-9
    moved = ctrv_paths(
        tracks.boxes[:, :2], tracks.velocity_mps, tracks.boxes[:, 6], tracks.yaw_rate_radps, np.array([ahead_s])
    )[:, 0]
    boxes = tracks.boxes.copy()
    boxes[:, :2], boxes[:, 6] = moved[:, :2], moved[:, 2]
    covariance = tracks.pose_covariance.copy()
    covariance[:, :3, :3] += ahead_s**2 * tracks.twist_covariance[:, :3, :3]
    covariance[:, 5, 5] += ahead_s**2 * tracks.twist_covariance[:, 5, 5]
    return dataclasses.replace(
        tracks,
        stamp_ns=tracks.stamp_ns + ahead_ns,
        boxes=boxes,
        pose_covariance=covariance,
        age_ns=tracks.age_ns + ahead_ns,
        since_measurement_ns=tracks.since_measurement_ns + ahead_ns,
    )
