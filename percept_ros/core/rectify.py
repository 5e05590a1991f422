"""Removes lens distortion: fixed-point look-up maps, made once for each calibration.

Models are those of sensor_msgs/CameraInfo: ``plumb_bob`` (4 or 5 coefficients k1 k2 p1 p2 k3; Brown 1966),
``rational_polynomial`` (8, or 12 and 14 with thin prism and tilt) and ``equidistant`` (4; Kannala and Brandt 2006).
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from percept_ros.core.images import check_output
from percept_ros.errors import CalibrationError
from percept_ros.types import U8, CameraCalibration, CameraFrame

_LENGTHS = {"plumb_bob": (0, 4, 5), "rational_polynomial": (0, 4, 5, 8, 12, 14), "equidistant": (0, 4)}
Maps = tuple[npt.NDArray[np.int16], npt.NDArray[np.uint16]]


def check_calibration(calibration: CameraCalibration, name: str = "camera") -> CameraCalibration:
    """The calibration itself. Raises CalibrationError (reasons: uncalibrated, bad_size, bad_intrinsics, bad_distortion,
    bad_rectification, bad_projection)."""
    c = calibration
    if c.width_px <= 0 or c.height_px <= 0:
        raise CalibrationError(
            f"calibration of '{name}' is for {c.width_px} x {c.height_px} px: set width and height", "bad_size"
        )
    _check_matrix(c.K, (3, 3), name, "K", "bad_intrinsics")
    if not np.any(c.K):
        raise CalibrationError(
            f"'{name}' is not calibrated (K is zero): calibrate it, or set rectify: false", "uncalibrated"
        )
    if c.K[0, 0] <= 0.0 or c.K[1, 1] <= 0.0 or abs(c.K[2, 2] - 1.0) > 1e-6:
        raise CalibrationError(
            f"calibration of '{name}' has focal lengths {c.K[0, 0]}, {c.K[1, 1]} px: K is wrong", "bad_intrinsics"
        )
    _check_distortion(c, name)
    _check_matrix(c.R, (3, 3), name, "R", "bad_rectification")
    if np.abs(c.R @ c.R.T - np.eye(3)).max() > 1e-2:
        raise CalibrationError(
            f"calibration of '{name}' has an R that is no rotation: {c.R.tolist()}", "bad_rectification"
        )
    if c.P is not None:
        _check_matrix(c.P, (3, 4), name, "P", "bad_projection")
        if c.P[0, 0] <= 0.0 or c.P[1, 1] <= 0.0:
            raise CalibrationError(
                f"calibration of '{name}' has a P without focal lengths: {c.P.tolist()}", "bad_projection"
            )
    return c


def _check_matrix(value: npt.NDArray[Any], shape: tuple[int, int], name: str, what: str, reason: str) -> None:
    if value.shape != shape or not np.all(np.isfinite(value)):
        text = f"calibration of '{name}': {what} must be {shape[0]} x {shape[1]} finite numbers, got {value.tolist()}"
        raise CalibrationError(text, reason)


def _check_distortion(calibration: CameraCalibration, name: str) -> None:
    lengths = _LENGTHS.get(calibration.model)
    if lengths is None:
        known = ", ".join(_LENGTHS)
        raise CalibrationError(
            f"distortion model '{calibration.model}' of '{name}' is not known: use {known}", "bad_distortion"
        )
    size = calibration.D.size
    if size not in lengths or not np.all(np.isfinite(calibration.D)):
        wanted = ", ".join(map(str, lengths))
        text = f"calibration of '{name}': '{calibration.model}' takes {wanted} finite coefficients, got {calibration.D.tolist()}"
        raise CalibrationError(text, "bad_distortion")


class Rectifier:
    """Rectifies frames of any number of cameras. Maps are kept for the ``capacity`` calibrations used last, by content, so
    that a changed calibration takes effect with the next frame. One thread at a time.
    """

    def __init__(self, capacity: int = 16) -> None:
        self._capacity = capacity
        self._maps: OrderedDict[tuple[Any, ...], Maps | None] = OrderedDict()
        self._last: dict[str, tuple[CameraCalibration, Maps | None]] = {}

    def rectify(self, frame: CameraFrame, out: U8 | None = None) -> CameraFrame:
        """The frame without distortion; ``calibration.projection`` then describes it.

        out: (height, width, 3) uint8, written and used as the image where given; other memory than the frame's. A frame that is rectified already, or whose
        calibration has no distortion, keeps its image (copied to ``out`` where given).
        Raises CalibrationError without a usable calibration, or when it is for another image size (reason size_mismatch), ImageError when ``out`` does not fit.
        """
        check_output(out, *frame.image.shape[:2])
        if frame.rectified:
            return frame if out is None else dataclasses.replace(frame, image=_copied(frame.image, out))
        maps = self._maps_of(frame)
        if maps is None:
            image = frame.image if out is None else _copied(frame.image, out)
        else:
            image = cv2.remap(frame.image, maps[0], maps[1], cv2.INTER_LINEAR, dst=out)  # type: ignore[assignment]
        return dataclasses.replace(frame, image=image, rectified=True)

    def check(self, frame: CameraFrame) -> None:
        """Raises CalibrationError as ``rectify`` would; makes the maps of a new calibration."""
        self._maps_of(frame)

    def _maps_of(self, frame: CameraFrame) -> Maps | None:
        calibration = frame.calibration
        if calibration is None:
            text = f"'{frame.sensor}' has no calibration yet: publish its camera_info, or set rectify: false"
            raise CalibrationError(text, "uncalibrated")
        known = self._last.get(frame.sensor)
        if known is None or known[0] is not calibration:
            known = (calibration, self._look_up(calibration, frame.sensor))
            self._last[frame.sensor] = known
        size = (frame.image.shape[1], frame.image.shape[0])
        if size != (calibration.width_px, calibration.height_px):
            expected = f"{calibration.width_px} x {calibration.height_px}"
            text = f"image of '{frame.sensor}' is {size[0]} x {size[1]} px, but its calibration is for {expected}: calibrate again"
            raise CalibrationError(text, "size_mismatch")
        return known[1]

    def _look_up(self, calibration: CameraCalibration, name: str) -> Maps | None:
        key = _content(check_calibration(calibration, name))
        if key not in self._maps:
            self._maps[key] = make_maps(calibration)
            if len(self._maps) > self._capacity:
                self._maps.popitem(last=False)
        self._maps.move_to_end(key)
        return self._maps[key]


def make_maps(calibration: CameraCalibration) -> Maps | None:
    """Fixed-point maps of a checked calibration: (height, width, 2) int16 and (height, width) uint16; None = identity."""
    c = calibration
    target = c.projection[:, :3]
    if not np.any(c.D) and np.allclose(c.R, np.eye(3)) and np.allclose(target, c.K) and c.model != "equidistant":
        return None
    size, kind = (c.width_px, c.height_px), cv2.CV_16SC2
    coefficients = np.asarray(c.D, np.float64).ravel()
    if c.model == "equidistant":
        coefficients = coefficients if coefficients.size else np.zeros(4)
        maps = cv2.fisheye.initUndistortRectifyMap(c.K, coefficients, c.R, target, size, kind)
    else:
        maps = cv2.initUndistortRectifyMap(c.K, coefficients, c.R, target, size, kind)
    return maps  # type: ignore[return-value]


def _content(c: CameraCalibration) -> tuple[Any, ...]:
    arrays = (c.K, c.D, c.R, c.projection)
    return (c.width_px, c.height_px, c.model, *(np.asarray(a, np.float64).tobytes() for a in arrays))


def _copied(image: U8, out: U8) -> U8:
    if not np.shares_memory(image, out):
        np.copyto(out, image)
    return out
