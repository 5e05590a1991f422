"""What viewers see: the newest frame, handed to any number of open streams. A slow viewer misses frames, nobody waits."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

import cv2
import numpy as np

from percept_ros.errors import ResourceExhausted
from percept_ros.gateway.answer import CLASSES
from percept_ros.gateway.runner import Seen
from percept_ros.replay.scene import Scene, TrackNames, scene_of
from percept_ros.types import F32, U8, TrackState

MAX_POINTS, POINT_M, MAX_NAMES = 6000, 0.02, 4096
CAMERA_WIDTH_PX = 640
PING_S = 5.0


class Feed:
    """Take frames from any thread; read them in the event loop. Bounded: one frame waits for each viewer."""

    def __init__(self, viewers: int) -> None:
        self._limit = viewers
        self._viewers: set[_Viewer] = set()
        self._lock = threading.Lock()
        self._names = _Numbers()
        self._newest: Seen | None = None
        self.frames = self.missed = 0

    @property
    def viewers(self) -> int:
        """Open streams."""
        return len(self._viewers)

    @property
    def newest(self) -> Seen | None:
        """The newest frame."""
        return self._newest

    def take(self, seen: Seen) -> None:
        """Show a frame. Called from any thread; costs little without viewers."""
        with self._lock:
            self._newest = seen
            self.frames += 1
            if not self._viewers:
                return
            text = json.dumps(self.event(seen), allow_nan=False, separators=(",", ":"))
            for viewer in self._viewers:
                self.missed += viewer.offer(text)

    def event(self, seen: Seen) -> dict[str, Any]:
        """What a stream says about one frame; everything in the vehicle's base frame."""
        scene = scene_of(seen.result, self._names, None)
        result = seen.result
        return {
            "sequence": self.frames,
            "stamp_ns": str(result.tracks.stamp_ns),
            "session": seen.session,
            "mode": result.mode.name,
            "cause": result.cause,
            "model": result.model,
            "group": result.group,
            "latency_ms": round(seen.latency_ms, 2),
            "stages_ms": {stage: round(spent * 1e-6, 2) for stage, spent in result.stage_ns.items()},
            "absent": {seen.names.get(n, n): reason.name.lower() for n, reason in result.sensors.absent.items()},
            "cameras": [seen.names.get(name, name) for name in result.sensors.cameras],
            "tracks": _tracks(scene),
            "points": None if scene.points is None else packed_points(scene.points),
        }

    def picture(self, name: str) -> bytes | None:
        """JPEG of the newest image of a camera, None when there is none. Costly: not for the event loop."""
        seen = self._newest
        if seen is None:
            return None
        for slot, frame in seen.result.sensors.cameras.items():
            if seen.names.get(slot, slot) == name:
                return jpeg(frame.image)
        return None

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events until the viewer goes. Raises ResourceExhausted when too many look on."""
        if len(self._viewers) >= self._limit:
            raise ResourceExhausted(f"{self._limit} viewers look on already", 5.0)
        viewer = _Viewer(asyncio.get_running_loop())
        with self._lock:
            self._viewers.add(viewer)
            newest = self._newest
        try:
            yield "retry: 1000\n\n"
            if newest is not None:
                yield _sse(json.dumps(self.event(newest), allow_nan=False, separators=(",", ":")))
            while True:
                text = await viewer.next(PING_S)
                yield _sse(text) if text else ": nothing new\n\n"
        finally:
            with self._lock:
                self._viewers.discard(viewer)


class _Numbers(TrackNames):
    """Forgets the oldest ids: callers make new ones for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._known: OrderedDict[bytes, int] = OrderedDict()
        self._next = 1

    def of(self, identity: bytes) -> int:
        if identity not in self._known:
            self._known[identity] = self._next
            self._next += 1
        self._known.move_to_end(identity)
        while len(self._known) > MAX_NAMES:
            self._known.popitem(last=False)
        return self._known[identity]


class _Viewer:
    """One open stream: holds the newest event until it is sent."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._text = ""
        self._there = asyncio.Event()

    def offer(self, text: str) -> int:
        """Replace what waits; returns how many events were lost by that."""
        lost, self._text = int(bool(self._text)), text
        try:
            self._loop.call_soon_threadsafe(self._there.set)
        except RuntimeError:  # the loop was closed
            return 1
        return lost

    async def next(self, timeout_s: float) -> str:
        """The event that waits, "" when none came in time."""
        try:
            await asyncio.wait_for(self._there.wait(), timeout_s)
        except asyncio.TimeoutError:
            return ""
        self._there.clear()
        text, self._text = self._text, ""
        return text


def _sse(text: str) -> str:
    return f"event: frame\ndata: {text}\n\n"


def _tracks(scene: Scene) -> list[dict[str, Any]]:
    drawn, tracks = scene.tracks, scene.result.tracks
    return [
        {
            "n": int(label),
            "class": CLASSES[int(drawn.class_ids[row])],
            "state": TrackState(int(tracks.state[row])).name.lower(),
            "existence": round(float(tracks.existence[row]), 3),
            "box": _rounded(drawn.boxes[row]),
            "velocity": _rounded(drawn.velocity_mps[row]),
            "path": [_rounded(point) for point in drawn.paths[row][::2]],
        }
        for row, label in enumerate(drawn.labels)
    ]


def _rounded(values: Any) -> list[float]:
    return [round(float(v), 2) if np.isfinite(v) else 0.0 for v in values]


def packed_points(points: F32) -> str:
    """Base64 of int16 x, y, z in steps of ``POINT_M``, at most ``MAX_POINTS`` of the points."""
    step = -(-len(points) // MAX_POINTS) or 1
    near = np.clip(points[::step], -600.0, 600.0)
    return base64.b64encode(np.round(near / POINT_M).astype("<i2").tobytes()).decode()


def jpeg(image: U8) -> bytes | None:
    """A smaller JPEG of (height, width, 3) BGR."""
    height, width = image.shape[:2]
    if width > CAMERA_WIDTH_PX:
        image = cv2.resize(  # type: ignore[assignment]
            image, (CAMERA_WIDTH_PX, max(1, round(height * CAMERA_WIDTH_PX / width))), interpolation=cv2.INTER_AREA
        )
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 75])
    return data.tobytes() if done else None
