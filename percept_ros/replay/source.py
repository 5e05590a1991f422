"""A bag as a time-ordered stream of decoded sensor data, with calibrations, extrinsics and ego motion kept beside it.

Bad input is refused, counted by reason and said once; the stream goes on.
"""

from __future__ import annotations

import itertools
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from percept_ros.config import Config
from percept_ros.core.geometry import check_rigid
from percept_ros.core.points import CloudCrop, CloudDecoder, deskew
from percept_ros.core.trajectory import PoseHistory
from percept_ros.core.transform_tree import TransformTree
from percept_ros.errors import InputError, TransformError
from percept_ros.replay.bag_reader import BagMessage, BagReader
from percept_ros.replay.camera_source import CameraSource
from percept_ros.replay.discovery import LIDAR, BagTopics
from percept_ros.replay.lidar_odometry import LidarOdometry
from percept_ros.replay.messages import odometry_of, stamp_ns, transforms_of
from percept_ros.types import F64, I64, CameraFrame, PointCloud

Handler = Callable[[BagMessage], None]
JUMP_NS = 1_000_000_000
STATIC_STAMP_NS = 0
SAME_CLOCK_NS = 1_000_000_000
ANCHOR_MESSAGES = 15


@dataclass(frozen=True, slots=True)
class Arrival:
    """One decoded sensor message. log_ns: when it was recorded. decode_ns: wall time spent on it. done: messages read so far."""

    payload: CameraFrame | PointCloud
    log_ns: int
    decode_ns: int
    done: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A sensor message that cannot be used. reason: as it is counted. no_transform: its place on the vehicle is not known."""

    sensor: str
    stamp_ns: int
    log_ns: int
    reason: str
    no_transform: bool


class BagSource:
    """The sensors of one open bag. ``arrivals`` may be run once.

    drops: reason -> refused messages that are not of a sensor (transforms, odometry, calibrations).
    complaints: reason -> text of the first refusal, sensors' too.
    """

    def __init__(self, reader: BagReader, topics: BagTopics, config: Config) -> None:
        self.topics, self.config = topics, config
        self.drops: Counter[str] = Counter()
        self.complaints: dict[str, str] = {}
        self.total = reader.count(topics.all)
        self.seen: Counter[str] = Counter()
        """Sensor name -> messages read, refused ones too."""
        self._reader = reader
        self._tree = TransformTree()
        self._history = PoseHistory(max_extrapolation_ns=int(config.ego_motion.max_age_ms * 1e6))
        self._ego_child = config.frames.base
        self._lidar_odometry = LidarOdometry() if config.ego_motion.source == "kiss_icp" else None
        self._cameras = {
            camera.name: CameraSource(camera.name, rectify=config.cameras[camera.name].rectify)
            for camera in topics.cameras
        }
        self._decoder: tuple[F64, CloudDecoder] | None = None
        self._fixed_extrinsics = _configured_extrinsics(config)
        self._handlers = self._routes()
        self._sensors = {camera.image: camera.name for camera in topics.cameras}
        if topics.lidar:
            self._sensors[topics.lidar] = LIDAR
        self._learn_static()
        self.clock_offset_ns = self._clock_offset_ns()
        """To be added to log times, so that they are of the clock of the stamps."""

    @property
    def points_dropped(self) -> Counter[str]:
        """Reason -> LiDAR points left out (range, vehicle, not finite)."""
        return self._decoder[1].dropped if self._decoder is not None else Counter()

    @property
    def pose_source(self) -> str:
        """``odometry``, ``tf``, ``kiss_icp`` or ``none``: where ego motion comes from in this bag."""
        wanted = self.config.ego_motion.source
        if self._lidar_odometry is not None:
            return "kiss_icp"
        if wanted in ("auto", "odometry") and self.topics.odometry:
            return "odometry"
        if wanted in ("auto", "tf") and self._tree_has_ego():
            return "tf"
        return "none"

    def _tree_has_ego(self) -> bool:
        frames = self.config.frames
        try:
            self._tree.lookup(frames.fixed, frames.base, STATIC_STAMP_NS)
        except TransformError as exc:
            return "tree" not in str(exc)  # connected, only not at that stamp
        return True

    def _routes(self) -> dict[str, Handler]:
        routes: dict[str, Handler] = {}
        for camera in self.topics.cameras:
            if camera.info:
                routes[camera.info] = partial(self._info, camera.name)
        routes.update(dict.fromkeys(self.topics.transforms, self._transforms))
        if self.topics.odometry and self._lidar_odometry is None:
            routes[self.topics.odometry] = self._odometry
        return routes

    def _learn_static(self) -> None:
        """Read what a live node would have latched before the first sensor message: /tf_static and first CameraInfos."""
        static = [topic for topic in self.topics.transforms if topic.endswith("tf_static")]
        waiting = {camera.info: camera.name for camera in self.topics.cameras if camera.info}
        for message in self._reader.messages(static) if static else ():
            self._guarded("tf", self._transforms, message)
        for message in self._reader.messages(list(waiting)) if waiting else ():
            name = waiting.pop(message.topic, None)
            if name is not None:
                self._guarded(name, partial(self._info, name), message)
            if not waiting:
                break

    def _clock_offset_ns(self) -> int:
        """Median of stamp minus log time over the first sensor messages; 0 where both are of one clock."""
        first = itertools.islice(self._reader.raw_messages(list(self._sensors)), ANCHOR_MESSAGES)
        apart = sorted(_header_ns(item.message) - item.log_ns for item in first if len(item.message) >= 12)
        middle = apart[len(apart) // 2] if apart else 0
        return 0 if abs(middle) < SAME_CLOCK_NS else middle

    def arrivals(self) -> Iterator[Arrival | Refusal]:
        """Camera frames and sweeps in the order of the recording, and what had to be refused."""
        for done, message in enumerate(self._reader.messages(self.topics.all), 1):
            if (sensor := self._sensors.get(message.topic)) is None:
                if (handler := self._handlers.get(message.topic)) is not None:
                    self._guarded(message.topic, handler, message)
                continue
            self.seen[sensor] += 1
            yield from self._sensor_message(sensor, message, done)

    def _sensor_message(self, sensor: str, message: BagMessage, done: int) -> Iterator[Arrival | Refusal]:
        started = time.perf_counter_ns()
        try:
            payloads, lost = self._decoded(sensor, message)
        except (InputError, TransformError) as exc:
            reason = exc.reason if isinstance(exc, InputError) else "no_transform"
            self.complaints.setdefault(reason, f"{message.topic}: {exc}")
            at_ns = stamp_ns(message.message.header.stamp)
            yield Refusal(sensor, at_ns, message.log_ns, reason, isinstance(exc, TransformError))
            return
        spent_ns = time.perf_counter_ns() - started
        for at_ns, reason in lost:
            yield Refusal(sensor, at_ns, message.log_ns, reason, False)
        for payload in payloads:
            yield Arrival(payload, message.log_ns, spent_ns, done)

    def _decoded(
        self, sensor: str, message: BagMessage
    ) -> tuple[tuple[CameraFrame | PointCloud, ...], tuple[tuple[int, str], ...]]:
        """Payloads of one message, and (stamp, reason) of what a video stream lost."""
        if sensor == LIDAR:
            return (self._cloud(message),), ()
        output = self._cameras[sensor].decode(message)
        for frame in output.frames:
            self.extrinsic(sensor, frame.frame_id, frame.stamp_ns)  # raises where it is not known
        return output.frames, output.lost

    def _guarded(self, topic: str, read: Handler, message: BagMessage) -> None:
        try:
            read(message)
        except InputError as exc:
            self._drop(exc.reason, f"{topic}: {exc}")
        except TransformError as exc:
            self._drop("no_transform", f"{topic}: {exc}")

    def _drop(self, reason: str, text: str) -> None:
        self.drops[reason] += 1
        self.complaints.setdefault(reason, text)

    def extrinsic(self, sensor: str, frame_id: str, at_ns: int) -> F64:
        """(4, 4) base_SE3_sensor: as configured, else from the recording. Raises TransformError."""
        if (given := self._fixed_extrinsics.get(sensor)) is not None:
            return given
        return self._tree.lookup(self.config.frames.base, frame_id, at_ns)

    def pose_at(self, at_ns: int) -> F64 | None:
        """(4, 4) fixed_SE3_base, or None when the bag does not tell."""
        try:
            if self.pose_source in ("odometry", "kiss_icp"):
                return self._odometry_pose(at_ns)
            if self.pose_source == "tf":
                return self._tree.lookup(self.config.frames.fixed, self.config.frames.base, at_ns)
        except TransformError as exc:
            self._drop("no_ego_pose", str(exc))
        return None

    def _odometry_pose(self, at_ns: int) -> F64:
        pose = self._history.at(at_ns)
        if self._ego_child in ("", self.config.frames.base):
            return pose
        return np.asarray(pose @ self._tree.lookup(self._ego_child, self.config.frames.base, at_ns), np.float64)

    def _poses_at(self, stamps_ns: I64) -> F64:
        if self.pose_source in ("odometry", "kiss_icp") and self._ego_child in ("", self.config.frames.base):
            return self._history.at(stamps_ns)
        poses = [self.pose_at(int(at)) for at in stamps_ns]
        if any(pose is None for pose in poses):
            raise TransformError("no ego pose during the sweep")
        return np.stack([pose for pose in poses if pose is not None])

    def _info(self, name: str, message: BagMessage) -> None:
        self._cameras[name].learn(message.message)

    def _transforms(self, message: BagMessage) -> None:
        for edge in transforms_of(message.message):
            if message.topic.endswith("tf_static"):
                self._tree.set_fixed(edge.parent, edge.child, edge.parent_SE3_child)
            else:
                self._tree.add_moving(edge.parent, edge.child, edge.parent_SE3_child, edge.stamp_ns)

    def _odometry(self, message: BagMessage) -> None:
        pose = odometry_of(message.message)
        self._restarted(pose.stamp_ns)
        self._ego_child = pose.child
        self._history.add(pose.stamp_ns, check_rigid(pose.parent_SE3_child, "odometry pose"))

    def _cloud(self, message: BagMessage) -> PointCloud:
        header = message.message.header
        at_ns, frame_id = stamp_ns(header.stamp), header.frame_id.lstrip("/")
        base_SE3_lidar = self.extrinsic(LIDAR, frame_id, at_ns)
        cloud = self._decoder_for(base_SE3_lidar).decode(message.message, LIDAR, at_ns, frame_id)
        cloud = self._deskewed(cloud, base_SE3_lidar)
        if self._lidar_odometry is not None:
            self._register(cloud, base_SE3_lidar, self._lidar_odometry)
        return cloud

    def _register(self, cloud: PointCloud, base_SE3_lidar: F64, odometry: LidarOdometry) -> None:
        if self._restarted(cloud.stamp_ns):
            odometry.reset()
        self._history.add(cloud.stamp_ns, odometry.register(cloud, base_SE3_lidar))

    def _restarted(self, at_ns: int) -> bool:
        """Whether time went back to before the poses that are known; they are then forgotten."""
        newest = self._history.newest_ns
        if newest is None or newest - at_ns <= JUMP_NS:
            return False
        self._history.clear()
        return True

    def _decoder_for(self, base_SE3_lidar: F64) -> CloudDecoder:
        if self._decoder is None or (self._decoder[0] != base_SE3_lidar).any():
            lidar = self.config.lidar
            crop = CloudCrop(lidar.min_range_m, lidar.max_range_m, tuple(lidar.ego_box_m), base_SE3_lidar)
            self._decoder = base_SE3_lidar, CloudDecoder(crop, lidar.max_points)
        return self._decoder[1]

    def _deskewed(self, cloud: PointCloud, base_SE3_lidar: F64) -> PointCloud:
        if not self.config.lidar.deskew or cloud.time_offset_s is None or self.pose_source == "none":
            return cloud
        try:
            return deskew(cloud, self._poses_at, base_SE3_lidar)
        except TransformError as exc:
            self._drop("not_deskewed", f"sweep used without motion compensation: {exc}")
            return cloud


def _header_ns(raw: bytes) -> int:
    """Stamp of a serialised message that begins with a Header."""
    sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    return int(sec) * 1_000_000_000 + int(nanosec)


def _configured_extrinsics(config: Config) -> dict[str, F64]:
    given = {LIDAR: config.lidar.extrinsic, **{name: c.extrinsic for name, c in config.cameras.items()}}
    return {
        name: check_rigid(np.array(values).reshape(4, 4), f"extrinsic of '{name}'")
        for name, values in given.items()
        if values
    }
