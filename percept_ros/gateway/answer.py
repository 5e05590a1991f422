"""What callers and viewers get: frame results as plain mappings, and their bytes as JSON or msgpack."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt

from percept_ros.types import (
    LIDAR_BIT,
    Detections,
    Forecasts,
    FrameResult,
    ObjectClass,
    PredictionMethod,
    Tracks,
    TrackState,
    camera_bit,
)

JSON, MSGPACK = "application/json", "application/msgpack"
CLASSES = tuple(kind.name.lower() for kind in ObjectClass)
Names = Mapping[str, str]


def encode(tree: Mapping[str, Any], kind: str) -> bytes:
    """The bytes of an answer in one of the two media types."""
    if kind == MSGPACK:
        packed: bytes = msgpack.packb(tree)
        return packed
    return json.dumps(tree, allow_nan=False, separators=(",", ":"), default=_binary).encode()


def _binary(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def frame_answer(result: FrameResult, names: Names) -> dict[str, Any]:
    """One frame. names: slot -> the caller's name of each camera."""
    sensors = result.sensors
    return {
        "stamp_ns": result.tracks.stamp_ns,
        "frame_id": result.tracks.frame_id,
        "mode": result.mode.name,
        "cause": result.cause,
        "model": result.model,
        "artefact_sha256": result.artefact_sha256,
        "group": result.group,
        "absent": {names.get(name, name): reason.name.lower() for name, reason in sensors.absent.items()},
        "shed": list(result.shed),
        "stages_ms": {stage: round(spent_ns * 1e-6, 3) for stage, spent_ns in result.stage_ns.items()},
        "detections": detection_rows(result.detections),
        "tracks": track_rows(result.tracks, result.forecasts, bits_of(sensors.camera_order, names)),
    }


def bits_of(order: tuple[str, ...], names: Names) -> dict[int, str]:
    """Bit of a sensor mask -> name."""
    return {LIDAR_BIT: "lidar", **{camera_bit(index): names.get(name, name) for index, name in enumerate(order)}}


def detection_rows(found: Detections) -> list[dict[str, Any]]:
    """One mapping a box, in the base frame."""
    return [
        {"class": CLASSES[kind], "score": _number(score, 4), "box": _numbers(box)}
        for kind, score, box in zip(found.class_ids, found.scores, found.boxes, strict=True)
    ]


def track_rows(tracks: Tracks, forecasts: Forecasts, bits: Mapping[int, str]) -> list[dict[str, Any]]:
    """One mapping a track, with its predicted paths, in the frame of the tracks."""
    classes = tracks.class_ids
    return [
        {
            "id": tracks.id[row].tobytes().hex(),
            "class": CLASSES[classes[row]],
            "state": TrackState(int(tracks.state[row])).name.lower(),
            "existence": _number(tracks.existence[row], 4),
            "box": _numbers(tracks.boxes[row]),
            "velocity_mps": _numbers(tracks.velocity_mps[row]),
            "yaw_rate_radps": _number(tracks.yaw_rate_radps[row]),
            "age_s": _number(tracks.age_ns[row] * 1e-9),
            "since_measurement_s": _number(tracks.since_measurement_ns[row] * 1e-9),
            "stationary": bool(tracks.stationary[row]),
            "sensors": [name for bit, name in bits.items() if int(tracks.sensors[row]) & bit],
            "paths": _paths(forecasts, row),
        }
        for row in range(len(tracks))
    ]


def _paths(forecasts: Forecasts, row: int) -> list[dict[str, Any]]:
    if row >= len(forecasts.steps) or forecasts.method[row] == PredictionMethod.NONE:
        return []
    steps = int(forecasts.steps[row])
    return [
        {
            "confidence": _number(forecasts.confidence[row, k], 4),
            "step_s": forecasts.step_s,
            "method": PredictionMethod(int(forecasts.method[row])).name.lower(),
            "points": [_numbers(point) for point in forecasts.paths[row, k, :steps]],
            "sigma_m": _numbers(forecasts.sigma_m[row, k, :steps]),
        }
        for k in range(forecasts.paths.shape[1])
    ]


def tensor_answer(model: str, outputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Output tensors; ``data`` is base64 in JSON."""
    rows = {
        name: {"dtype": str(array.dtype), "shape": list(array.shape), "data": np.ascontiguousarray(array).tobytes()}
        for name, array in outputs.items()
    }
    return {"model": model, "outputs": rows}


def error_answer(reason: str, message: str, **more: Any) -> dict[str, Any]:
    """What a refused call says."""
    return {"error": {"reason": reason, "message": message}, **more}


def _numbers(values: npt.NDArray[Any]) -> list[float | None]:
    return [_number(value) for value in values.tolist()]


def _number(value: Any, digits: int = 3) -> float | None:
    plain = float(value)
    return round(plain, digits) if math.isfinite(plain) else None
