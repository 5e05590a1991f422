"""The fused operator of pillar networks: scatter to a dense grid, normalise, quantise, in one pass.

It exists three times over one kernel: here, as an engine (kernels/engines/scatter_engine.cpp) and as an ONNX Runtime
operator ``percept.ScatterQuantize`` (kernels/engines/onnxruntime_operators.cpp).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import percept_ros
from percept_ros.errors import SetupError, TensorMismatch
from percept_ros.native import bind, pointer
from percept_ros.types import F32

I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]


@functools.cache
def _function() -> Callable[..., Any]:
    address, integer = ctypes.c_void_p, ctypes.c_int32
    types = [address, address, integer, integer, integer, integer, address, address, ctypes.c_float, integer, address]
    return bind("percept_scatter_quantize", types)


def scatter_quantize(
    features: F32, cells: I32, mean: F32, inverse_std: F32, scale: float, zero_point: int, canvas: I8
) -> int:
    """Write ``canvas`` (1, C, height, width) int8 = clamp(round((v - mean) inverse_std / scale) + zero_point).

    v is features (P, C) at its cell (P,) = row * width + column, and 0 elsewhere; cells outside (-1) are skipped, of
    equal cells the last wins; NaN counts as the mean; rounding is half to even. Returns the number of pillars written. Raises TensorMismatch.
    """
    pillars, channels = features.shape
    if cells.shape != (pillars,) or mean.shape != (channels,) or inverse_std.shape != (channels,):
        raise TensorMismatch(
            f"features {features.shape}, cells {cells.shape} and mean {mean.shape} do not fit together"
        )
    if canvas.ndim != 4 or canvas.shape[:2] != (1, channels) or canvas.dtype != np.int8:
        raise TensorMismatch(
            f"canvas is {canvas.dtype}{list(canvas.shape)}, expected int8[1, {channels}, height, width]"
        )
    arrays = [np.ascontiguousarray(features, np.float32), np.ascontiguousarray(cells, np.int32)]
    arrays += [np.ascontiguousarray(mean, np.float32), np.ascontiguousarray(inverse_std, np.float32)]
    data, at, centre, factor = (pointer(a) for a in arrays)
    height, width = canvas.shape[2:]
    status: int = _function()(
        data, at, pillars, channels, height, width, centre, factor, scale, zero_point, pointer(canvas)
    )
    if status < 0:
        raise TensorMismatch(f"scale {scale} or zero point {zero_point} is impossible (kernel status {status})")
    return status


def numpy_scatter_quantize(
    features: F32, cells: I32, mean: F32, inverse_std: F32, scale: float, zero_point: int, shape: tuple[int, ...]
) -> I8:
    """The same in numpy: reference of tests and peer of the benchmark."""
    _, channels, height, width = shape
    inside = (cells >= 0) & (cells < height * width)
    dense = np.zeros((height * width, channels), np.float32)
    dense[cells[inside]] = features[inside]
    dense = np.where(np.isnan(dense), mean, dense)
    scaled = np.rint((dense - mean) * (inverse_std / np.float32(scale))) + zero_point
    quantised: I8 = np.clip(scaled, -128, 127).astype(np.int8).T.reshape(shape)
    return np.ascontiguousarray(quantised)


def operator_library() -> Path:
    """The ONNX Runtime operator library, for ``EngineOptions.plugins``. Raises SetupError when it was not built."""
    for folder in percept_ros.__path__:
        file = Path(folder) / "lib" / "engines" / "percept_ort_operators.so"
        if file.exists():
            return file
    raise SetupError("percept_ort_operators.so not found: build it (make build, or colcon build)")
