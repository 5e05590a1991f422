"""config/fastdds.xml is used by Fast DDS, and an image larger than the default segment goes through it."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from percept_ros.nodes.fleet import small_messages

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


SMALL = """
import os, sys, rclpy
from pathlib import Path
from std_msgs.msg import String
rclpy.init()
node, role = rclpy.create_node(sys.argv[1]), sys.argv[1]
got = []
node.create_subscription(String, "/to_" + role, got.append, 5)
publisher = node.create_publisher(String, "/to_" + sys.argv[2], 5)
while len(got) < 3 or publisher.get_subscription_count() == 0:
    publisher.publish(String(data=role))
    rclpy.spin_once(node, timeout_sec=0.05)
for _ in range(20):
    publisher.publish(String(data=role))
names = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
print(got[-1].data, sum(name.startswith("dds.shm") for name in names), sum(name.startswith("dds.udp") for name in names), flush=True)
sys.stdin.readline()
os._exit(0)
"""


def test_processes_of_small_messages_have_no_shared_memory_of_dds_and_talk_with_those_that_do() -> None:
    env = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(20 + os.getpid() % 70)}
    env["FASTRTPS_DEFAULT_PROFILES_FILE"] = str(PROFILE)
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SMALL]
    small_env = {**env, **small_messages()}
    small = subprocess.Popen([*command, "a", "b"], env=small_env, stdin=pipe, stdout=pipe, text=True)
    large = subprocess.Popen([*command, "b", "a"], env=env, stdin=pipe, stdout=pipe, text=True)
    try:
        assert small.stdout is not None
        assert large.stdout is not None
        heard, shared, datagram = small.stdout.readline().split()
        assert (heard, shared) == ("b", "0")
        assert int(datagram) > 0
        heard, shared, _ = large.stdout.readline().split()
        assert heard == "a"
        assert int(shared) > 0
    finally:
        for end in (small, large):
            end.kill()
            end.communicate()
