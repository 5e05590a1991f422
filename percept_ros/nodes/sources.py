"""The sensors of the fusion node: subscriptions on one side, decoded frames on the other.

``RingSources`` reads frames that camera and lidar nodes put into shared memory; ``DirectSources`` decodes the sensor
topics itself. Callbacks only enqueue; ``decode`` runs in the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, PointCloud2

from percept_ros.config import Config
from percept_ros.errors import CalibrationError, InputError
from percept_ros.msg import FrameReady
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.convert import calibration, stamp_ns
from percept_ros.nodes.extrinsics import Extrinsics
from percept_ros.nodes.filters import subscribe, unsubscribe
from percept_ros.nodes.handles import HandleDecoder, decode_handle
from percept_ros.nodes.inbox import Inbox
from percept_ros.nodes.lidar_input import LidarInput
from percept_ros.nodes.names import LIDAR
from percept_ros.nodes.qos import HANDLE_QOS, LATCHED_QOS, SENSOR_QOS
from percept_ros.runtime.ring import RingFrame, RingReader
from percept_ros.runtime.ring_kernel import RingCounters
from percept_ros.types import F64, I64, CameraCalibration, CameraFrame, PointCloud


@dataclass(frozen=True, slots=True)
class Arrival:
    """One decoded sensor frame with the mounting of its sensor. ring: where it lies, when it lies in shared memory.

    trace: trace field of its message, "" = none.
    """

    payload: CameraFrame | PointCloud
    base_SE3_sensor: F64
    ring: RingFrame | None = None
    trace: str = ""


class Sources(Protocol):
    """The sensors of the fusion node."""

    def start(self, running: ExitStack, inbox: Inbox) -> None:
        """Subscribe; every message goes into ``inbox`` under its sensor's name."""
        ...

    def decode(self, sensor: str, message: Any) -> list[Arrival]:
        """Frames of one message. Raises InputError or TransformError."""
        ...

    def stamp_ns(self, message: Any) -> int:
        """Sensor stamp of a message; 0 where even that cannot be read."""
        ...


class DirectSources:
    """Decodes the sensor topics in this process (small machines, debugging)."""

    def __init__(
        self, node: Node, config: Config, extrinsics: Extrinsics, complaints: Complaints, pose_at: Callable[[I64], F64]
    ) -> None:
        self._node, self._config, self._extrinsics, self._complaints = node, config, extrinsics, complaints
        self._lidar = LidarInput(config, extrinsics, complaints, pose_at)
        from percept_ros.nodes.camera_input import CameraInput  # OpenCV, which nodes that read rings do without

        self._cameras = {name: CameraInput(name, camera) for name, camera in config.cameras.items()}
        for name, camera_input in self._cameras.items():
            camera_input.on_lost = partial(complaints.count, name)

    def start(self, running: ExitStack, inbox: Inbox) -> None:
        """See Sources."""
        from percept_ros.nodes.camera_input import image_type, info_topic

        wanted: list[tuple[type, str, QoSProfile, Callable[[Any], None]]] = [
            (PointCloud2, self._config.lidar.topic, SENSOR_QOS, _into(inbox, LIDAR))
        ]
        for name, camera in self._config.cameras.items():
            wanted.append((image_type(camera), camera.topic, SENSOR_QOS, _into(inbox, name)))
            wanted.append((CameraInfo, info_topic(camera), SENSOR_QOS, self._on_info(name, info_topic(camera))))
        for kind, topic, qos, callback in wanted:
            running.callback(unsubscribe, self._node, subscribe(self._node, kind, topic, qos, callback))

    def decode(self, sensor: str, message: Any) -> list[Arrival]:
        """See Sources."""
        if sensor == LIDAR:
            cloud, base_SE3_lidar = self._lidar.decode(message)
            return [Arrival(cloud, base_SE3_lidar)]
        frames = self._cameras[sensor].decode(message)
        return [Arrival(f, self._extrinsics.of(sensor, f.frame_id, f.stamp_ns)) for f in frames]

    def stamp_ns(self, message: Any) -> int:
        """See Sources."""
        return stamp_ns(message.header.stamp)

    def _on_info(self, name: str, topic: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            try:
                self._cameras[name].on_info(message)
            except CalibrationError as exc:
                self._complaints.drop(topic, exc.reason, str(exc))

        return take


class RingSources:
    """Reads what camera and lidar nodes put into shared memory."""

    def __init__(self, node: Node, config: Config, extrinsics: Extrinsics, complaints: Complaints) -> None:
        self._node, self._config, self._extrinsics, self._complaints = node, config, extrinsics, complaints
        self._readers = {name: RingReader() for name in (LIDAR, *config.cameras)}
        self._decoders = {name: HandleDecoder() for name in self._readers}
        self._calibrations: dict[str, CameraCalibration] = {}

    def start(self, running: ExitStack, inbox: Inbox) -> None:
        """See Sources."""
        for name, reader in self._readers.items():
            running.callback(reader.close)
            prefix = LIDAR if name == LIDAR else f"camera_{name}"
            made = subscribe(self._node, FrameReady, f"{prefix}/frame", HANDLE_QOS, _into(inbox, name), raw=True)
            running.callback(unsubscribe, self._node, made)
            if name != LIDAR:
                made = subscribe(self._node, CameraInfo, f"{prefix}/camera_info", LATCHED_QOS, self._on_info(name))
                running.callback(unsubscribe, self._node, made)

    def decode(self, sensor: str, message: Any) -> list[Arrival]:
        """See Sources."""
        handle, frame_id, trace = self._decoders[sensor].decode(message)
        frame = self._readers[sensor].view(handle)
        mounted = self._extrinsics.of(sensor, frame_id, handle.stamp_ns)
        if sensor == LIDAR:
            return [Arrival(_cloud(frame, frame_id), mounted, frame, trace)]
        found = self._calibrations.get(sensor)
        if found is None:
            raise CalibrationError(f"camera '{sensor}' has no camera_info yet from its node", "no_camera_info")
        rectified = self._config.cameras[sensor].rectify
        image = CameraFrame(sensor, handle.stamp_ns, frame_id, frame.array, found, rectified, handle.is_keyframe)
        return [Arrival(image, mounted, frame, trace)]

    def stamp_ns(self, message: Any) -> int:
        """See Sources."""
        try:
            return decode_handle(message).handle.stamp_ns
        except InputError:
            return 0

    @property
    def counters(self) -> dict[str, RingCounters]:
        """What happened in the rings, by sensor."""
        return {name: reader.counters for name, reader in self._readers.items()}

    def _on_info(self, name: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            self._calibrations[name] = calibration(message)

        return take


def _into(inbox: Inbox, sensor: str) -> Callable[[Any], None]:
    return lambda message: inbox.put(sensor, message)


def _cloud(frame: RingFrame, frame_id: str) -> PointCloud:
    table = frame.array
    if table.ndim != 2 or table.shape[1] < 4:
        raise InputError(f"ring frame of the LiDAR has shape {list(table.shape)}, expected points x 4", "ring_invalid")
    times = table[:, 4] if table.shape[1] > 4 else None
    return PointCloud(LIDAR, frame.stamp_ns, frame_id, table[:, :3], table[:, 3], None, times)
