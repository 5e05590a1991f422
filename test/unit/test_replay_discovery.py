"""Which topics are the sensors."""

from __future__ import annotations

import pytest

from percept_ros.config import CameraConfig, Config, LidarConfig
from percept_ros.errors import RecordingError
from percept_ros.replay.discovery import camera_name, discover

IMAGE, PACKED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
INFO, CLOUD, ODOM, TF = (
    "sensor_msgs/msg/CameraInfo",
    "sensor_msgs/msg/PointCloud2",
    "nav_msgs/msg/Odometry",
    "tf2_msgs/msg/TFMessage",
)
TRACKS = "percept_ros/msg/ObstacleTrackArray"


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("/camera_2/image", "camera_2"),
        ("/camera_front/image_raw/compressed", "camera_front"),
        ("/sensing/camera/left/image_rect_color", "sensing_camera_left"),
        ("/image_raw", "image_raw"),
    ],
)
def test_cameras_are_named_by_their_topic(topic: str, name: str) -> None:
    assert camera_name(topic) == name


def test_everything_is_found_by_type() -> None:
    topics = {
        "/velodyne_points": CLOUD,
        "/b/image_raw": IMAGE,
        "/b/camera_info": INFO,
        "/a/image_raw/compressed": PACKED,
        "/a/camera_info": INFO,
        "/a/image_raw": IMAGE,
        "/wheel/odometry": ODOM,
        "/tf": TF,
        "/tf_static": TF,
        "/ground_truth/tracks": TRACKS,
    }
    found = discover(topics, Config())
    assert found.lidar == "/velodyne_points"
    assert [(c.name, c.image, c.info) for c in found.cameras] == [
        ("a", "/a/image_raw", "/a/camera_info"),
        ("b", "/b/image_raw", "/b/camera_info"),
    ]
    assert (found.odometry, found.truth, set(found.transforms)) == (
        "/wheel/odometry",
        "/ground_truth/tracks",
        {"/tf", "/tf_static"},
    )
    assert found.lacking == ()
    assert found.configured(Config()).camera_order == ("a", "b")


def test_what_is_lacking_is_named() -> None:
    found = discover({"/a/image": IMAGE}, Config())
    assert any("no PointCloud2" in line for line in found.lacking)
    assert any("'a' (/a/image) has no camera_info" in line for line in found.lacking)
    two = discover({"/a/points": CLOUD, "/b/points": CLOUD}, Config())
    assert two.lidar == "/a/points"
    assert any("/a/points, /b/points" in line for line in two.lacking)


def test_configuration_comes_first() -> None:
    config = Config(
        lidar=LidarConfig(topic="/b/points"),
        cameras={"left": CameraConfig(topic="/a/image"), "gone": CameraConfig(topic="/gone/image")},
    )
    topics = {"/a/points": CLOUD, "/b/points": CLOUD, "/a/image": IMAGE, "/a/camera_info": INFO, "/z/image": IMAGE}
    found = discover(topics, config)
    assert found.lidar == "/b/points"
    assert [camera.name for camera in found.cameras] == ["left"]
    assert any("camera 'gone': no image topic '/gone/image'" in line for line in found.lacking)


def test_a_bag_without_sensors_is_refused() -> None:
    with pytest.raises(RecordingError, match=r"no PointCloud2 and no image.*/odom"):
        discover({"/odom": ODOM}, Config())
