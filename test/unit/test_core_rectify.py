"""Rectification against the published distortion formulas, and the refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from percept_ros.core.rectify import Rectifier, check_calibration, make_maps
from percept_ros.errors import CalibrationError
from percept_ros.types import CameraCalibration, CameraFrame

WIDTH, HEIGHT = 160, 120
K = np.array([[100.0, 0, 80], [0, 110, 60], [0, 0, 1]])
D = {
    "plumb_bob": np.array([-0.25, 0.08, 0.001, -0.002, 0.01]),
    "rational_polynomial": np.array([0.3, -0.1, 0.001, 0.0005, 0.02, 0.5, -0.15, 0.03]),
    "equidistant": np.array([0.05, -0.01, 0.003, -0.0005]),
}


def calibration(model: str = "plumb_bob", **changes: object) -> CameraCalibration:
    return dataclasses.replace(CameraCalibration(WIDTH, HEIGHT, K, D.get(model, np.zeros(0)), model), **changes)  # type: ignore[arg-type]


def frame(given: CameraCalibration | None, seed: int = 0) -> CameraFrame:
    ramp = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint8)
    return CameraFrame(
        "front",
        1,
        "front_optical",
        np.stack([ramp, ramp.T[:1].repeat(HEIGHT, 0)[:, :1].repeat(WIDTH, 1), ramp], 2),
        given,
        rectified=False,
    )


def distorted(model: str, u: float, v: float) -> tuple[float, float]:
    """Where in the raw image a pixel of the rectified one is seen (same K, no rotation)."""
    x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
    r2, d = x * x + y * y, D[model]
    if model == "equidistant":
        r = np.sqrt(r2)
        theta = np.arctan(r)
        scale = (
            theta * (1 + d[0] * theta**2 + d[1] * theta**4 + d[2] * theta**6 + d[3] * theta**8) / r if r > 0 else 1.0
        )
        return K[0, 0] * x * scale + K[0, 2], K[1, 1] * y * scale + K[1, 2]
    k = [d[0], d[1], d[4], *(d[5:8] if model == "rational_polynomial" else (0, 0, 0))]
    radial = (1 + k[0] * r2 + k[1] * r2**2 + k[2] * r2**3) / (1 + k[3] * r2 + k[4] * r2**2 + k[5] * r2**3)
    xd = x * radial + 2 * d[2] * x * y + d[3] * (r2 + 2 * x * x)
    yd = y * radial + d[2] * (r2 + 2 * y * y) + 2 * d[3] * x * y
    return K[0, 0] * xd + K[0, 2], K[1, 1] * yd + K[1, 2]


@pytest.mark.parametrize("model", D)
def test_maps_follow_the_formulas(model: str) -> None:
    maps = make_maps(calibration(model))
    assert maps is not None
    whole, part = maps
    for u, v in ((0, 0), (159, 119), (80, 60), (20, 100), (140, 30)):
        fraction = np.array([part[v, u] % 32, part[v, u] // 32]) / 32.0
        np.testing.assert_allclose(whole[v, u] + fraction, distorted(model, u, v), atol=0.04)


@pytest.mark.parametrize("model", D)
def test_rectified_frame(model: str) -> None:
    done = Rectifier().rectify(frame(calibration(model)))
    assert done.rectified
    assert done.image.shape == (HEIGHT, WIDTH, 3)
    x, y = distorted(model, 100, 80)
    assert abs(float(done.image[80, 100, 0]) - (x + y)) < 1.5
    assert done.calibration is not None
    np.testing.assert_array_equal(done.calibration.projection[:, :3], K)


def test_no_distortion_keeps_the_image() -> None:
    given = frame(calibration(D=np.zeros(5)))
    assert Rectifier().rectify(given).image is given.image
    assert Rectifier().rectify(dataclasses.replace(given, rectified=True)).image is given.image


def test_writes_into_the_given_buffer() -> None:
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rectifier = Rectifier()
    done = rectifier.rectify(frame(calibration()), out)
    assert np.shares_memory(done.image, out)
    np.testing.assert_array_equal(out, rectifier.rectify(frame(calibration())).image)
    plain = frame(calibration(D=np.zeros(0)))
    np.testing.assert_array_equal(Rectifier().rectify(plain, out).image, plain.image)


def test_changed_calibration_takes_effect() -> None:
    rectifier = Rectifier(capacity=1)
    first = rectifier.rectify(frame(calibration())).image
    second = rectifier.rectify(frame(calibration(D=D["plumb_bob"] * 2))).image
    assert np.any(first != second)
    np.testing.assert_array_equal(rectifier.rectify(frame(calibration())).image, first)


def test_new_projection_scales_the_image() -> None:
    P = np.hstack([K.copy(), np.zeros((3, 1))])
    P[0, 0], P[1, 1] = 50, 55
    done = Rectifier().rectify(frame(calibration(D=np.zeros(0), P=P)))
    assert int(done.image[60, 90, 0]) == (100 + 60) % 256


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"K": np.zeros((3, 3))}, "uncalibrated"),
        ({"K": np.full((3, 3), np.nan)}, "bad_intrinsics"),
        ({"K": -K}, "bad_intrinsics"),
        ({"K": np.zeros(9)}, "bad_intrinsics"),
        ({"D": np.zeros(3)}, "bad_distortion"),
        ({"D": np.full(5, np.inf)}, "bad_distortion"),
        ({"model": "magic"}, "bad_distortion"),
        ({"R": np.zeros((3, 3))}, "bad_rectification"),
        ({"P": np.zeros((3, 4))}, "bad_projection"),
        ({"width_px": 0}, "bad_size"),
    ],
)
def test_impossible_calibrations(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(CalibrationError, match="front") as caught:
        check_calibration(calibration(**changes), "front")
    assert caught.value.reason == reason


@pytest.mark.parametrize(("given", "reason"), [(None, "uncalibrated"), (calibration(width_px=320), "size_mismatch")])
def test_frames_that_cannot_be_rectified(given: CameraCalibration | None, reason: str) -> None:
    with pytest.raises(CalibrationError) as caught:
        Rectifier().rectify(frame(given))
    assert caught.value.reason == reason
