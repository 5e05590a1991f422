"""A drilled model: the real answers, and every fault on command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from percept_ros.detectors.drill import CALL, CALLS, COMMAND, FAULTS, DrilledDetector
from percept_ros.detectors.geometric import GeometricDetector
from percept_ros.detectors.open import open_detector
from percept_ros.errors import InferenceError
from percept_ros.inference.manifest import FILE_NAME, find_model
from percept_ros.types import PointCloud, SensorSet

LATER_NS = 10**18


def sensors(stamp_ns: int = 10**9) -> SensorSet:
    points = np.random.default_rng(3).uniform((-20, -20, -1.8), (20, 20, 1), (3000, 3)).astype(np.float32)
    cloud = PointCloud("lidar", stamp_ns, "lidar", points, np.zeros(len(points), np.float32))
    return SensorSet(stamp_ns, cloud, {}, {}, (), {"lidar": np.eye(4)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    manifest = yaml.safe_load((find_model("lidar_pillars") / FILE_NAME).read_text())
    manifest["preprocess"] = {"kind": "drill", "params": {"model": "geometric"}}
    (tmp_path / FILE_NAME).write_text(yaml.safe_dump(manifest))
    return tmp_path


@pytest.fixture
def drilled(folder: Path) -> Iterator[DrilledDetector]:
    detector = open_detector(folder)
    assert isinstance(detector, DrilledDetector)
    detector.load()
    yield detector
    detector.close()


def command(folder: Path, fault: str, until_ns: int = LATER_NS) -> None:
    assert fault in FAULTS
    (folder / COMMAND).write_text(f"{fault} {until_ns}")


def calls(folder: Path) -> list[tuple[int, int]]:
    return [(stamp, good) for stamp, _, _, good in CALL.iter_unpack((folder / CALLS).read_bytes())]


def test_without_a_command_it_is_the_real_model_and_writes_every_call_down(
    drilled: DrilledDetector, folder: Path
) -> None:
    real = GeometricDetector()
    real.load()
    assert drilled.model == real.model
    np.testing.assert_array_equal(drilled.detect(sensors()).boxes, real.detect(sensors()).boxes)
    drilled.detect(sensors(2 * 10**9))
    assert calls(folder) == [(10**9, 1), (2 * 10**9, 1)]


def test_faults_hold_until_their_time(drilled: DrilledDetector, folder: Path) -> None:
    command(folder, "exception")
    with pytest.raises(InferenceError, match="drill"):
        drilled.detect(sensors())
    command(folder, "nan")
    assert np.isnan(drilled.detect(sensors()).boxes).all()
    command(folder, "memory")
    drilled.detect(sensors())
    assert sum(map(len, drilled._grown)) > 50_000_000
    command(folder, "exception", time.monotonic_ns() - 1)
    assert np.isfinite(drilled.detect(sensors()).boxes).all()
    assert calls(folder) == [(10**9, 0), (10**9, 1), (10**9, 1)], "an exception is no answer, NaN is no good one"


def test_a_hang_is_claimed_once(drilled: DrilledDetector, folder: Path) -> None:
    command(folder, "hang", 0)
    assert drilled._commanded() == "hang"
    assert drilled._commanded() == ""
    (folder / COMMAND).write_text("garbage")
    assert drilled._commanded() == ""
