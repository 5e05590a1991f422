"""Sensor data that must not be believed: images that stand still, are blank or noise, sweeps that repeat, are nearly empty or noise.

A screened sensor is absent from the set, with the reason; everything behind then treats it as it treats a silent one.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from percept_ros.config import SemanticConfig
from percept_ros.health.baseline import Window
from percept_ros.health.look import look_at_image, look_at_sweep
from percept_ros.health.repeats import Repeats
from percept_ros.types import F64, AbsenceReason, CameraFrame, PointCloud, SensorSet

_LEARNED = 10
_ROUGHER = 3.0
_ROUGH_LEVEL = 30.0
"""Mean difference of neighbouring pixels, of 255, under which an image is never called noise."""
_ROUGH_M = 1.0
"""Median difference of the ranges of neighbouring points under which a sweep is never called noise."""
_LEAST_POINTS = 200
"""A stream of sweeps smaller than this is never judged by its size."""


@dataclass(slots=True)
class _Seen:
    """What was seen of one sensor last. roughness: lately. judged_ns, why: stamp of the frame that was judged last, and the
    verdict."""

    judged_ns: int | None = None
    why: AbsenceReason | None = None
    repeats: Repeats = field(default_factory=Repeats)
    roughness: Window = field(default_factory=lambda: Window(100))

    def noisy(self, rough: float, least: float) -> bool:
        """Whether content is rougher than ``least`` and several times as rough as usual; it is then not learned from."""
        usual = self.roughness.median() if len(self.roughness) >= _LEARNED else rough
        if rough > max(least, _ROUGHER * usual):
            return True
        self.roughness.add(rough)
        return False


class SensorScreen:
    """Looks at every frame once, before it is used. One thread. Cost: a sample of every 32nd pixel and every 64th point."""

    def __init__(self, config: SemanticConfig) -> None:
        self._config = config
        self._cameras: dict[str, _Seen] = {}
        self._cloud = _Seen()
        self._sizes = Window(100)
        self._pose: F64 | None = None
        """fixed_SE3_base of the set before."""

    def screen(self, sensors: SensorSet) -> SensorSet:
        """The set without what must not be believed."""
        wrong = {name: why for name, frame in sensors.cameras.items() if (why := self.image(frame)) is not None}
        cloud = sensors.cloud
        if cloud is not None and (why_cloud := self.cloud(cloud)) is not None:
            wrong[cloud.sensor] = why_cloud
            cloud = None
        self._pose = sensors.fixed_SE3_base
        if not wrong:
            return sensors
        kept = {name: frame for name, frame in sensors.cameras.items() if name not in wrong}
        return dataclasses.replace(sensors, cloud=cloud, cameras=kept, absent={**sensors.absent, **wrong})

    def reset(self) -> None:
        """Forget what was seen."""
        self._cameras.clear()
        self._cloud = _Seen()
        self._sizes.clear()
        self._pose = None

    def image(self, frame: CameraFrame) -> AbsenceReason | None:
        """Why an image must not be believed, None when it may be. A frame that was judged already keeps its verdict."""
        seen = self._cameras.setdefault(frame.sensor, _Seen())
        if frame.stamp_ns != seen.judged_ns:
            seen.why, seen.judged_ns = self._look(frame, seen), frame.stamp_ns
        return seen.why

    def cloud(self, cloud: PointCloud) -> AbsenceReason | None:
        """Why a sweep must not be believed, None when it may be. A sweep that was judged already keeps its verdict."""
        seen = self._cloud
        if cloud.stamp_ns != seen.judged_ns:
            seen.why, seen.judged_ns = self._sweep(cloud), cloud.stamp_ns
        return seen.why

    def _look(self, frame: CameraFrame, seen: _Seen) -> AbsenceReason | None:
        look = look_at_image(frame.image, seen.repeats.sample)
        seen.repeats.see(frame.stamp_ns, look, look.sample.size, self._pose)
        level = self._config.blank_level
        if look.spread < self._config.blank_spread and not 255.0 - level > look.level > level:
            return AbsenceReason.BLANK
        if seen.noisy(look.roughness, _ROUGH_LEVEL):
            return AbsenceReason.NOISY
        return AbsenceReason.FROZEN if seen.repeats.hangs(self._config, self._pose) else None

    def _sweep(self, cloud: PointCloud) -> AbsenceReason | None:
        count = len(cloud.points)
        usual = self._sizes.median() if len(self._sizes) >= 10 else 0.0
        self._sizes.add(count)
        if usual >= _LEAST_POINTS and count < self._config.emptied_share * usual:
            return AbsenceReason.EMPTIED
        if count < _LEAST_POINTS:
            return None
        look = look_at_sweep(cloud, self._cloud.repeats.sample)
        self._cloud.repeats.see(cloud.stamp_ns, look, count, self._pose)
        if self._cloud.noisy(look.roughness, _ROUGH_M):
            return AbsenceReason.NOISY
        return AbsenceReason.FROZEN if self._cloud.repeats.hangs(self._config, self._pose) else None
