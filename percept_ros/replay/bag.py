"""Writes rosbag2 recordings of this package's value types, without ROS.

The path says what is written. ``drive.mcap`` and ``drive.db3`` are single files (MCAP, sqlite3), which
``ros2 bag play``, ``ros2 bag info`` and ``BagReader`` take as they are and ``cmp`` can compare; any other path becomes
a rosbag2 folder (metadata.yaml and one file, MCAP unless told otherwise). Output appears under its name only when
complete: a run that fails leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from percept_ros.errors import RecordingError
from percept_ros.replay import messages
from percept_ros.replay.messages import StampedTransform
from percept_ros.replay.track_array import TrackArray, track_array_message
from percept_ros.replay.typestore import TRACKS_TYPE, typestore
from percept_ros.types import CameraCalibration, CameraFrame, PointCloud

STORAGES = {"mcap": ".mcap", "sqlite3": ".db3"}
"""Storage name -> suffix of its files."""
ROSBAG2_VERSION: Literal[9] = 9


def storage_of(path: Path, storage: str = "") -> str:
    """The storage to write: as told, else by suffix, else MCAP. Raises RecordingError when name and suffix disagree."""
    by_suffix = {suffix: name for name, suffix in STORAGES.items()}.get(path.suffix, "")
    if storage and storage not in STORAGES:
        raise RecordingError(f"bag storage '{storage}' is unknown, expected one of {', '.join(STORAGES)}")
    if storage and by_suffix and storage != by_suffix:
        raise RecordingError(f"bag '{path}' has the suffix of {by_suffix}, but storage {storage} was asked for")
    return storage or by_suffix or "mcap"


class BagWriter:
    """Writes one bag. Use as a context manager; messages carry their stamp as log time unless told otherwise.

    A bag that stands at ``path`` is replaced; anything else there is refused with RecordingError.
    """

    def __init__(self, path: Path | str, *, storage: str = "", compress: bool = False) -> None:
        """compress: zstd, by chunk in MCAP and by message in sqlite3 (folders only, for players need its metadata)."""
        self.path = Path(path)
        self.storage = storage_of(self.path, storage)
        self.counts: dict[str, int] = {}
        self._single = self.path.suffix in STORAGES.values()
        self._compress = compress
        if compress and self._single and self.storage == "sqlite3":
            raise RecordingError(f"bag '{self.path}': a single .db3 cannot be compressed; name a folder, or use .mcap")
        self._connections: dict[tuple[str, str], Any] = {}
        self._writer: Any = None
        self._store = typestore()
        self._types = self._store.types

    @property
    def messages(self) -> int:
        """Number of messages written."""
        return sum(self.counts.values())

    def __enter__(self) -> BagWriter:
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        _refuse_foreign(self.path)
        self._partial.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._partial, ignore_errors=True)
        plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[self.storage]
        # The folder is named as the finished bag, so that the names inside metadata are right and do not vary.
        self._writer = Writer(self._partial / self._inner_name, version=ROSBAG2_VERSION, storage_plugin=plugin)
        if self._compress:
            mode = CompressionMode.STORAGE if self.storage == "mcap" else CompressionMode.MESSAGE
            self._writer.set_compression(mode, CompressionFormat.ZSTD)
        self._writer.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._writer.close()
                self._publish()
            else:
                self._writer.abort()
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)
            self._writer = None

    @property
    def _inner_name(self) -> str:
        return self.path.stem if self._single else self.path.name

    @property
    def _partial(self) -> Path:
        return self.path.parent / f".{self.path.name}.{os.getpid()}.partial"

    def _publish(self) -> None:
        written = self._partial / self._inner_name
        if self.path.is_dir():
            shutil.rmtree(self.path)
        if self._single:
            written = written / f"{self._inner_name}{STORAGES[self.storage]}"
        os.replace(written, self.path)

    def image(self, topic: str, frame: CameraFrame) -> None:
        """Write a sensor_msgs/Image (bgr8)."""
        self.write(topic, "sensor_msgs/msg/Image", messages.image_message(self._types, frame), frame.stamp_ns)

    def compressed_image(self, topic: str, stamp_ns: int, frame_id: str, data: bytes, kind: str = "jpeg") -> None:
        """Write a sensor_msgs/CompressedImage of already encoded bytes; kind: ``jpeg``, ``png`` or ``h264``."""
        message = messages.compressed_message(self._types, stamp_ns, frame_id, data, kind)
        self.write(topic, "sensor_msgs/msg/CompressedImage", message, stamp_ns)

    def jpeg(self, topic: str, frame: CameraFrame, quality: int = 90) -> None:
        """Encode and write a sensor_msgs/CompressedImage; quality: 1 to 100."""
        import cv2

        done, data = cv2.imencode(".jpg", frame.image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise RecordingError(f"image {frame.image.shape} of '{frame.sensor}' cannot be encoded as JPEG")
        self.compressed_image(topic, frame.stamp_ns, frame.frame_id, data.tobytes())

    def camera_info(self, topic: str, stamp_ns: int, frame_id: str, calibration: CameraCalibration) -> None:
        """Write a sensor_msgs/CameraInfo."""
        message = messages.camera_info_message(self._types, stamp_ns, frame_id, calibration)
        self.write(topic, "sensor_msgs/msg/CameraInfo", message, stamp_ns)

    def cloud(self, topic: str, cloud: PointCloud) -> None:
        """Write a sensor_msgs/PointCloud2 with x y z [intensity] [time] [ring]."""
        self.write(topic, "sensor_msgs/msg/PointCloud2", messages.cloud_message(self._types, cloud), cloud.stamp_ns)

    def odometry(
        self,
        topic: str,
        pose: StampedTransform,
        velocity_mps: Sequence[float] = (0.0, 0.0, 0.0),
        yaw_rate_radps: float = 0.0,
    ) -> None:
        """Write a nav_msgs/Odometry; velocity_mps: x, y, z in the child frame."""
        message = messages.odometry_message(self._types, pose, velocity_mps, yaw_rate_radps)
        self.write(topic, "nav_msgs/msg/Odometry", message, pose.stamp_ns)

    def tf(self, transforms: Sequence[StampedTransform]) -> None:
        """Write moving transforms on /tf."""
        message = messages.tf_message(self._types, transforms)
        self.write("/tf", "tf2_msgs/msg/TFMessage", message, transforms[0].stamp_ns)

    def tf_static(self, transforms: Sequence[StampedTransform]) -> None:
        """Write fixed transforms on /tf_static (latched). All of a bag belong in one call: players keep the last."""
        message = messages.tf_message(self._types, transforms)
        self.write("/tf_static", "tf2_msgs/msg/TFMessage", message, transforms[0].stamp_ns)

    def tracks(self, topic: str, array: TrackArray) -> None:
        """Write a percept_ros/ObstacleTrackArray; the log time is its publish stamp."""
        self.write(topic, TRACKS_TYPE, track_array_message(self._types, array), array.publish_ns)

    def write(self, topic: str, msgtype: str, message: Any, log_ns: int) -> None:
        """Write any message of the type store."""
        self.write_raw(topic, msgtype, self._store.serialize_cdr(message, msgtype), log_ns)

    def write_raw(self, topic: str, msgtype: str, data: bytes | memoryview, log_ns: int) -> None:
        """Write a message that is already serialised (CDR). Raises RecordingError for a negative time."""
        if log_ns < 0:
            raise RecordingError(f"message on '{topic}' has the negative time {log_ns} ns: bags start at 0")
        self._writer.write(self._connection(topic, msgtype), log_ns, data)
        self.counts[topic] = self.counts.get(topic, 0) + 1

    def _connection(self, topic: str, msgtype: str) -> Any:
        if (known := self._connections.get((topic, msgtype))) is None:
            qos = [_qos(latched=topic == "/tf_static")]
            known = self._writer.add_connection(topic, msgtype, typestore=self._store, offered_qos_profiles=qos)
            self._connections[topic, msgtype] = known
        return known


def _refuse_foreign(path: Path) -> None:
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise RecordingError(f"'{path}' is a folder that is not a bag: choose another output")
    if path.is_file() and path.suffix not in STORAGES.values():
        raise RecordingError(f"'{path}' is a file that is not a bag: choose another output")


def _qos(*, latched: bool) -> Any:
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    forever = QosTime(9223372036, 854775807)
    durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
    depth = 1 if latched else 10
    reliable = QosReliability.RELIABLE
    return Qos(
        QosHistory.KEEP_LAST, depth, reliable, durability, forever, forever, QosLiveliness.AUTOMATIC, forever, False
    )
