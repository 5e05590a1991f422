"""LiDAR node: PointCloud2 in, a cropped and motion-compensated sweep in shared memory out; its handle crosses DDS."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from sensor_msgs.msg import PointCloud2

from percept_ros.errors import InputError, PerceptError, ResourceExhausted, TransformError
from percept_ros.msg import FrameReady
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.component import Component
from percept_ros.nodes.ego import EgoMotion
from percept_ros.nodes.extrinsics import Extrinsics
from percept_ros.nodes.filters import subscribe, unsubscribe
from percept_ros.nodes.handles import HandleEncoder
from percept_ros.nodes.inbox import Inbox
from percept_ros.nodes.lidar_input import LidarInput
from percept_ros.nodes.names import LIDAR
from percept_ros.nodes.qos import HANDLE_QOS, SENSOR_QOS
from percept_ros.nodes.sensor_report import SensorReport
from percept_ros.nodes.telemetry import node_telemetry, watch_rings
from percept_ros.nodes.transforms import open_transforms
from percept_ros.nodes.worker import run_worker
from percept_ros.observe.sender import FrameSender
from percept_ros.runtime.realtime import ANSWERING
from percept_ros.runtime.ring import RingWriter

_SLOTS = 16


class LidarNode(Component):
    """Publishes ``~/frame`` (FrameReady). Drops are counted and said."""

    above = ANSWERING

    def __init__(self, name: str = LIDAR, **options: Any) -> None:
        super().__init__(name, **options)

    def acquire(self, held: ExitStack) -> None:
        """Publisher, ring, transforms."""
        self.complaints = Complaints(self.get_logger())
        self._encoder = HandleEncoder()
        self._publisher = self.create_lifecycle_publisher(FrameReady, "~/frame", HANDLE_QOS)
        held.callback(self.destroy_lifecycle_publisher, self._publisher)
        self._ring = held.enter_context(RingWriter(_ring_name(self), slots=_SLOTS, headroom=0.25))
        telemetry = node_telemetry(self, self.config.observe, self.complaints, held, port_offset=1)
        watch_rings(telemetry.meter, lambda: {LIDAR: self._ring.counters})
        self._telemetry, self._sender = telemetry, FrameSender(telemetry)
        transforms = open_transforms(self)
        if transforms is not None:
            held.callback(transforms.close)
        self._ego = EgoMotion(self, self.config, transforms, self.complaints)
        extrinsics = Extrinsics(self.config, transforms)
        self._input = LidarInput(self.config, extrinsics, self.complaints, self._ego.poses_at)

    def start(self, running: ExitStack) -> None:
        """Subscribe and start the worker."""
        inbox = Inbox(self.config.sync.queue_depth, lambda source: self.complaints.count(source, "queue_full"))
        self._inbox = inbox
        self._report = SensorReport(self, self.config.lidar.topic, self.complaints, self.config.budget)
        self._report.budgets.watch(self._telemetry.meter)
        self._report.start(running)
        self._ego.start(running)
        topic = self.config.lidar.topic
        made = subscribe(self, PointCloud2, topic, SENSOR_QOS, lambda message: inbox.put(topic, message))
        running.callback(unsubscribe, self, made)
        run_worker(self, "lidar", inbox, self._on_message, running)

    def _on_message(self, topic: str, message: Any) -> None:
        self._sender.taken(self._inbox.arrived_ns)
        try:
            cloud, _ = self._input.decode(message)
            handle = self._ring.write_cloud(cloud)
        except InputError as exc:
            self.complaints.drop(topic, exc.reason, str(exc))
        except TransformError as exc:
            self.complaints.drop(topic, "no_transform", str(exc))
        except ResourceExhausted as exc:
            self.complaints.drop(topic, "shared_memory_full", str(exc))
        except PerceptError as exc:
            self.complaints.drop(topic, type(exc).__name__, str(exc))
        else:
            self._publisher.publish(self._encoder.encode(handle, message.header.frame_id, self._sender.text()))
            self._report.delivered(self._inbox.arrived_ns, self._sender.began_ns)


def _ring_name(node: Any) -> str:
    return "percept" + str(node.get_fully_qualified_name()).replace("/", "-")


def make() -> tuple[LidarNode]:
    """The LiDAR node alone."""
    return (LidarNode(),)
