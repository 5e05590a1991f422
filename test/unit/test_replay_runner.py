"""Deterministic replay: every frame answered, the same bytes twice, a known score, a report that stands alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_bags as small

from percept_ros.config import CameraConfig, Config, LidarConfig
from percept_ros.errors import RecordingError
from percept_ros.replay.bag import BagWriter
from percept_ros.replay.bag_reader import BagReader
from percept_ros.replay.messages import StampedTransform
from percept_ros.replay.report import render_report
from percept_ros.replay.runner import PUBLISH_LATENCY_NS, TRACKS_TOPIC, ReplayJob, ReplayResult, replay
from percept_ros.replay.track_array import TrackArray, track_array_of
from percept_ros.types import PointCloud

FRAMES = 25


def quiet(done: int, total: int) -> None:
    """No progress bar."""


def run(bag: Path, out: Path, pipeline: Any, **job: Any) -> ReplayResult:
    return replay(ReplayJob(bag, out, **job), quiet, lambda config: pipeline)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_drive(tmp_path_factory.mktemp("drive") / "drive.mcap", FRAMES)


def published(out: Path) -> Iterator[TrackArray]:
    with BagReader(out / "tracks.mcap") as reader:
        for item in reader.messages([TRACKS_TOPIC]):
            yield track_array_of(item.message)


def test_every_frame_is_answered_and_scored(drive: Path, tmp_path: Path) -> None:
    pipeline = small.TruthPipeline(FRAMES)
    summary = run(drive, tmp_path, pipeline, pictures=3).summary
    assert (summary["frames_in"], summary["frames_out"]) == (FRAMES, FRAMES)
    assert (summary["tracks_confirmed"], summary["tracks_over_2s"]) == (2, 2)
    assert summary["drops"] == {}
    assert summary["modes"] == {"full": FRAMES}
    assert (summary["mot"]["recall"], summary["mot"]["precision"], summary["mot"]["id_switches"]) == (1.0, 1.0, 0)
    assert summary["ego_motion"] == "odometry"
    assert set(summary["latency_ms"]) == {"p50", "p99", "p999"}
    assert {"decode", "track", "encode"} <= set(summary["stages_ms"])
    json.dumps(summary, allow_nan=False)


def test_sets_carry_extrinsics_ego_motion_and_calibration(drive: Path, tmp_path: Path) -> None:
    pipeline = small.TruthPipeline(FRAMES)
    run(drive, tmp_path, pipeline, pictures=0)
    third = pipeline.sets[3]
    assert third.complete
    assert third.fixed_SE3_base is not None
    assert np.allclose(third.fixed_SE3_base, small.ego_pose(3))
    assert np.allclose(third.base_SE3["lidar"], small.BASE_SE3_LIDAR)
    assert np.allclose(third.views["camera_front"].base_SE3_camera, small.BASE_SE3_CAMERA)
    assert np.array_equal(third.views["camera_front"].projection[:, :3], small.K)
    assert np.array_equal(third.cameras["camera_front"].image, small.image(3).image)


def test_published_times_come_from_the_recording(drive: Path, tmp_path: Path) -> None:
    run(drive, tmp_path, small.TruthPipeline(FRAMES), pictures=0)
    arrays = list(published(tmp_path))
    assert [array.sequence for array in arrays] == list(range(FRAMES))
    assert [array.tracks.stamp_ns for array in arrays] == [small.stamp(i) for i in range(FRAMES)]
    assert {array.publish_ns - array.oldest_ns for array in arrays} == {PUBLISH_LATENCY_NS}


def test_two_replays_write_the_same_bytes(drive: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        replay(ReplayJob(drive, tmp_path / name, pictures=1), quiet)
    first, second = ((tmp_path / name / "tracks.mcap").read_bytes() for name in ("a", "b"))
    assert first == second
    assert len(list(published(tmp_path / "a"))) == FRAMES


def test_a_lost_track_lowers_recall(drive: Path, tmp_path: Path) -> None:
    summary = run(drive, tmp_path, small.TruthPipeline(FRAMES, missing={3: 0, 4: 0}), pictures=0).summary
    assert summary["mot"]["recall"] == pytest.approx((2 * FRAMES - 2) / (2 * FRAMES))


def test_a_set_without_its_camera_is_released_at_the_deadline(tmp_path: Path) -> None:
    bag = small.write_drive(tmp_path / "drive.mcap", 8, skip_images=(4,))
    pipeline = small.TruthPipeline(8)
    summary = run(bag, tmp_path / "out", pipeline, pictures=0).summary
    assert summary["frames_out"] == 8
    assert [i for i, found in enumerate(pipeline.sets) if found.absent] == [4]
    absent = list(published(tmp_path / "out"))[4].absent
    assert absent[0].startswith("camera_front: ")


def test_a_missing_transform_is_counted_and_named_never_identity(tmp_path: Path) -> None:
    bag = small.write_drive(tmp_path / "drive.mcap", 5, transforms=False)
    pipeline = small.TruthPipeline(5)
    summary = run(bag, tmp_path / "out", pipeline, pictures=0).summary
    assert summary["drops"]["no_transform"] == 10
    assert "lidar" in summary["complaints"]["no_transform"] or "front_optical" in summary["complaints"]["no_transform"]
    assert pipeline.sets == []


def test_configured_extrinsics_replace_missing_transforms(tmp_path: Path) -> None:
    bag = small.write_drive(tmp_path / "drive.mcap", 5, transforms=False)
    camera = CameraConfig(topic="/camera_front/image", extrinsic=tuple(small.BASE_SE3_CAMERA.ravel().tolist()))
    config = Config(
        lidar=LidarConfig(extrinsic=tuple(small.BASE_SE3_LIDAR.ravel().tolist())), cameras={"camera_front": camera}
    )
    pipeline = small.TruthPipeline(5)
    summary = run(bag, tmp_path / "out", pipeline, config=config, pictures=0).summary
    assert (summary["frames_out"], summary["drops"]) == (5, {})
    assert np.allclose(pipeline.sets[0].base_SE3["lidar"], small.BASE_SE3_LIDAR)


def test_bad_messages_are_counted_and_the_flow_goes_on(tmp_path: Path) -> None:
    good = small.cloud(1)
    with BagWriter(tmp_path / "bad.mcap") as bag:
        bag.tf_static([StampedTransform(small.START_NS, "base_link", "lidar", small.BASE_SE3_LIDAR)])
        bag.cloud("/lidar/points", small.cloud(0))
        bag.cloud("/lidar/points", PointCloud("lidar", small.stamp(1), "lidar", np.zeros((0, 3), np.float32)))
        bag.cloud("/lidar/points", PointCloud("lidar", small.stamp(2), "unmounted", good.points))
        bag.cloud("/lidar/points", PointCloud("lidar", 0, "lidar", good.points))
        bag.cloud("/lidar/points", small.cloud(3))
    pipeline = small.TruthPipeline(4)
    summary = run(tmp_path / "bad.mcap", tmp_path / "out", pipeline, pictures=0).summary
    assert [found.stamp_ns for found in pipeline.sets] == [small.stamp(0), small.stamp(3)]
    assert summary["drops"] == {"no_points": 1, "no_transform": 1, "zero_stamp": 1}
    assert set(summary["complaints"]) == {"no_points", "no_transform", "zero_stamp"}


def test_a_recording_that_starts_again_resets_the_pipeline(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "loop.mcap") as bag:
        bag.tf_static([StampedTransform(small.START_NS, "base_link", "lidar", small.BASE_SE3_LIDAR)])
        for turn in range(2):
            for i in range(20):
                scan = small.cloud(i)
                log_ns = small.stamp(i) + turn * 20 * small.PERIOD_NS
                write_late(bag, scan, log_ns)
    pipeline = small.TruthPipeline(20)
    summary = run(tmp_path / "loop.mcap", tmp_path / "out", pipeline, pictures=0).summary
    assert (summary["frames_out"], pipeline.resets) == (40, 1)
    assert len(summary["resets"]) == 1


def test_a_recording_on_another_clock_is_replayed_by_its_stamps(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "sim.mcap") as bag:
        bag.tf_static([StampedTransform(small.START_NS, "base_link", "lidar", small.BASE_SE3_LIDAR)])
        for i in range(5):
            write_late(bag, small.cloud(i), small.stamp(i) + 10**17)
    pipeline = small.TruthPipeline(5)
    summary = run(tmp_path / "sim.mcap", tmp_path / "out", pipeline, pictures=0).summary
    assert (summary["frames_out"], summary["drops"]) == (5, {})
    assert pipeline.now_ns == [small.stamp(i) for i in range(5)]


def write_late(bag: BagWriter, scan: PointCloud, log_ns: int) -> None:
    """Write a cloud with a log time other than its stamp."""
    from percept_ros.replay.messages import cloud_message
    from percept_ros.replay.typestore import typestore

    kind = "sensor_msgs/msg/PointCloud2"
    bag.write("/lidar/points", kind, cloud_message(typestore().types, scan), log_ns)


def test_a_cut_bag_is_replayed_as_far_as_it_goes(drive: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mcap"
    cut.write_bytes(drive.read_bytes()[: drive.stat().st_size // 2])
    summary = run(cut, tmp_path / "out", small.TruthPipeline(FRAMES), pictures=0).summary
    assert 5 <= summary["frames_out"] == summary["frames_in"] < FRAMES
    assert any("is cut at byte" in line for line in summary["damage"])
    assert summary["lost_bytes"] > 0


def test_a_misspelt_remap_is_refused_with_the_nearest_topic(drive: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="did you mean '/lidar/points'"):
        run(drive, tmp_path, small.TruthPipeline(1), remap={"/lidar/pionts": "/points"})


def test_the_report_stands_alone(drive: Path, tmp_path: Path) -> None:
    result = run(drive, tmp_path, small.TruthPipeline(FRAMES), pictures=4)
    page = render_report(result)
    assert len(result.gallery.shots) == 4
    assert page.count("data:image/jpeg;base64,") == 8
    assert page.count("<svg") == 4
    assert "Tracks and predicted paths from above" in page
    assert 'src="http' not in page
    assert "<link" not in page
    assert len(page) < 15_000_000
    for text in ("drive.mcap", "recall", "P99", "camera_front", "Life lines"):
        assert text in page
