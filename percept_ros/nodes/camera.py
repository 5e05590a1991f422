"""Camera node: images of any encoding in, rectified frames in shared memory out; their handles cross DDS."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from typing import Any

from sensor_msgs.msg import CameraInfo

from percept_ros.errors import ConfigError, InputError, ResourceExhausted
from percept_ros.msg import FrameReady
from percept_ros.nodes.camera_input import CameraInput, image_type, info_topic
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.component import Component
from percept_ros.nodes.convert import camera_info, time_message
from percept_ros.nodes.filters import subscribe, unsubscribe
from percept_ros.nodes.handles import HandleEncoder
from percept_ros.nodes.inbox import Inbox
from percept_ros.nodes.names import CAMERA_PREFIX as PREFIX
from percept_ros.nodes.qos import HANDLE_QOS, LATCHED_QOS, SENSOR_QOS
from percept_ros.nodes.sensor_report import SensorReport
from percept_ros.nodes.telemetry import node_telemetry, watch_rings
from percept_ros.nodes.worker import run_worker
from percept_ros.observe.sender import FrameSender
from percept_ros.runtime.ring import OpenSlot, RingWriter
from percept_ros.types import U8, CameraCalibration, CameraFrame

_SLOTS = 12


class CameraNode(Component):
    """Serves the camera that its name says (``camera_front`` serves ``cameras.front``).

    Publishes ``~/frame`` (FrameReady) and ``~/camera_info`` (CameraInfo of the rectified image, latched).
    """

    def __init__(self, name: str = "camera_front", **options: Any) -> None:
        super().__init__(name, **options)

    @property
    def camera(self) -> str:
        """Name of the camera in the configuration."""
        return str(self.get_name()).removeprefix(PREFIX)

    def acquire(self, held: ExitStack) -> None:
        """Publishers, ring, decoder."""
        if self.camera not in self.config.cameras:
            known = ", ".join(f"{PREFIX}{name}" for name in self.config.cameras) or "none"
            raise ConfigError(
                f"node '{self.get_name()}' has no camera '{self.camera}' in config: name it one of {known}"
            )
        self.complaints = Complaints(self.get_logger())
        self._encoder = HandleEncoder()
        self._frames = self.create_lifecycle_publisher(FrameReady, "~/frame", HANDLE_QOS)
        held.callback(self.destroy_lifecycle_publisher, self._frames)
        self._infos = self.create_lifecycle_publisher(CameraInfo, "~/camera_info", LATCHED_QOS)
        held.callback(self.destroy_lifecycle_publisher, self._infos)
        name = "percept" + str(self.get_fully_qualified_name()).replace("/", "-")
        self._ring = held.enter_context(RingWriter(name, slots=_SLOTS))
        offset = 2 + self.config.camera_order.index(self.camera)
        telemetry = node_telemetry(self, self.config.observe, self.complaints, held, port_offset=offset)
        watch_rings(telemetry.meter, lambda: {self.camera: self._ring.counters})
        self._telemetry, self._sender = telemetry, FrameSender(telemetry)

    def start(self, running: ExitStack) -> None:
        """Subscribe and start the worker."""
        camera = self.config.cameras[self.camera]
        self._input = CameraInput(self.camera, camera, self._place)
        self._open: deque[OpenSlot] = deque()
        self._input.on_lost = lambda reason: self.complaints.drop(
            camera.topic, reason, "an H.264 unit is lost or broken; the stream goes on at the next key frame"
        )
        self._announced: CameraCalibration | None = None
        self._report = SensorReport(self, camera.topic, self.complaints, self.config.budget)
        self._report.budgets.watch(self._telemetry.meter)
        self._report.start(running)
        inbox = Inbox(self.config.sync.queue_depth, lambda source: self.complaints.count(source, "queue_full"))
        self._inbox = inbox
        topics = ((image_type(camera), camera.topic, SENSOR_QOS), (CameraInfo, info_topic(camera), SENSOR_QOS))
        for kind, topic, qos in topics:
            made = subscribe(self, kind, topic, qos, lambda message, source=topic: inbox.put(source, message))
            running.callback(unsubscribe, self, made)
        run_worker(self, "camera", inbox, self._on_message, running)

    def _on_message(self, topic: str, message: Any) -> None:
        self._open.clear()  # what a broken message left
        try:
            if isinstance(message, CameraInfo):
                self._input.on_info(message)
                return
            self._sender.taken(self._inbox.arrived_ns)
            for frame in self._input.decode(message):
                self._deliver(frame)
        except InputError as exc:
            self.complaints.drop(topic, exc.reason, str(exc))
        except ResourceExhausted as exc:
            self.complaints.drop(topic, "shared_memory_full", str(exc))

    def _place(self, height: int, width: int, at_ns: int, is_keyframe: bool) -> U8:
        """The decoder's last step draws straight into the ring."""
        self._open.append(self._ring.open_image(height, width, at_ns, is_keyframe=is_keyframe).begin())
        image: U8 = self._open[-1].array
        return image

    def _deliver(self, frame: CameraFrame) -> None:
        handle = self._open.popleft().commit()
        if frame.calibration is not None and frame.calibration is not self._announced:
            self._announced = frame.calibration
            self._infos.publish(camera_info(frame.calibration, frame.frame_id, time_message(frame.stamp_ns)))
        self._frames.publish(self._encoder.encode(handle, frame.frame_id, self._sender.text()))
        self._report.delivered(self._inbox.arrived_ns, self._sender.began_ns)


def make() -> tuple[CameraNode]:
    """One camera node; name it with ``-r __node:=camera_NAME``."""
    return (CameraNode(),)
