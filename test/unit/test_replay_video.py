"""Video in a bag: H.264 access units become frames; a lost unit is counted and the flow goes on at the next key frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import small_bags as small

from percept_ros.replay.bag import BagWriter
from percept_ros.replay.messages import StampedTransform
from percept_ros.replay.runner import ReplayJob, replay
from percept_ros.types import AbsenceReason, CameraCalibration

av = pytest.importorskip("av")
FRAMES, GROUP = 20, 5


def units() -> list[bytes]:
    """H.264 of a ramp that moves, a key frame every fifth picture."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *small.SIZE_PX, "yuv420p"
    encoder.time_base, encoder.gop_size = Fraction(1, 10), GROUP
    parameters = f"repeat-headers=1:keyint={GROUP}:min-keyint={GROUP}:scenecut=0"
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": parameters}
    ramp = np.tile(np.arange(small.SIZE_PX[0], dtype=np.uint8)[None, :, None], (small.SIZE_PX[1], 1, 3))
    pictures = [av.VideoFrame.from_ndarray(np.roll(ramp, 3 * i, axis=1), format="bgr24") for i in range(FRAMES)]
    packets = []
    for i, picture in enumerate(pictures):
        picture.pts = i
        packets += [bytes(packet) for packet in encoder.encode(picture)]
    return packets + [bytes(packet) for packet in encoder.encode(None)]


def write_video(path: Path, missing: int) -> Path:
    calibration = CameraCalibration(*small.SIZE_PX, small.K, np.zeros(0))
    with BagWriter(path) as bag:
        mounted = {"lidar": small.BASE_SE3_LIDAR, "front_optical": small.BASE_SE3_CAMERA}
        bag.tf_static([StampedTransform(small.START_NS, "base_link", name, pose) for name, pose in mounted.items()])
        for i, unit in enumerate(units()):
            bag.camera_info("/camera_front/camera_info", small.stamp(i), "front_optical", calibration)
            if i != missing:
                bag.compressed_image("/camera_front/image/compressed", small.stamp(i), "front_optical", unit, "h264")
            bag.cloud("/lidar/points", small.cloud(i))
    return path


def test_a_lost_unit_costs_its_group_and_no_more(tmp_path: Path) -> None:
    bag = write_video(tmp_path / "video.mcap", missing=7)
    pipeline = small.TruthPipeline(FRAMES)
    summary = replay(ReplayJob(bag, tmp_path / "out", pictures=0), lambda d, t: None, lambda config: pipeline).summary
    assert summary["frames_out"] == FRAMES
    assert summary["drops"] == {"awaiting_keyframe": 2, "lost_unit": 1}
    blind = [i for i, found in enumerate(pipeline.sets) if "camera_front" in found.absent]
    assert blind == [7, 8, 9]
    assert {pipeline.sets[i].absent["camera_front"] for i in (8, 9)} == {AbsenceReason.INVALID}
    keys = [i for i, found in enumerate(pipeline.sets) if i not in blind and found.cameras["camera_front"].is_keyframe]
    assert keys == [0, 5, 10, 15]
    assert pipeline.sets[3].cameras["camera_front"].image.shape == (160, 240, 3)
