"""Camera messages in, rectified BGR frames out: every encoding, JPEG and PNG, H.264; rectification maps are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from percept_ros.config import CameraConfig
from percept_ros.core.compressed import decode_compressed
from percept_ros.core.h264 import H264Decoder
from percept_ros.core.images import decode_image, deliver
from percept_ros.core.rectify import Rectifier
from percept_ros.errors import CalibrationError
from percept_ros.nodes.convert import calibration, stamp_ns
from percept_ros.types import U8, CameraCalibration, CameraFrame

Place = Callable[[int, int, int, bool], U8]


class CameraInput:
    """Decodes the frames of one camera. One thread at a time; ``on_info`` may come from another.

    ``place`` says where the last step draws a picture: (height, width, stamp in ns, key frame) -> (height, width, 3) uint8;
    without it pictures lie in memory of their own, or in their message.
    """

    def __init__(self, name: str, config: CameraConfig, place: Place | None = None) -> None:
        self.name, self._config, self._place = name, config, place
        self._rectifier = Rectifier()
        self._calibration: CameraCalibration | None = None
        self._stream: H264Decoder | None = None
        self.on_lost: Callable[[str], None] = lambda reason: None

    def on_info(self, message: Any) -> None:
        """Take a CameraInfo; a changed calibration takes effect with the next frame. Raises CalibrationError."""
        self._calibration = calibration(message)

    def decode(self, message: Any) -> list[CameraFrame]:
        """Frames of one message (H.264 may give none). Raises ImageError or CalibrationError."""
        if self._calibration is None:
            raise CalibrationError(
                f"camera '{self.name}' has no CameraInfo yet: publish it beside the image topic", "no_camera_info"
            )
        at_ns, frame_id = stamp_ns(message.header.stamp), message.header.frame_id
        if self._config.transport == "raw":
            return [self._frame(decode_image(message), at_ns, frame_id)]
        if self._config.transport == "compressed":
            return [self._frame(decode_compressed(message.data, message.format), at_ns, frame_id)]
        return self._from_stream(message.data, at_ns, frame_id)

    def _from_stream(self, unit: Any, at_ns: int, frame_id: str) -> list[CameraFrame]:
        """Pictures of one H.264 access unit; lost units are handed to ``on_lost`` with their reason."""
        if self._stream is None:
            self._stream = H264Decoder()
        decoded = self._stream.decode(unit, at_ns)
        for lost in decoded.dropped:
            self.on_lost(lost.reason)
        return [self._frame(p.image, p.stamp_ns, frame_id, p.is_keyframe) for p in decoded.images]

    def _frame(self, image: U8, at_ns: int, frame_id: str, is_keyframe: bool = True) -> CameraFrame:
        frame = CameraFrame(self.name, at_ns, frame_id, image, self._calibration, False, is_keyframe)
        if self._config.rectify:
            self._rectifier.check(frame)
        out = None if self._place is None else self._place(image.shape[0], image.shape[1], at_ns, is_keyframe)
        if self._config.rectify:
            return self._rectifier.rectify(frame, out)
        return dataclasses.replace(frame, image=deliver(image, out))


def info_topic(camera: CameraConfig) -> str:
    """CameraInfo topic: as configured, else the sibling ``camera_info`` of the image topic."""
    if camera.info_topic:
        return camera.info_topic
    parts = camera.topic.rstrip("/").split("/")
    base = parts[:-2] if parts[-1] == "compressed" else parts[:-1]
    return "/".join([*base, "camera_info"])


def image_type(camera: CameraConfig) -> type:
    """Message type of the camera's topic."""
    kind: type = Image if camera.transport == "raw" else CompressedImage
    return kind
