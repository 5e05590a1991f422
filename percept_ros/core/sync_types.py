"""What goes into the synchroniser and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from percept_ros.config import Config
from percept_ros.core.sync_queue import CameraTiming
from percept_ros.types import F64, AbsenceReason, CameraFrame, PointCloud, SensorSet

MS = 1_000_000


class Stamped(Protocol):
    """What can be synchronised."""

    @property
    def sensor(self) -> str:
        """Name of the sensor, as configured."""
        ...

    @property
    def stamp_ns(self) -> int:
        """When it was measured."""
        ...


C = TypeVar("C", bound=Stamped)
F = TypeVar("F", bound=Stamped)


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """cameras: name -> timing, in configured order. deadline_ns: longest wait of a set after its pivot arrived.

    queue_depth: messages kept a sensor. max_future_ns: stamps farther ahead of the clock are refused. max_past_ns: or farther
    behind it, 0 = never. jump_ns: a stamp or
    clock this far behind the newest is a time jump. silence_ns: without a sweep for this long, camera-only sets come out.
    patience: a camera missing from this many sets in a row is not waited for until it delivers in time again.
    """

    cameras: Mapping[str, CameraTiming]
    lidar: str = "lidar"
    deadline_ns: int = 60 * MS
    queue_depth: int = 20
    max_future_ns: int = 1000 * MS
    jump_ns: int = 1000 * MS
    silence_ns: int = 300 * MS
    patience: int = 3
    max_past_ns: int = 0

    @staticmethod
    def of(config: Config, lidar: str = "lidar") -> SyncSettings:
        """From the configuration tree."""
        sync = config.sync
        cameras = {
            name: CameraTiming(
                round((camera.tolerance_ms if camera.tolerance_ms >= 0.0 else sync.tolerance_ms) * MS),
                round(camera.time_offset_ms * MS),
            )
            for name, camera in config.cameras.items()
        }
        future_ns = round(sync.max_future_s * 1000 * MS)
        return SyncSettings(cameras, lidar, round(sync.deadline_ms * MS), sync.queue_depth, future_ns)


@dataclass(frozen=True, slots=True)
class SyncedSet(Generic[C, F]):
    """One released set.

    stamp_ns: stamp of the pivot (a camera's corrected stamp when ``cloud`` is None). stamps_ns: sensor -> corrected stamp.
    absent: sensor -> reason. arrival_ns, released_ns: clock when the pivot came and when the set was released.
    """

    stamp_ns: int
    cloud: C | None
    cameras: Mapping[str, F]
    stamps_ns: Mapping[str, int]
    absent: Mapping[str, AbsenceReason]
    arrival_ns: int
    released_ns: int

    @property
    def complete(self) -> bool:
        """Whether every configured sensor is in the set."""
        return not self.absent


def sensor_set(
    synced: SyncedSet[PointCloud, CameraFrame],
    camera_order: tuple[str, ...],
    base_SE3: Mapping[str, F64],
    fixed_SE3_base: F64 | None = None,
) -> SensorSet:
    """The set that goes down the corridor. A sensor without an extrinsic in ``base_SE3`` is absent with NO_TRANSFORM."""
    absent = dict(synced.absent)
    absent |= {name: AbsenceReason.NO_TRANSFORM for name in synced.stamps_ns if name not in base_SE3}
    cloud = synced.cloud if synced.cloud is None or synced.cloud.sensor in base_SE3 else None
    cameras = {name: frame for name, frame in synced.cameras.items() if name in base_SE3}
    return SensorSet(synced.stamp_ns, cloud, cameras, absent, camera_order, base_SE3, fixed_SE3_base)


class FilterLike(Protocol):
    """Any message_filters filter: Subscriber, Cache, TimeSequencer, ..."""

    def registerCallback(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Call ``callback(message, *args)`` for each message."""
        ...


def connect(source: FilterLike, add: Callable[..., Any], *args: Any) -> Any:
    """Feed each message of a message_filters filter to ``add(message, *args)``; returns what registerCallback returns."""
    return source.registerCallback(add, *args)
