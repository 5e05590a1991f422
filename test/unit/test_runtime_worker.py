"""Detectors in worker processes: same answers, and what happens when the worker crashes, hangs, leaks or fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import faulty_detector
import numpy as np
import pytest

from percept_ros.detectors.process import DetectorSpec, ProcessDetector, ProcessImageDetector
from percept_ros.detectors.wire import Vocabulary, decode_sensors, encode_sensors
from percept_ros.errors import (
    ArtefactRefused,
    DeadlineExceeded,
    EngineClosed,
    InferenceError,
    InputError,
    TensorMismatch,
    WorkerDied,
)
from percept_ros.runtime.arena import Arena
from percept_ros.runtime.segment import process_start
from percept_ros.runtime.standby import WorkerLimits
from percept_ros.types import AbsenceReason, CameraCalibration, CameraFrame, Detections, PointCloud, SensorSet

NOW_SPARE = WorkerLimits(spare_delay_s=0.0, hang_s=0.0)
WAIT_S = 30.0


def sensor_set(points: int = 100, cameras: int = 2, stamp_ns: int = 10) -> SensorSet:
    calibration = CameraCalibration(20, 10, np.eye(3), np.zeros(5))
    names = tuple(f"camera_{i}" for i in range(cameras))
    frames = {
        name: CameraFrame(name, stamp_ns + i, f"{name}_optical", np.full((10, 20, 3), i + 1, np.uint8), calibration)
        for i, name in enumerate(names)
    }
    table = np.random.default_rng(points).normal(size=(points, 4)).astype(np.float32)
    ring = np.arange(points, dtype=np.uint16)
    cloud = PointCloud("lidar", stamp_ns, "lidar_top", table[:, :3], table[:, 3], ring)
    base = {name: np.eye(4) * (i + 1) for i, name in enumerate(("lidar", *names))}
    order = (*names, "camera_lost")
    return SensorSet(stamp_ns, cloud, frames, {"camera_lost": AbsenceReason.LATE}, order, base, np.eye(4))


@pytest.fixture
def detector() -> Iterator[ProcessDetector]:
    made = ProcessDetector(DetectorSpec("faulty_detector:make", {}), NOW_SPARE)
    made.load()
    yield made
    made.close()


def expected(sensors: SensorSet) -> Detections:
    return faulty_detector.make().detect(sensors)


def assert_same(got: Detections, want: Detections) -> None:
    assert (got.stamp_ns, got.frame_id) == (want.stamp_ns, want.frame_id)
    for name in ("boxes", "scores", "class_probabilities", "velocity_mps", "sensors"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
        assert getattr(got, name).dtype == getattr(want, name).dtype


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)


def wait_gone(pid: int) -> None:
    give_up_ns = soon_ns(WAIT_S)
    while process_start(pid) is not None and time.monotonic_ns() < give_up_ns:
        os.sched_yield()
    assert process_start(pid) is None


def soon_ns(seconds: float = 0.05) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)


def test_answers_equal_the_detector_in_thread(detector: ProcessDetector) -> None:
    assert (detector.model, detector.artefact_sha256) == ("faulty@test", "00ff")
    for points, cameras in ((100, 2), (0, 0), (50_000, 3), (7, 1)):
        sensors = sensor_set(points, cameras, stamp_ns=points)
        assert_same(detector.detect(sensors, deadline_ns=soon_ns(WAIT_S)), expected(sensors))


def test_sets_survive_the_wire_whole() -> None:
    sensors, words = sensor_set(), Vocabulary()
    meta, arrays = encode_sensors(sensors, words)
    back = decode_sensors(meta, arrays, words._entries)
    assert (back.stamp_ns, back.absent, back.camera_order) == (sensors.stamp_ns, sensors.absent, sensors.camera_order)
    assert list(back.base_SE3) == list(sensors.base_SE3)
    assert back.cloud is not None
    assert back.cloud.time_offset_s is None
    np.testing.assert_array_equal(back.cloud.ring, sensors.cloud.ring)
    assert back.views.keys() == sensors.views.keys()
    version = words.version
    encode_sensors(sensor_set(stamp_ns=99), words)
    assert words.version == version, "an equal calibration must not be sent again"


def test_only_what_the_detector_needs_is_sent() -> None:
    sensors, words = sensor_set(), Vocabulary()
    meta, arrays = encode_sensors(sensors, words, cameras=False)
    back = decode_sensors(meta, arrays, words._entries)
    assert not back.cameras
    assert back.cloud is not None


def test_crash_costs_one_call_and_the_spare_answers(detector: ProcessDetector) -> None:
    assert detector.wait_spare(WAIT_S)
    active, spare = detector.pids
    with pytest.raises(WorkerDied, match="signal 11"):
        detector.detect(sensor_set(faulty_detector.CRASH))
    assert_same(detector.detect(sensor_set()), expected(sensor_set()))
    assert detector.pids[0] == spare
    assert process_start(active) is None
    assert detector.counters.deaths == 1


def test_death_between_calls_costs_nothing(detector: ProcessDetector) -> None:
    assert detector.wait_spare(WAIT_S)
    end(detector.pids[0])
    assert_same(detector.detect(sensor_set()), expected(sensor_set()))
    assert detector.wait_spare(WAIT_S)
    for pid in detector.pids:
        end(pid)
    assert_same(detector.detect(sensor_set()), expected(sensor_set()))


def test_hang_ends_at_the_deadline_and_the_spare_answers(detector: ProcessDetector) -> None:
    assert detector.wait_spare(WAIT_S)
    hung = detector.pids[0]
    with pytest.raises(DeadlineExceeded):
        detector.detect(sensor_set(faulty_detector.HANG), deadline_ns=soon_ns())
    assert_same(detector.detect(sensor_set(), deadline_ns=soon_ns(WAIT_S)), expected(sensor_set()))
    assert process_start(hung) is None, "silent beyond hang_s: killed"
    assert detector.counters.hangs == 1


def test_late_worker_without_spare_is_busy_then_replaced() -> None:
    limits = WorkerLimits(spare=False, hang_s=3600.0)
    detector = ProcessDetector(DetectorSpec("faulty_detector:make", {}), limits)
    detector.load()
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            detector.detect(sensor_set(faulty_detector.HANG), deadline_ns=soon_ns())
    detector.close()


def test_leak_is_replaced() -> None:
    limits = WorkerLimits(spare_delay_s=0.0, rss_mb=200)
    detector = ProcessDetector(DetectorSpec("faulty_detector:make", {}), limits)
    detector.load()
    assert detector.wait_spare(WAIT_S)
    fat = detector.pids[0]
    detector.detect(sensor_set(faulty_detector.LEAK))
    assert_same(detector.detect(sensor_set()), expected(sensor_set()))
    assert process_start(fat) is None
    assert detector.counters.leaks == 1
    detector.close()


def test_errors_keep_their_class_and_the_worker_lives(detector: ProcessDetector) -> None:
    pid = detector.pids[0]
    with pytest.raises(TensorMismatch, match="tensor 'x' is too small"):
        detector.detect(sensor_set(faulty_detector.MISMATCH))
    with pytest.raises(InferenceError, match="ValueError: a defect"):
        detector.detect(sensor_set(faulty_detector.DEFECT))
    assert_same(detector.detect(sensor_set()), expected(sensor_set()))
    assert detector.pids[0] == pid


def test_load_errors_come_through() -> None:
    refused = ProcessDetector(DetectorSpec("faulty_detector:make", {"refuse": True}))
    with pytest.raises(ArtefactRefused, match="expected ff"):
        refused.load()
    refused.close()
    missing = ProcessDetector(DetectorSpec("faulty_detector:no_such", {}))
    with pytest.raises(InputError, match="no_such"):
        missing.load()
    missing.close()


def test_use_before_load_and_after_close() -> None:
    detector = ProcessDetector(DetectorSpec("faulty_detector:make", {}), NOW_SPARE)
    with pytest.raises(EngineClosed):
        detector.detect(sensor_set())
    detector.load()
    pids = detector.pids
    detector.close()
    detector.close()
    assert all(process_start(pid) is None for pid in pids)
    with pytest.raises(EngineClosed):
        detector.detect(sensor_set())


def test_passed_deadline_is_not_run(detector: ProcessDetector) -> None:
    with pytest.raises(DeadlineExceeded):
        detector.detect(sensor_set(), deadline_ns=time.monotonic_ns() - 1)
    assert_same(detector.detect(sensor_set(), deadline_ns=soon_ns(WAIT_S)), expected(sensor_set()))


def test_image_detector_in_process() -> None:
    detector = ProcessImageDetector(DetectorSpec("faulty_detector:make_image", {}, cloud=False), NOW_SPARE)
    detector.load()
    found = detector.detect(sensor_set(cameras=3))
    assert list(found) == ["camera_0", "camera_1", "camera_2"]
    np.testing.assert_array_equal(found["camera_1"].boxes_px, [[0, 0, 20, 10]])
    assert found["camera_2"].stamp_ns == 12
    detector.close()


def test_workers_die_with_their_parent() -> None:
    script = (
        "import sys, os, signal; from percept_ros.detectors.process import *\n"
        "d = ProcessDetector(DetectorSpec('faulty_detector:make', {})); d.load()\n"
        "print(*d.pids, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = [str(Path(__file__).parent), str(Path(__file__).parents[2]), *sys.path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, env=env, check=False)
    pids = [int(pid) for pid in done.stdout.split()]
    assert pids
    for pid in pids:
        wait_gone(pid)


def test_arena_refuses_what_cannot_cross_and_what_lies_outside() -> None:
    arena = Arena.create(4096)
    with pytest.raises(InputError, match="cannot cross"):
        arena.put([np.array(["text"])])
    with pytest.raises(ValueError, match="do not fit"):
        arena.put([np.zeros(4097, np.uint8)])
    described = arena.put([np.arange(5.0), np.zeros((0, 3), np.float32)])
    values, nothing = arena.views(described)
    np.testing.assert_array_equal(values, np.arange(5.0))
    assert nothing.shape == (0, 3)
    outside = bytearray(described)
    outside[8:12] = (2**31).to_bytes(4, "little")
    with pytest.raises(InputError, match="names bytes"):
        arena.views(bytes(outside))
    arena.close()
    arena.close()


def test_set_sent_ahead_is_answered_as_a_call_is(detector: ProcessDetector) -> None:
    sensors = sensor_set()
    assert detector.begin(sensors, deadline_ns=time.monotonic_ns() + 10**10)
    answer = detector.finish()
    assert answer is not None
    assert_same(answer[0], expected(sensors))
    assert 0 < answer[1] < 10**10
    assert detector.finish() is None


def test_another_call_takes_the_place_of_a_set_sent_ahead(detector: ProcessDetector) -> None:
    ahead, other = sensor_set(stamp_ns=10), sensor_set(50, stamp_ns=20)
    assert detector.begin(ahead)
    assert_same(detector.detect(other), expected(other))
    assert detector.finish() is None
    assert_same(detector.detect(ahead), expected(ahead))


def test_worker_killed_after_a_set_was_sent_ahead(detector: ProcessDetector) -> None:
    assert detector.wait_spare(WAIT_S)
    os.kill(detector.pids[0], signal.SIGSTOP)
    assert detector.begin(sensor_set())
    os.kill(detector.pids[0], signal.SIGKILL)
    with pytest.raises(WorkerDied):
        detector.finish()
    assert_same(detector.detect(sensor_set()), expected(sensor_set()))
