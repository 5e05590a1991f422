"""Garbage collector: off on the hot path, bounded in the slack, and a frame that leaves it nothing to do."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import numpy as np
import pytest

from percept_ros.inference.scheduler import Scheduler
from percept_ros.runtime.gc_control import GcControl, collect_in_slack
from percept_ros.runtime.ring import RingReader, RingWriter
from percept_ros.types import PointCloud


@pytest.fixture
def control() -> Iterator[GcControl]:
    with GcControl() as engaged:
        yield engaged


class Knot:
    def __init__(self) -> None:
        self.me = self


def test_engage_and_release_leave_the_collector_as_it_was() -> None:
    was = gc.isenabled()
    control = GcControl()
    with control:
        assert not gc.isenabled()
        assert control.statistics.frozen > 0
    control.release()
    assert gc.isenabled() == was
    assert gc.get_freeze_count() == 0
    assert control._observe not in gc.callbacks


def test_cycles_are_found_in_the_slack(control: GcControl) -> None:
    for _ in range(100):
        Knot()
    pause_ns = control.slack(10**10)
    assert pause_ns > 0
    statistics = control.statistics
    assert statistics.unreachable >= 100
    assert statistics.collections[0] >= 1
    assert statistics.worst_pause_ns <= statistics.total_pause_ns
    assert control.pauses_ns


def test_without_slack_nothing_is_collected(control: GcControl) -> None:
    for _ in range(100):
        Knot()
    assert control.slack(0) == 0
    assert control.statistics.collections == (0, 0, 0)


def test_too_many_young_objects_force_a_collection() -> None:
    with GcControl(most_pending=50) as control:
        knots = [Knot() for _ in range(200)]
        assert control.slack(0) > 0
        assert control.statistics.forced == 1
        del knots


def test_expected_pause_follows_what_was_measured() -> None:
    ticks = iter(range(0, 10**12, 10**7))
    with GcControl(clock=lambda: next(ticks)) as control:
        Knot()
        assert control.slack(10**9) > 0
        Knot()
        assert control.slack(1000) == 0, "ten milliseconds were measured: one microsecond is not enough"


def test_a_frame_makes_no_reference_cycles() -> None:
    """Ring in, ring out, scheduler, answer: hundreds of frames leave nothing that only the collector could free."""
    image = np.zeros((90, 160, 3), np.uint8)
    cloud = PointCloud("lidar", 1, "lidar", np.zeros((500, 3), np.float32))
    writer, reader = RingWriter(f"test-gc-{os.getpid()}"), RingReader()
    with writer, reader, Scheduler(lambda: lambda items, deadline_ns: list(items)) as scheduler:

        def frame(stamp_ns: int) -> None:
            seen = reader.view(writer.write_image(image, stamp_ns))
            points = reader.view(writer.write_cloud(cloud))
            total = scheduler.submit(int(seen.array.sum()) + len(points.array), source="camera").result(30.0)
            assert seen.still_valid()
            assert total == 500

        frame(0)
        with GcControl() as control:
            for stamp_ns in range(300):
                frame(stamp_ns)
            control.slack(10**12)
            gc.collect()
            assert control.statistics.unreachable == 0


def test_nodes_of_one_process_share_the_collector() -> None:
    was = gc.isenabled()
    with collect_in_slack() as first:
        with collect_in_slack() as second:
            for _ in range(100):
                Knot()
            assert second(10**10) > 0
        assert not gc.isenabled()
        for _ in range(100):
            Knot()
        assert first(10**10) > 0
    assert gc.isenabled() == was
    assert gc.get_freeze_count() == 0
