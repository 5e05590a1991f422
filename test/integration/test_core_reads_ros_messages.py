"""Real sensor_msgs messages, and the bytes of a real LiDAR and real cameras, go into the core as they are."""

from __future__ import annotations

import array
import os
from pathlib import Path

import numpy as np
import pytest

from percept_ros.core.compressed import decode_compressed
from percept_ros.core.images import decode_image
from percept_ros.core.points import CloudCrop, CloudDecoder

msg = pytest.importorskip("sensor_msgs.msg")
DATA = Path(os.environ.get("PERCEPT_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def filled(message: object, values: np.ndarray) -> object:
    content = array.array("B")
    content.frombytes(values.tobytes())
    message.data = content  # type: ignore[attr-defined]
    return message


def cloud_message(values: np.ndarray, names: list[str]) -> object:
    count, columns = values.shape
    fields = [
        msg.PointField(name=n, offset=4 * i, datatype=msg.PointField.FLOAT32, count=1) for i, n in enumerate(names)
    ]
    step = 4 * columns
    return filled(msg.PointCloud2(height=1, width=count, fields=fields, point_step=step, row_step=step * count), values)


def test_image_message() -> None:
    pixels = np.arange(24).astype(np.uint8)
    message = filled(msg.Image(height=2, width=4, encoding="rgb8", step=12), pixels)
    np.testing.assert_array_equal(decode_image(message), pixels.reshape(2, 4, 3)[:, :, ::-1])  # type: ignore[arg-type]


def test_cloud_message() -> None:
    values = np.random.default_rng(0).normal(0, 10, (50, 4)).astype(np.float32)
    cloud = CloudDecoder().decode(cloud_message(values, ["x", "y", "z", "intensity"]), "lidar", 1, "velo")  # type: ignore[arg-type]
    np.testing.assert_array_equal(cloud.points, values[:, :3])


@pytest.mark.data
def test_recorded_sweep() -> None:
    files = sorted((DATA / "kitti_drive" / "velodyne").glob("*.bin"))
    if not files:
        pytest.skip(f"no recorded sweeps in {DATA} (set PERCEPT_DATA)")
    values = np.fromfile(files[0], np.float32).reshape(-1, 4)
    message = cloud_message(values, ["x", "y", "z", "reflectance"])
    cloud = CloudDecoder(CloudCrop(2.0, 80.0)).decode(message, "lidar", 1, "velo")  # type: ignore[arg-type]
    range_m = np.linalg.norm(values[:, :3], axis=1)
    keep = (range_m >= 2.0) & (range_m <= 80.0)
    assert abs(len(cloud.points) - np.count_nonzero(keep)) <= 2
    assert cloud.intensity is not None
    assert cloud.intensity.max() <= 1.0
    assert cloud.intensity.mean() > 0.1


@pytest.mark.data
def test_recorded_pictures() -> None:
    files = [
        *sorted((DATA / "nuscenes_sample").glob("*.jpg"))[:1],
        *sorted((DATA / "kitti_drive" / "image_02").glob("*.png"))[:1],
    ]
    if not files:
        pytest.skip(f"no recorded pictures in {DATA} (set PERCEPT_DATA)")
    for file in files:
        message = filled(msg.CompressedImage(format=file.suffix[1:]), np.fromfile(file, np.uint8))
        image = decode_compressed(message.data, message.format)  # type: ignore[attr-defined]
        assert image.shape in ((900, 1600, 3), (375, 1242, 3))
        assert image.std() > 20
