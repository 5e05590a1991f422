"""config/fastdds.xml is used by Fast DDS, and an image larger than the default segment goes through it."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[2]
PROFILE = ROOT / "config" / "fastdds.xml"
SCRIPT = """
import array, os, rclpy, sys, time
from pathlib import Path
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
before = set(Path("/dev/shm").iterdir())
rclpy.init()
qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
node = rclpy.create_node(sys.argv[1])
if sys.argv[1] == "sender":
    publisher = node.create_publisher(Image, "/large", qos)
    message = Image(height=900, width=1600, encoding="bgr8", step=4800, data=array.array("B", bytes(4_320_000)))
    while publisher.get_subscription_count() == 0:
        rclpy.spin_once(node, timeout_sec=0.05)
    mine = set(Path("/dev/shm").iterdir()) - before
    print("segment", max((p.stat().st_size for p in mine if "fastrtps" in p.name or "fastdds" in p.name), default=0), flush=True)
    while publisher.get_subscription_count() and os.getppid() > 1:
        publisher.publish(message)
        rclpy.spin_once(node, timeout_sec=0.05)
else:
    got = []
    node.create_subscription(Image, "/large", lambda image: got.append(len(image.data)), qos)
    while len(got) < 5:
        rclpy.spin_once(node, timeout_sec=0.1)
    print("received", got[-1], flush=True)
node.destroy_node()
rclpy.try_shutdown()
"""


def test_large_images_cross_the_profile() -> None:
    env = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(20 + os.getpid() % 70)}
    env["FASTRTPS_DEFAULT_PROFILES_FILE"] = env["FASTDDS_DEFAULT_PROFILES_FILE"] = str(PROFILE)
    both = subprocess.PIPE
    ends = {
        role: subprocess.Popen([sys.executable, "-c", SCRIPT, role], env=env, stdout=both, stderr=both, text=True)
        for role in ("sender", "receiver")
    }
    try:
        said = {role: end.communicate(timeout=60) for role, end in ends.items()}
    finally:
        for end in ends.values():
            end.kill()
            end.communicate()
    assert said["receiver"][0] == "received 4320000\n", said
    segment_bytes = int(said["sender"][0].split()[1])
    assert segment_bytes >= 64_000_000, "the profile's segment is in use, not the default of 512 kB"
    assert "XMLPARSER" not in said["sender"][1] + said["receiver"][1]


def test_profile_stays_on_this_machine() -> None:
    text = PROFILE.read_text(encoding="utf-8")
    tree = ElementTree.fromstring(text)
    names = {item.tag.rpartition("}")[2]: (item.text or "").strip() for item in tree.iter()}
    assert names["useBuiltinTransports"] == "false"
    assert names["address"] == "127.0.0.1"
    assert int(names["segment_size"]) > 10 * 1600 * 900 * 3
