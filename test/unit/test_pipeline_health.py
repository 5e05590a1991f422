"""The pipeline around its health: what must not be believed is not used, what is not finite is not published, modes are held."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from small_scene import scan, sensors

from percept_ros.config import HealthConfig, TrackingConfig
from percept_ros.core.tracking import Tracker
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.geometric import GeometricDetector
from percept_ros.pipeline import Pipeline
from percept_ros.types import AbsenceReason, FrameResult, Mode, SensorSet, Tracks

PERIOD_NS = 100_000_000
POINTS = scan([(10.0, 2.0, 0.8, 4.5, 1.8, 1.6, 0.0), (18.0, -3.0, 0.8, 4.5, 1.8, 1.6, 0.0)])


class Named(GeometricDetector):
    """A geometric detector under another name, to stand for a network."""

    model = "net"


class FailingTracker(Tracker):
    """A tracker whose covariances can be made to overflow, as a defect would."""

    spoiled = False

    def step(self, *args: Any, **options: Any) -> Tracks:
        tracks = super().step(*args, **options)
        return (
            dataclasses.replace(tracks, pose_covariance=np.full_like(tracks.pose_covariance, np.inf))
            if self.spoiled
            else tracks
        )


class Drive:
    def __init__(self, pipeline: Pipeline, tracker: FailingTracker) -> None:
        self.pipeline, self.tracker, self.turn = pipeline, tracker, 0

    def set_of(self, points: np.ndarray) -> SensorSet:
        self.turn += 1
        one = sensors(points)
        assert one.cloud is not None
        stamp_ns = 10**18 + self.turn * PERIOD_NS
        cloud = dataclasses.replace(one.cloud, stamp_ns=stamp_ns)
        return dataclasses.replace(one, stamp_ns=stamp_ns, cloud=cloud, fixed_SE3_base=np.eye(4))

    def step(self, points: np.ndarray | None = None) -> FrameResult:
        given = POINTS + np.float32(1e-4 * self.turn) if points is None else points
        frame = self.set_of(given)
        return self.pipeline.process(frame, frame.stamp_ns)

    def run(self, frames: int) -> FrameResult:
        for _ in range(frames - 1):
            self.step()
        return self.step()


@pytest.fixture
def drive() -> Iterator[Drive]:
    chain = DetectorChain([Named(), GeometricDetector()])
    chain.load()
    tracker = FailingTracker(TrackingConfig(), seed=1)
    with Pipeline(
        chain, None, tracker, base_frame="base_link", detect_ms=60_000.0, health=HealthConfig(probation_ms=0.0)
    ) as pipeline:
        yield Drive(pipeline, tracker)
    chain.close()


def test_a_sweep_that_repeats_is_not_detected_anew(drive: Drive) -> None:
    assert drive.run(12).mode is Mode.FULL
    results = [drive.step(POINTS) for _ in range(5)]
    assert results[-1].mode is Mode.COASTING
    assert results[-1].sensors.absent == {"lidar": AbsenceReason.FROZEN}
    assert "lidar frozen" in results[-1].cause
    assert not len(results[-1].detections)
    assert drive.run(8).mode is Mode.FULL


def test_what_is_not_finite_is_never_published_and_the_tracker_starts_afresh(drive: Drive) -> None:
    before = drive.run(8)
    assert len(before.tracks) >= 2
    drive.tracker.spoiled = True
    bad = drive.step()
    assert len(bad.tracks) == len(bad.forecasts.paths) == 0
    assert bad.mode is Mode.COASTING
    assert "finite 0.00" in bad.cause
    drive.tracker.spoiled = False
    after = drive.run(10)
    assert after.mode is Mode.FULL
    assert len(after.tracks) >= 2


@pytest.mark.parametrize(("best", "model"), [(Mode.REDUCED, "net"), (Mode.GEOMETRIC, "geometric")])
def test_a_held_mode_is_used_and_published_until_it_is_set_free(drive: Drive, best: Mode, model: str) -> None:
    assert drive.run(8).model == "net"
    drive.pipeline.hold(best)
    held = drive.step()
    assert (held.mode, held.model) == (best, model)
    drive.pipeline.hold(Mode.FULL)
    free = drive.run(8)
    assert (free.mode, free.model) == (Mode.FULL, "net")


def test_a_chain_is_exchanged_between_two_sets_and_tracks_go_on(drive: Drive) -> None:
    before = drive.run(8)
    chain = DetectorChain([GeometricDetector()])
    chain.load()
    old = drive.pipeline.exchange(chain)
    old.close()
    after = drive.step()
    assert after.model == "geometric"
    assert after.mode is Mode.FULL
    assert {bytes(i) for i in after.tracks.id} == {bytes(i) for i in before.tracks.id}
    assert [one.name() for one in drive.pipeline.shadow.subjects] == ["geometric"]
