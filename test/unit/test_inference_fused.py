from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percept_ros.errors import SetupError, TensorMismatch
from percept_ros.inference.fused import _function, numpy_scatter_quantize, scatter_quantize

try:
    _function()
except SetupError as missing:
    pytest.skip(f"kernels are not built: {missing}", allow_module_level=True)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_kernel_equals_numpy(pillars: int, channels: int, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = (3 * rng.normal(size=(pillars, channels))).astype(np.float32)
    cells = rng.integers(-3, height * width + 3, pillars).astype(np.int32)
    mean, factor = rng.normal(size=channels).astype(np.float32), rng.uniform(0.1, 4, channels).astype(np.float32)
    scale, zero = float(np.float32(rng.uniform(0.01, 0.2))), int(rng.integers(-128, 128))
    canvas = np.full((1, channels, height, width), 77, np.int8)
    written = scatter_quantize(features, cells, mean, factor, scale, zero, canvas)
    assert written == int(((cells >= 0) & (cells < height * width)).sum())
    expected = numpy_scatter_quantize(features, cells, mean, factor, scale, zero, canvas.shape)
    np.testing.assert_array_equal(canvas, expected)


def test_by_hand() -> None:
    canvas = np.zeros((1, 1, 1, 4), np.int8)
    features = np.array([[1.0], [-100.0], [np.nan]], np.float32)
    one = np.ones(1, np.float32)
    scatter_quantize(features, np.array([1, 2, 3], np.int32), 0 * one, one, 0.5, 3, canvas)
    assert canvas.ravel().tolist() == [3, 5, -128, 3]


@pytest.mark.parametrize("wrong", ["cells", "mean", "canvas", "scale", "zero"])
def test_impossible_arguments(wrong: str) -> None:
    features, cells, mean = np.ones((2, 3), np.float32), np.zeros(2, np.int32), np.ones(3, np.float32)
    canvas, scale, zero = np.zeros((1, 3, 2, 2), np.int8), 0.1, 0
    if wrong == "cells":
        cells = np.zeros(5, np.int32)
    elif wrong == "mean":
        mean = np.ones(2, np.float32)
    elif wrong == "canvas":
        canvas = np.zeros((1, 2, 2, 2), np.int8)
    elif wrong == "scale":
        scale = float("nan")
    else:
        zero = 500
    with pytest.raises(TensorMismatch):
        scatter_quantize(features, cells, mean, np.ones(3, np.float32), scale, zero, canvas)
