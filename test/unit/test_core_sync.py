"""The synchroniser: what is released when, why a sensor is absent, what is dropped and under which name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from percept_ros.config import load_config
from percept_ros.core.sync import Synchroniser
from percept_ros.core.sync_queue import CameraTiming
from percept_ros.core.sync_types import SyncSettings, connect, sensor_set
from percept_ros.errors import InputError, StampError
from percept_ros.types import AbsenceReason, CameraFrame, PointCloud

MS = 1_000_000
T0 = 1_000_000 * MS


@dataclass(frozen=True)
class Item:
    sensor: str
    stamp_ns: int


class Rig:
    """A synchroniser and short names; times are milliseconds after ``T0``."""

    def __init__(self, cameras: int = 2, **settings: Any) -> None:
        timing = settings.pop("timing", CameraTiming())
        self.notices: list[str] = []
        names = {f"cam{i}": timing for i in range(cameras)}
        self.sync: Synchroniser[Item, Item] = Synchroniser(SyncSettings(names, **settings), self.notices.append)

    def cloud(self, at_ms: float, now_ms: float | None = None) -> list[Any]:
        return self.sync.add_cloud(
            Item("lidar", T0 + round(at_ms * MS)), self.clock(at_ms if now_ms is None else now_ms)
        )

    def image(self, camera: int, at_ms: float, now_ms: float | None = None) -> list[Any]:
        now = self.clock(at_ms if now_ms is None else now_ms)
        return self.sync.add_image(Item(f"cam{camera}", T0 + round(at_ms * MS)), now)

    def poll(self, now_ms: float) -> list[Any]:
        return self.sync.poll(self.clock(now_ms))

    @staticmethod
    def clock(at_ms: float) -> int:
        return T0 + round(at_ms * MS)


def offsets_ms(synced: Any) -> dict[str, float]:
    return {name: (stamp - synced.stamp_ns) / MS for name, stamp in synced.stamps_ns.items()}


def test_complete_set_comes_out_at_once() -> None:
    rig = Rig()
    assert rig.image(0, 0) == []
    assert rig.cloud(0, now_ms=5) == []
    (ready,) = rig.image(1, 0, now_ms=6)
    assert ready.complete
    assert set(ready.cameras) == {"cam0", "cam1"}
    assert (ready.arrival_ns, ready.released_ns) == (rig.clock(5), rig.clock(6))
    assert rig.sync.next_deadline_ns == rig.clock(305)  # from then on the LiDAR counts as silent, unless it comes


def test_nearest_frame_is_chosen_on_either_side() -> None:
    rig = Rig(1)
    rig.image(0, 60)
    rig.cloud(100, 110)
    (ready,) = rig.image(0, 130)
    assert offsets_ms(ready) == {"lidar": 0, "cam0": 30}
    rig.image(0, 190)
    (ready,) = rig.cloud(200, 205)
    assert offsets_ms(ready)["cam0"] == -10


def test_tie_goes_to_the_earlier_frame() -> None:
    rig = Rig(1)
    rig.image(0, 80)
    rig.image(0, 120)
    (ready,) = rig.cloud(100, 130)
    assert offsets_ms(ready)["cam0"] == -20


def test_camera_that_keeps_up_never_makes_a_set_wait() -> None:
    rig = Rig(1)
    for at in range(0, 1000, 100):
        rig.image(0, at - 10)
        ready = rig.cloud(at, at + 1)
        if at >= 100:  # from the second frame on its period is known: the next would come 80 ms later, and farther
            assert [offsets_ms(s)["cam0"] for s in ready] == [-10]


def test_deadline_releases_a_partial_set_and_says_why() -> None:
    rig = Rig(2)
    rig.image(0, 0)
    rig.cloud(0, 10)
    assert rig.sync.next_deadline_ns == rig.clock(70)
    assert rig.sync.awaited == {"cam1"}
    assert rig.poll(69.9) == []
    (ready,) = rig.poll(70)
    assert ready.absent == {"cam1": AbsenceReason.NEVER_SEEN}
    assert not ready.complete


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (lambda r: r.image(0, -300), AbsenceReason.LATE),
        (lambda r: (r.image(0, -100), r.image(0, 80)), AbsenceReason.OUT_OF_TOLERANCE),
        (lambda r: r.sync.note_invalid("cam0", T0 + 5 * MS, T0), AbsenceReason.INVALID),
        (lambda r: None, AbsenceReason.NEVER_SEEN),
    ],
    ids=["late", "out_of_tolerance", "invalid", "never_seen"],
)
def test_reasons_of_absence(before: Callable[[Rig], object], reason: AbsenceReason) -> None:
    rig = Rig(1)
    before(rig)
    ready = rig.cloud(0, 90) or rig.poll(150)
    assert ready[0].absent == {"cam0": reason}


def test_dropped_by_overflow_is_named() -> None:
    rig = Rig(1, queue_depth=2)
    for at in (0, 10, 20):
        rig.image(0, at + 50)
    (ready,) = rig.cloud(0, 80)
    assert ready.absent == {"cam0": AbsenceReason.DROPPED}
    assert rig.sync.drops["overflow"] == 1


def test_broken_frame_is_not_waited_for() -> None:
    rig = Rig(1)
    rig.cloud(0)
    (ready,) = rig.sync.note_invalid("cam0", T0 + MS, T0 + 2 * MS, "truncated")
    assert ready.absent == {"cam0": AbsenceReason.INVALID}
    assert rig.sync.drops_by_sensor == {("cam0", "truncated"): 1}


def test_time_offset_moves_the_camera() -> None:
    rig = Rig(1, timing=CameraTiming(5 * MS, -40 * MS))
    rig.image(0, 41)
    (ready,) = rig.cloud(0, 45)
    assert offsets_ms(ready)["cam0"] == 1
    assert ready.cameras["cam0"].stamp_ns == rig.clock(41)


def test_own_tolerance() -> None:
    rig = Rig(1, timing=CameraTiming(5 * MS))
    rig.image(0, 6)
    (ready,) = rig.cloud(0, 7)
    assert ready.absent == {"cam0": AbsenceReason.OUT_OF_TOLERANCE}


def test_dead_camera_costs_the_deadline_only_a_few_times() -> None:
    rig = Rig(2, patience=3)
    waits = []
    for at in range(0, 1000, 100):
        rig.image(0, at)
        ready = rig.cloud(at) or rig.poll(at + 60)
        waits.append((ready[0].released_ns - ready[0].arrival_ns) / MS)
    assert waits == [60] * 3 + [0] * 7


def test_camera_that_comes_back_is_waited_for_again() -> None:
    rig = Rig(1)
    for at in range(0, 500, 100):
        assert rig.cloud(at) or rig.poll(at + 60)
    rig.image(0, 400, 450)  # 50 ms late, within the deadline of the set that did not wait for it
    assert rig.cloud(500) == []
    (ready,) = rig.image(0, 500, 550)
    assert ready.complete


def test_camera_beyond_the_deadline_is_not_waited_for() -> None:
    rig = Rig(1)
    waits = []
    for at in range(0, 1500, 100):
        if at >= 100:
            rig.image(0, at - 100, at - 10)  # 90 ms late: always after its set
        ready = rig.cloud(at) or rig.poll(at + 60)
        waits.append(ready[0].released_ns - ready[0].arrival_ns)
    assert waits[4:] == [0] * len(waits[4:])
    assert rig.sync.drops["late"] > 5


def test_sets_come_in_order_of_stamps() -> None:
    rig = Rig(1)
    rig.cloud(100, 110)
    rig.cloud(0, 120)  # overtaken on the way
    ready = rig.poll(170)
    assert [s.stamp_ns for s in ready] == [rig.clock(0), rig.clock(100)]
    assert rig.cloud(50, 180) == []
    assert rig.sync.drops["late"] == 1


def test_reordered_frames_are_sorted() -> None:
    rig = Rig(1)
    for at in (200, 0, 100):
        rig.image(0, at)
    (ready,) = rig.cloud(101, 210)
    assert offsets_ms(ready)["cam0"] == -1


def test_duplicates_are_dropped() -> None:
    rig = Rig(1)
    rig.image(0, 0)
    rig.image(0, 0)
    assert len(rig.cloud(0)) == 1
    assert rig.cloud(0) == []
    assert rig.sync.drops == {"duplicate": 2}


def test_unused_frames_are_counted() -> None:
    rig = Rig(1)
    for at in range(0, 300, 30):
        rig.image(0, at)
    rig.cloud(270, 280)
    assert rig.sync.drops == {"unmatched": 8}
    assert rig.cloud(300, 301) == []


@pytest.mark.parametrize(
    ("stamp_ns", "reason"), [(0, "zero_stamp"), (-5, "zero_stamp"), (T0 + 1001 * MS, "future_stamp")]
)
def test_impossible_stamps_are_refused(stamp_ns: int, reason: str) -> None:
    rig = Rig(1)
    for add, sensor in ((rig.sync.add_cloud, "lidar"), (rig.sync.add_image, "cam0")):
        with pytest.raises(StampError, match=sensor) as caught:
            add(Item(sensor, stamp_ns), T0)
        assert caught.value.reason == reason
    assert rig.sync.drops == {reason: 2}
    assert rig.sync.next_deadline_ns is None


def test_unknown_camera_is_refused() -> None:
    with pytest.raises(InputError, match="not configured"):
        Rig(1).image(7, 0)


def test_backward_jump_of_stamps_resets_and_recovers() -> None:
    rig = Rig(1)
    rig.cloud(60_000)
    rig.image(0, 60_300, 60_001)
    rig.cloud(60_300, 60_301)
    rig.image(0, 0, 60_302)  # the bag starts again, the clock goes on
    assert len(rig.notices) == 1
    assert "went back by 60.300 s" in rig.notices[0]
    assert rig.sync.resets == 1
    (ready,) = rig.cloud(0, 60_303)
    assert ready.complete


def test_backward_jump_of_the_clock_resets() -> None:
    rig = Rig(1)
    rig.cloud(60_000)
    assert rig.poll(0) == []
    assert rig.sync.resets == 1
    assert rig.sync.drops == {"time_jump": 1}
    rig.image(0, 5)
    assert rig.cloud(5)[0].complete


def test_silent_lidar_gives_camera_only_sets() -> None:
    rig = Rig(2)
    rig.image(0, 0)
    assert rig.poll(299) == []
    assert rig.sync.next_deadline_ns == rig.clock(300)
    rig.image(0, 290, 291)
    rig.image(1, 291, 292)
    (first,) = rig.poll(300)
    assert first.cloud is None
    assert first.absent == {"lidar": AbsenceReason.NEVER_SEEN}
    assert set(first.cameras) == {"cam0", "cam1"}
    assert rig.image(1, 391, 392) == []
    (second,) = rig.image(0, 390, 393)
    assert (second.stamp_ns, offsets_ms(second)) == (rig.clock(390), {"cam0": 0, "cam1": 1})


def test_start_of_a_simulated_clock_is_no_silence() -> None:
    rig = Rig(1)
    assert rig.sync.poll(0) == []
    assert rig.image(0, 0) == []
    (ready,) = rig.cloud(0, 10)
    assert ready.complete
    assert rig.sync.resets == 0


def test_broken_clouds_are_named() -> None:
    rig = Rig(1)
    rig.cloud(-100)
    rig.sync.note_invalid("lidar", rig.clock(0), rig.clock(0), "truncated")
    (ready,) = rig.image(0, 290)
    assert ready.absent == {"lidar": AbsenceReason.INVALID}
    assert rig.sync.drops_by_sensor["lidar", "truncated"] == 1


def test_next_camera_takes_over_as_pivot() -> None:
    rig = Rig(2)
    stamps = [s.stamp_ns for at in range(0, 2000, 100) for s in rig.image(1, at)]
    assert len(stamps) > 10
    assert stamps == sorted(set(stamps))


def test_lidar_that_comes_back_is_the_pivot_again() -> None:
    rig = Rig(1)
    rig.cloud(0)
    for at in range(0, 1000, 100):
        rig.image(0, at)
    assert rig.sync.poll(rig.clock(900)) == []
    rig.image(0, 1000)
    (ready,) = rig.cloud(1001)
    assert ready.cloud is not None
    assert rig.cloud(800, 1002) == []
    assert rig.sync.drops["late"] == 1


def test_bounded_when_nobody_polls() -> None:
    rig = Rig(1, queue_depth=3, deadline_ns=10**15, patience=100)
    released = [s for at in range(0, 1000, 100) for s in rig.cloud(at)]
    assert len(released) == 7
    assert len(rig.sync.flush(rig.clock(2000))) == 3
    assert rig.sync.flush(rig.clock(2000)) == []


def test_exception_in_the_receiver_blocks_nothing() -> None:
    rig = Rig(0)

    def receiver(item: Item) -> None:
        for _ in rig.sync.add_cloud(item, item.stamp_ns):
            raise RuntimeError("receiver failed")

    for at in range(1, 4):
        with pytest.raises(RuntimeError):
            receiver(Item("lidar", T0 + at * 100 * MS))


def test_reset_callback_may_call_back() -> None:
    sync: Synchroniser[Item, Item] = Synchroniser(SyncSettings({}), lambda text: sync.drops.clear())
    sync.reset()
    assert sync.resets == 1


def test_many_threads_lose_and_double_nothing() -> None:
    rig = Rig(3, queue_depth=300, max_future_ns=10**12, jump_ns=10**12, deadline_ns=10**12, silence_ns=10**12)
    ready: list[Any] = []

    def feed(sensor: int) -> None:
        for at in range(200):
            ready.extend(rig.image(sensor, at * 10.0, 0.0) if sensor < 3 else rig.cloud(at * 10.0, 0.0))

    threads = [threading.Thread(target=feed, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ready += rig.sync.flush(rig.clock(2000))
    assert len({s.stamp_ns for s in ready}) == len(ready)
    assert len(ready) + rig.sync.drops_by_sensor.get(("lidar", "late"), 0) == 200
    assert all(offsets_ms(s) == {"lidar": 0, "cam0": 0, "cam1": 0, "cam2": 0} for s in ready)


class Filter:
    """Does what a message_filters filter does."""

    def __init__(self) -> None:
        self.callbacks: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def registerCallback(self, callback: Callable[..., Any], *args: Any) -> int:
        self.callbacks.append((callback, args))
        return len(self.callbacks) - 1

    def signal(self, message: Any) -> list[Any]:
        return [callback(message, *args) for callback, args in self.callbacks]


def test_message_filters_feed_it() -> None:
    rig, source = Rig(0), Filter()
    assert connect(source, rig.sync.add_cloud, T0) == 0
    assert len(source.signal(Item("lidar", T0))[0]) == 1


def test_settings_from_config() -> None:
    cameras = {"front": {"tolerance_ms": 20.0, "time_offset_ms": -3.5}, "rear": {}}
    config = load_config(overrides={"sync": {"deadline_ms": 80.0, "tolerance_ms": 50.0}, "cameras": cameras})
    settings = SyncSettings.of(config)
    assert settings.cameras == {"front": CameraTiming(20 * MS, -3_500_000), "rear": CameraTiming(50 * MS, 0)}
    assert settings.deadline_ns == 80 * MS


def test_sensor_set_leaves_out_what_has_no_transform() -> None:
    sync: Synchroniser[PointCloud, CameraFrame] = Synchroniser(SyncSettings({"a": CameraTiming(), "b": CameraTiming()}))
    for name in "ab":
        sync.add_image(CameraFrame(name, T0, name, np.zeros((1, 1, 3), np.uint8)), T0)
    (ready,) = sync.add_cloud(PointCloud("lidar", T0, "velo", np.zeros((0, 3), np.float32)), T0)
    sensors = sensor_set(ready, ("a", "b"), {"lidar": np.eye(4), "a": np.eye(4)})
    assert sensors.cloud is not None
    assert set(sensors.cameras) == {"a"}
    assert sensors.absent == {"b": AbsenceReason.NO_TRANSFORM}
    assert sensor_set(ready, ("a", "b"), {}).cloud is None
