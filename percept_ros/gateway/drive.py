"""Sensor sets as requests, and a source that plays them through the gateway at their own pace (to try it out)."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator

import msgpack

from percept_ros.errors import PerceptError
from percept_ros.gateway.answer import JSON
from percept_ros.gateway.perceiver import Perceiver
from percept_ros.gateway.request import typed
from percept_ros.gateway.runner import Job
from percept_ros.types import CameraCalibration, SensorSet

PERIOD_S = 0.1
SESSION = "demo"


def request_of(sensors: SensorSet, session: str, *, images: bool = True) -> dict[str, object]:
    """The request body (before msgpack) that carries a sensor set; images as raw BGR."""
    tree: dict[str, object] = {"stamp_ns": sensors.stamp_ns, "session": session}
    if sensors.cloud is not None:
        pose = sensors.base_SE3[sensors.cloud.sensor]
        tree["points"] = {"data": sensors.cloud.points.tobytes(), "base_SE3_sensor": pose.ravel().tolist()}
    if images:
        tree["images"] = {
            name: {
                "data": frame.image.tobytes(),
                "encoding": "bgr8",
                "width_px": frame.image.shape[1],
                "height_px": frame.image.shape[0],
                "stamp_ns": frame.stamp_ns,
                "rectified": frame.rectified,
                "base_SE3_sensor": sensors.base_SE3[name].ravel().tolist(),
                **({"calibration": _calibration(frame.calibration)} if frame.calibration else {}),
            }
            for name, frame in sensors.cameras.items()
        }
    if sensors.fixed_SE3_base is not None:
        tree["fixed_SE3_base"] = sensors.fixed_SE3_base.ravel().tolist()
    return tree


def _calibration(found: CameraCalibration) -> dict[str, object]:
    numbers = {"K": found.K, "D": found.D, "R": found.R, "P": found.projection}
    plain = {name: array.ravel().tolist() for name, array in numbers.items()}
    return {"width_px": found.width_px, "height_px": found.height_px, "model": found.model, **plain}


def body_of(sensors: SensorSet, session: str = "", *, images: bool = True) -> bytes:
    """The msgpack body that carries a sensor set."""
    packed: bytes = msgpack.packb(request_of(sensors, session, images=images))
    return packed


class Drive:
    """Feeds frames to a perceiver from a thread of its own until closed. frames: called for each round."""

    def __init__(self, perceiver: Perceiver, frames: Callable[[], Iterator[SensorSet]]) -> None:
        self._perceiver, self._frames = perceiver, frames
        self._stop = threading.Event()
        self.refused = 0
        self._thread = threading.Thread(target=self._run, name="percept-drive", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop and wait."""
        self._stop.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        asyncio.run(self._play())

    async def _play(self) -> None:
        for _ in itertools.count():
            if self._stop.is_set():
                return
            self._perceiver.forget(SESSION)
            for sensors in self._frames():
                if self._stop.is_set():
                    return
                begin = time.monotonic()
                await self._one(sensors)
                await asyncio.sleep(max(0.0, PERIOD_S - (time.monotonic() - begin)))

    async def _one(self, sensors: SensorSet) -> None:
        now_ns = time.monotonic_ns()
        deadline_ns = now_ns + int(self._perceiver.config.gateway.longest_deadline_ms * 1e6)
        job = Job(typed(request_of(sensors, SESSION)), self._perceiver.session(SESSION), deadline_ns, now_ns, JSON)
        try:
            await self._perceiver.answer(job)
        except PerceptError:
            self.refused += 1
