"""Converters on the recorded data: geometry is right where the data itself can tell."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from percept_ros.core.geometry import inverse, points_in_box, project_boxes, transform_boxes, transform_points
from percept_ros.core.points import CloudDecoder
from percept_ros.core.transform_tree import TransformTree
from percept_ros.errors import RecordingError
from percept_ros.replay.bag_reader import BagReader
from percept_ros.replay.convert import Conversion, convert
from percept_ros.replay.messages import calibration_of, odometry_of, stamp_ns, transforms_of
from percept_ros.replay.track_array import TrackArray, track_array_of
from percept_ros.types import F32, F64, ObjectClass

pytestmark = pytest.mark.data

ROOT = Path(os.environ.get("PERCEPT_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
_KITTI = {"kitti-drive": "kitti_drive", "kitti-object": "kitti_frames", "kitti-tracking": "kitti_mot"}
FOLDERS = {**_KITTI, "nuscenes": "nuscenes_sample", "av2": "av2_log"}


def quiet(done: int, total: int) -> None:
    """No progress bar."""


@dataclass(frozen=True)
class Bag:
    """A converted bag, opened again."""

    counts: dict[str, int]
    messages: dict[str, list[Any]]
    tree: TransformTree

    def cloud(self, i: int) -> F32:
        """Points of sweep ``i`` in the base frame."""
        message = self.messages["/lidar/points"][i]
        frame, at_ns = message.header.frame_id, stamp_ns(message.header.stamp)
        cloud = CloudDecoder().decode(message, "lidar", at_ns, frame)
        return transform_points(self.tree.lookup("base_link", frame, at_ns), cloud.points)

    def truth(self) -> Iterator[TrackArray]:
        """Ground truth arrays."""
        return map(track_array_of, self.messages["/ground_truth/tracks"])


def converted(dataset: str, folder: Path, name: str = "bag.mcap", **options: Any) -> Bag:
    """Convert and read back. Skips where the data is not there."""
    if not (ROOT / FOLDERS[dataset]).is_dir():
        pytest.skip(f"no {FOLDERS[dataset]} under {ROOT}: set PERCEPT_DATA")
    counts = convert(Conversion(dataset, ROOT / FOLDERS[dataset], folder / name, **options), quiet)
    messages: dict[str, list[Any]] = {}
    tree = TransformTree()
    with BagReader(folder / name) as reader:
        for item in reader.messages():
            messages.setdefault(item.topic, []).append(item.message)
        assert not reader.damage
    for message in messages["/tf_static"]:
        for edge in transforms_of(message):
            tree.set_fixed(edge.parent, edge.child, edge.parent_SE3_child)
    assert {topic: len(found) for topic, found in messages.items()} == counts
    return Bag(dict(counts), messages, tree)


def road_height(points: F32, x_m: tuple[float, float]) -> float:
    """Median height of the lower points ahead, within 2 m of the centre line."""
    ahead = points[(points[:, 0] > x_m[0]) & (points[:, 0] < x_m[1]) & (np.abs(points[:, 1]) < 2.0)]
    return float(np.percentile(ahead[:, 2], 25))


def test_kitti_drive(tmp_path: Path) -> None:
    bag = converted("kitti-drive", tmp_path)
    assert {n for t, n in bag.counts.items() if t != "/tf_static"} == {40}
    stamps = [stamp_ns(message.header.stamp) for message in bag.messages["/lidar/points"]]
    assert set(np.diff(stamps)) == {100_000_000}
    assert stamps[0] > 0
    info = calibration_of(bag.messages["/camera_2/camera_info"][0])
    assert (info.width_px, info.height_px, info.D.size) == (1242, 375, 0)
    assert abs(road_height(bag.cloud(0), (5.0, 12.0))) < 0.2


def test_kitti_object_boxes_hold_their_points_and_project_to_their_labels(tmp_path: Path) -> None:
    bag = converted("kitti-object", tmp_path, "folder")
    arrays = list(bag.truth())
    pedestrian = arrays[0].tracks
    assert pedestrian.frame_id == "base_link"
    assert pedestrian.class_ids.tolist() == [ObjectClass.PEDESTRIAN]
    assert points_in_box(bag.cloud(0), pedestrian.boxes[0]).sum() > 100
    labels = (ROOT / "kitti_frames" / "label_2").glob("*.txt")
    for i, (file, array) in enumerate(zip(sorted(labels), arrays, strict=True)):
        rows = [line.split() for line in file.read_text().splitlines() if not line.startswith("DontCare")]
        check_projection(bag, i, array.tracks.boxes, np.array([row[4:8] for row in rows], np.float64))


def check_projection(bag: Bag, i: int, boxes: F64, labelled_px: F64) -> None:
    """The projected 3D boxes lie on the labelled 2D boxes (which were drawn by hand)."""
    info = bag.messages["/camera_2/camera_info"][i]
    found = calibration_of(info)
    camera_SE3_base = inverse(bag.tree.lookup("base_link", info.header.frame_id, 0))
    projected, visible = project_boxes(found.projection, camera_SE3_base, boxes, (found.width_px, found.height_px))
    assert visible.all()
    assert np.abs(projected - labelled_px).max() < 12.0


def test_kitti_tracking_stands_still_where_parked_cars_stand(tmp_path: Path) -> None:
    bag = converted("kitti-tracking", tmp_path, "bag.db3", sequence="0009")
    poses = [odometry_of(message).parent_SE3_child for message in bag.messages["/odom"]]
    assert len(poses) == len(bag.messages["/ground_truth/tracks"]) == 803
    assert np.allclose(poses[0], np.eye(4))
    driven = np.linalg.norm(np.diff([pose[:3, 3] for pose in poses], axis=0), axis=1).sum()
    speeds = [abs(message.twist.twist.linear.x) * 0.1 for message in bag.messages["/odom"]]
    assert driven == pytest.approx(sum(speeds), rel=0.05)
    still = [float(np.hypot(*v)) for array in bag.truth() for v in array.tracks.velocity_mps[array.tracks.stationary]]
    everyone = [float(np.hypot(*v)) for array in bag.truth() for v in array.tracks.velocity_mps]
    assert len(still) > 0.3 * len(everyone)
    assert len(bag.messages["/detections/pointrcnn_3d"]) > 700


def test_nuscenes_boxes_hold_the_points_that_were_counted(tmp_path: Path) -> None:
    import json

    bag = converted("nuscenes", tmp_path)
    sample = json.loads((ROOT / "nuscenes_sample" / "sample_calib_gt.json").read_text())
    counted = np.array([item["num_lidar_pts"] for item in sample["instances"]])
    (array,) = bag.truth()
    points = bag.cloud(0)
    inside = np.array([points_in_box(points, box).sum() for box in array.tracks.boxes])
    assert np.abs(inside - counted).sum() <= 0.05 * counted.sum()
    assert len([topic for topic in bag.counts if topic.endswith("/camera_info")]) == 6
    assert ((array.tracks.sensors != 0) == (counted > 0)).all()
    assert abs(road_height(bag.cloud(0), (5.0, 15.0))) < 0.2


def test_nuscenes_cameras_look_where_their_names_say(tmp_path: Path) -> None:
    bag = converted("nuscenes", tmp_path, encoded_images=True)
    yaw_deg = {"front": 0, "front_left": 55, "front_right": -55, "back": 180, "back_left": 110, "back_right": -110}
    for name, expected in yaw_deg.items():
        axis = bag.tree.lookup("base_link", f"cam_{name}_optical", 0)[:3, 2]
        apart = np.degrees(np.arctan2(axis[1], axis[0])) - expected
        assert abs((apart + 180.0) % 360.0 - 180.0) < 6.0, name
        assert bag.counts[f"/cam_{name}/image/compressed"] == 1


def test_av2_boxes_hold_the_points_that_were_counted(tmp_path: Path) -> None:
    from percept_ros.replay.convert_av2 import read_feather

    bag = converted("av2", tmp_path)
    poses = {stamp_ns(message.header.stamp): odometry_of(message) for message in bag.messages["/odom"]}
    names = ("timestamp_ns", "num_interior_pts")
    rows = read_feather(ROOT / "av2_log" / "annotations.feather", names)
    arrays = {array.tracks.stamp_ns: array.tracks for array in bag.truth()}
    assert len(arrays) == 156
    for i, message in enumerate(bag.messages["/lidar/points"]):
        at_ns = stamp_ns(message.header.stamp)
        tracks = arrays[at_ns]
        assert tracks.frame_id == "odom"
        nearest = min(poses, key=lambda stamp: abs(stamp - at_ns))
        boxes = transform_boxes(inverse(poses[nearest].parent_SE3_child), tracks.boxes)
        points = bag.cloud(i)
        inside = np.array([points_in_box(points, box).sum() for box in boxes])
        counted = np.asarray(rows["num_interior_pts"])[np.asarray(rows["timestamp_ns"]) == at_ns]
        assert np.abs(inside - counted).sum() <= 0.12 * counted.sum()
    assert abs(road_height(bag.cloud(0), (4.0, 10.0))) < 0.25


BREAKS: list[tuple[str, Callable[[Path], None], str]] = [
    ("kitti-drive", lambda root: None, "calib.txt' is missing"),
    ("nuscenes", lambda root: (root / "sample_calib_gt.json").write_text("{}"), "not as expected"),
    ("av2", lambda root: None, "feather' is missing"),
    ("kitti-tracking", lambda root: None, "oxts' is missing"),
    ("kitti-object", lambda root: (root / "velodyne").mkdir(), "holds no"),
]


@pytest.mark.parametrize(("dataset", "spoil", "text"), BREAKS)
def test_a_wrong_folder_is_named_and_no_bag_is_left(
    tmp_path: Path, dataset: str, spoil: Callable[[Path], None], text: str
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    spoil(root)
    with pytest.raises(RecordingError, match=text):
        convert(Conversion(dataset, root, tmp_path / "out.mcap"), quiet)
    assert not (tmp_path / "out.mcap").exists()
    with pytest.raises(RecordingError, match="does not exist"):
        convert(Conversion(dataset, tmp_path / "nowhere", tmp_path / "out.mcap"), quiet)
