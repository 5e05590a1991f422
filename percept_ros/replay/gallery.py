"""Pictures of a sample of frames, encoded at once so that no frame is kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2

from percept_ros.replay.birdseye import ALL_AROUND, FRONT, draw_birdseye
from percept_ros.replay.overlay import draw_overlay
from percept_ros.replay.scene import TrackNames, scene_of
from percept_ros.types import U8, FrameResult, Tracks

JPEG_QUALITY = 82
WIDE_PX, NARROW_PX = 1242, 800


@dataclass(frozen=True, slots=True)
class Shot:
    """Pictures of one frame, JPEG bytes. cameras: name -> picture, in order."""

    index: int
    stamp_ns: int
    birdseye: bytes
    cameras: dict[str, bytes]
    tracks: int


@dataclass(slots=True)
class Gallery:
    """Takes pictures of the frames whose number is in ``chosen``."""

    chosen: frozenset[int]
    shots: list[Shot] = field(default_factory=list)

    @staticmethod
    def evenly(frames: int, pictures: int) -> Gallery:
        """``pictures`` frames spread over ``frames``, never the first few, in which no track is confirmed yet."""
        if frames <= 0:
            return Gallery(frozenset())
        first = min(frames - 1, max(1, frames // 10)) if frames > 1 else 0
        count = max(1, min(pictures, frames - first))
        step = (frames - 1 - first) / max(1, count - 1)
        return Gallery(frozenset(round(first + i * step) for i in range(count)))

    def take(self, index: int, result: FrameResult, names: TrackNames, truth: Tracks | None) -> None:
        """Draw frame ``index`` where it was chosen."""
        if index not in self.chosen:
            return
        scene = scene_of(result, names, truth)
        cameras = result.sensors.camera_order
        view = ALL_AROUND if len(cameras) > 2 else FRONT
        width = WIDE_PX if len(cameras) == 1 else NARROW_PX
        pictures = {}
        for camera in cameras:
            if (image := draw_overlay(scene, camera, width)) is not None:
                pictures[camera] = encode(image)
        stamp_ns = result.sensors.stamp_ns
        self.shots.append(Shot(index, stamp_ns, encode(draw_birdseye(scene, view)), pictures, len(scene.tracks.labels)))


def encode(image: U8) -> bytes:
    """JPEG bytes of a BGR picture."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return data.tobytes()
