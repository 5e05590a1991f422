"""Invariants of the synchroniser under any interleaving of the sensors and any garbage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from percept_ros.core.sync import Synchroniser
from percept_ros.core.sync_queue import CameraTiming
from percept_ros.core.sync_types import SyncSettings
from percept_ros.errors import InputError

MS = 1_000_000
T0 = 10**15


@dataclass(frozen=True)
class Item:
    sensor: str
    stamp_ns: int


def make(cameras: list[str], **changes: Any) -> Synchroniser[Item, Item]:
    wide = dict.fromkeys(("deadline_ns", "max_future_ns", "silence_ns", "jump_ns"), 10**12)
    return Synchroniser(SyncSettings(dict.fromkeys(cameras, CameraTiming()), **(wide | {"queue_depth": 500} | changes)))


def feed(sync: Synchroniser[Item, Item], items: list[Item]) -> list[Any]:
    """All sets, with the clock held still so that no deadline comes."""
    ready = []
    for item in items:
        ready += (sync.add_cloud if item.sensor == "lidar" else sync.add_image)(item, T0)
    return ready + sync.flush(T0)


@st.composite
def streams(draw: st.DrawFn) -> list[list[Item]]:
    """One list a sensor: LiDAR at 10 Hz with gaps, cameras at 10 to 30 Hz with a phase and jitter of a fortieth."""
    found = []
    for sensor in ["lidar", "a", "b", "c"]:
        period = 100 if sensor == "lidar" else draw(st.sampled_from([33, 50, 100]))
        phase = draw(st.integers(0, period))
        jitter = draw(st.lists(st.integers(-25 * period, 25 * period), min_size=12, max_size=12))
        kept = draw(st.lists(st.booleans(), min_size=12, max_size=12)) if sensor == "lidar" else [True] * 12
        stamps = [
            T0 + (phase + i * period) * MS + j * 1000
            for i, (j, keep) in enumerate(zip(jitter, kept, strict=True))
            if keep
        ]
        found.append([Item(sensor, stamp) for stamp in stamps])
    return found


def shape(ready: list[Any]) -> list[Any]:
    return [(s.stamp_ns, dict(s.stamps_ns), set(s.absent)) for s in ready]


@given(streams(), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_any_interleaving_of_the_sensors_gives_the_same_sets(sensors: list[list[Item]], random: Any) -> None:
    in_time = sorted((i for items in sensors for i in items), key=lambda i: (i.stamp_ns, i.sensor))
    order = [k for k, items in enumerate(sensors) for _ in items]
    random.shuffle(order)
    queues = [iter(items) for items in sensors]
    shuffled = [next(queues[k]) for k in order]
    assert shape(feed(make(["a", "b", "c"]), shuffled)) == shape(feed(make(["a", "b", "c"]), in_time))


@given(st.permutations([Item("a", T0 + k * 33 * MS) for k in range(12)]), st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_any_order_of_waiting_frames_gives_the_nearest(frames: list[Item], at_ms: int) -> None:
    sync = make(["a"])
    pivot_ns = T0 + at_ms * MS
    ready = feed(sync, [*frames, Item("lidar", pivot_ns)])
    nearest = min((abs(f.stamp_ns - pivot_ns), f.stamp_ns) for f in frames)
    expected = {"a": nearest[1]} if nearest[0] <= CameraTiming().tolerance_ns else {}
    assert [{k: v for k, v in s.stamps_ns.items() if k != "lidar"} for s in ready] == [expected]


actions = st.tuples(
    st.sampled_from(["lidar", "a", "b", "poll", "invalid", "unknown"]),
    st.one_of(st.integers(-(10**9), 3 * 10**9), st.sampled_from([-T0, -T0 - 1, 10**18])),
    st.integers(-(2 * 10**8), 5 * 10**8),
)


@given(st.lists(actions, max_size=80))
@settings(max_examples=150, deadline=None)
def test_any_garbage_gives_sets_in_order_within_tolerance_and_bounds(script: list[tuple[str, int, int]]) -> None:
    sync: Synchroniser[Item, Item] = Synchroniser(SyncSettings(dict.fromkeys("ab", CameraTiming()), queue_depth=5))
    now_ns, last_ns, resets, sent, used = T0, 0, 0, 0, set()
    for sensor, offset_ns, step_ns in script:
        now_ns += step_ns
        item = Item(
            "a" if sensor in ("poll", "invalid") else sensor, now_ns + offset_ns if offset_ns < 10**12 else offset_ns
        )
        sent += sensor != "poll"
        try:
            ready = act(sync, sensor, item, now_ns)
        except InputError:
            continue
        if sync.resets != resets:
            resets, last_ns = sync.resets, 0
        for synced in ready:
            assert synced.stamp_ns > last_ns
            last_ns = synced.stamp_ns
            assert set(synced.absent) | set(synced.stamps_ns) == {"lidar", "a", "b"}
            assert all(abs(s - synced.stamp_ns) <= CameraTiming().tolerance_ns for s in synced.stamps_ns.values())
            used |= {id(f) for f in synced.cameras.values()}
    assert sum(sync.drops.values()) <= sent


def act(sync: Synchroniser[Item, Item], sensor: str, item: Item, now_ns: int) -> list[Any]:
    if sensor == "poll":
        return sync.poll(now_ns)
    if sensor == "invalid":
        return sync.note_invalid("a", item.stamp_ns, now_ns)
    return (sync.add_cloud if sensor == "lidar" else sync.add_image)(item, now_ns)
