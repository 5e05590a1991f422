"""Image messages of one camera in a bag: raw, JPEG, PNG and H.264, rectified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from percept_ros.core.compressed import decode_compressed
from percept_ros.core.h264 import H264Decoder
from percept_ros.core.images import decode_image
from percept_ros.core.rectify import Rectifier
from percept_ros.replay.bag_reader import BagMessage
from percept_ros.replay.discovery import COMPRESSED
from percept_ros.replay.messages import calibration_of, same_calibration, stamp_ns
from percept_ros.types import U8, CameraCalibration, CameraFrame

H264 = "h264"


@dataclass(frozen=True, slots=True)
class CameraOutput:
    """What one message gave. lost: (stamp, reason) of H.264 pictures that cannot be shown."""

    frames: tuple[CameraFrame, ...]
    lost: tuple[tuple[int, str], ...] = ()


class CameraSource:
    """Decodes one camera. rectify: remove lens distortion."""

    def __init__(self, name: str, *, rectify: bool = True) -> None:
        self.name, self._rectify = name, rectify
        self._rectifier = Rectifier()
        self._calibration: CameraCalibration | None = None
        self._stream: H264Decoder | None = None

    def learn(self, info: Any) -> None:
        """Take a CameraInfo message; a changed calibration takes effect with the next frame."""
        found = calibration_of(info)
        if self._calibration is None or not same_calibration(found, self._calibration):
            self._calibration = found

    def decode(self, message: BagMessage) -> CameraOutput:
        """Rectified frames of one message. Raises ImageError or CalibrationError."""
        content = message.message
        at_ns, frame_id = stamp_ns(content.header.stamp), content.header.frame_id.lstrip("/")
        if message.msgtype != COMPRESSED:
            return CameraOutput((self._frame(decode_image(content), at_ns, frame_id),))
        if H264 not in content.format.lower():
            return CameraOutput((self._frame(decode_compressed(content.data, content.format), at_ns, frame_id),))
        if self._stream is None:
            self._stream = H264Decoder()
        decoded = self._stream.decode(content.data, at_ns)
        frames = tuple(self._frame(p.image, p.stamp_ns, frame_id, p.is_keyframe) for p in decoded.images)
        return CameraOutput(frames, tuple((unit.stamp_ns, unit.reason) for unit in decoded.dropped))

    def _frame(self, image: U8, at_ns: int, frame_id: str, is_keyframe: bool = True) -> CameraFrame:
        frame = CameraFrame(self.name, at_ns, frame_id, image, self._calibration, not self._rectify, is_keyframe)
        return self._rectifier.rectify(frame)
