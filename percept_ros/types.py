"""Frozen value types that cross stages.

Conventions, used everywhere:
  * Time is integer nanoseconds since the epoch of the recording or of the ROS clock.
  * Lengths are metres, angles radians in (-pi, pi], speeds metres a second.
  * Frames follow REP-103/105: x forward, y left, z up; camera optical frames are x right, y down, z forward.
  * ``a_SE3_b`` is the 4 x 4 homogeneous transform that takes points of frame ``b`` into frame ``a``.
  * A box is ``[x, y, z, l, w, h, yaw]``: (x, y, z) is the centre of the box, l along its heading, yaw about z.
  * Axis names in shapes: N objects, P points, K paths, T time steps, C classes (``NUM_CLASSES``).

Arrays inside these types are not copied and must not be written to after construction; the producer owns the memory
until it hands the value on. Many objects are held as arrays (one row an object), never as lists of small objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
Bool = npt.NDArray[np.bool_]


class ObjectClass(IntEnum):
    """Object classes, numbered as in Autoware's ObjectClassification."""

    UNKNOWN = 0
    CAR = 1
    TRUCK = 2
    BUS = 3
    TRAILER = 4
    MOTORCYCLE = 5
    BICYCLE = 6
    PEDESTRIAN = 7


NUM_CLASSES = len(ObjectClass)
VEHICLE_CLASSES = (ObjectClass.CAR, ObjectClass.TRUCK, ObjectClass.BUS, ObjectClass.TRAILER)

LIDAR_BIT = 1
"""Bit of the LiDAR in a sensor mask; camera ``i`` of the configured order has bit ``2 << i``."""


def camera_bit(index: int) -> int:
    """Bit of camera ``index`` (0 to 29, in configured order) in a sensor mask."""
    return 2 << index


class TrackState(IntEnum):
    """Life-cycle state of a track."""

    TENTATIVE = 0
    CONFIRMED = 1
    COASTING = 2
    DELETED = 3


class PredictionMethod(IntEnum):
    """What produced a forecast."""

    NONE = 0
    CONSTANT_VELOCITY = 1
    CTRV = 2
    NETWORK = 3
    NETWORK_ROLLOUT = 4


class Mode(IntEnum):
    """Rungs of the degradation ladder, best first (published in the status and in every track array)."""

    FULL = 0
    REDUCED = 1
    LIDAR_ONLY = 2
    CAMERA_ONLY = 3
    FALLBACK_MODEL = 4
    GEOMETRIC = 5
    COASTING = 6
    STALE = 7


class AbsenceReason(IntEnum):
    """Why a sensor is not in a sensor set. FROZEN: new stamps, old content. BLANK: black or white. EMPTIED: few points left.

    NOISY: content as rough as noise.
    """

    NEVER_SEEN = 0
    LATE = 1
    OUT_OF_TOLERANCE = 2
    DROPPED = 3
    INVALID = 4
    NO_TRANSFORM = 5
    FROZEN = 6
    BLANK = 7
    EMPTIED = 8
    NOISY = 9


@dataclass(frozen=True, slots=True)
class CameraCalibration:
    """Intrinsics of one camera.

    width_px, height_px: image size the calibration is for.
    model: ``plumb_bob``, ``rational_polynomial`` or ``equidistant`` (sensor_msgs/CameraInfo names).
    K: (3, 3) intrinsic matrix, pixels. D: (k,) distortion coefficients of ``model`` (empty = none).
    R: (3, 3) rectification rotation. P: (3, 4) projection of the rectified camera, pixels.
    """

    width_px: int
    height_px: int
    K: F64
    D: F64
    model: str = "plumb_bob"
    R: F64 = field(default_factory=lambda: np.eye(3))
    P: F64 | None = None

    @property
    def projection(self) -> F64:
        """(3, 4) projection of the rectified image: ``P`` where given, else ``[K | 0]``."""
        if self.P is not None:
            return self.P
        return np.hstack([self.K, np.zeros((3, 1))])


@dataclass(frozen=True, slots=True)
class CameraFrame:
    """One image.

    image: (height, width, 3) uint8, BGR. rectified: whether lens distortion was removed (then use
    ``calibration.projection``; else ``K`` with ``D``).
    """

    sensor: str
    stamp_ns: int
    frame_id: str
    image: U8
    calibration: CameraCalibration | None = None
    rectified: bool = True
    is_keyframe: bool = True


@dataclass(frozen=True, slots=True)
class PointCloud:
    """One LiDAR sweep, finite points only.

    points: (P, 3) float32 x, y, z in the sensor's frame, metres (may be a strided view).
    intensity: (P,) float32 in [0, 1], or None. ring: (P,) uint16 beam number, or None.
    time_offset_s: (P,) float32 time of each point after ``stamp_ns`` (may be negative), or None.
    """

    sensor: str
    stamp_ns: int
    frame_id: str
    points: F32
    intensity: F32 | None = None
    ring: npt.NDArray[np.uint16] | None = None
    time_offset_s: F32 | None = None


@dataclass(frozen=True, slots=True)
class CameraView:
    """How one camera sees the base frame.

    bit: its bit in sensor masks. projection: (3, 4) float64, pixels, of the rectified image.
    base_SE3_camera: (4, 4) float64 pose of the optical frame in the base frame.
    """

    name: str
    bit: int
    projection: F64
    base_SE3_camera: F64
    width_px: int
    height_px: int


@dataclass(frozen=True, slots=True)
class SensorSet:
    """What the synchroniser releases: the pivot sweep and the camera frames that belong to it.

    stamp_ns: stamp of the pivot (LiDAR; a camera when the LiDAR is silent). cloud: None when absent.
    cameras: sensor name -> frame. absent: sensor name -> reason. camera_order: all configured cameras, fixing mask bits.
    base_SE3: sensor name -> (4, 4) float64 extrinsic ``base_SE3_sensor`` (cameras: of the optical frame).
    fixed_SE3_base: (4, 4) float64 ego pose in the fixed frame at ``stamp_ns``, or None when no ego motion is known.
    trace: packed trace context that goes along to worker processes (observe/trace.py), b"" = not traced.
    """

    stamp_ns: int
    cloud: PointCloud | None
    cameras: Mapping[str, CameraFrame]
    absent: Mapping[str, AbsenceReason]
    camera_order: tuple[str, ...]
    base_SE3: Mapping[str, F64]
    fixed_SE3_base: F64 | None = None
    trace: bytes = b""

    @property
    def complete(self) -> bool:
        """Whether every configured sensor is in the set."""
        return not self.absent

    @property
    def views(self) -> dict[str, CameraView]:
        """Camera name -> view, for the cameras of the set that are calibrated."""
        views = {}
        for name, frame in self.cameras.items():
            if (calibration := frame.calibration) is not None and name in self.base_SE3:
                bit = camera_bit(self.camera_order.index(name))
                size = (calibration.width_px, calibration.height_px)
                views[name] = CameraView(name, bit, calibration.projection, self.base_SE3[name], *size)
        return views

    @property
    def stamps_ns(self) -> tuple[int, ...]:
        """Stamps of all used sensors, ascending (never empty for a released set)."""
        stamps = [frame.stamp_ns for frame in self.cameras.values()]
        if self.cloud is not None:
            stamps.append(self.cloud.stamp_ns)
        return tuple(sorted(stamps))


@dataclass(frozen=True, slots=True)
class Detections2D:
    """Boxes in one rectified image.

    boxes_px: (N, 4) float64 x1, y1, x2, y2. scores: (N,) float64 in [0, 1]. class_ids: (N,) int64 ``ObjectClass``.
    """

    camera: str
    stamp_ns: int
    boxes_px: F64
    scores: F64
    class_ids: I64


@dataclass(frozen=True, slots=True)
class Detections:
    """3D boxes of one sensor set in ``frame_id`` (the vehicle's base frame).

    boxes: (N, 7) float64. scores: (N,) float64 in [0, 1]. class_probabilities: (N, C) float64, rows sum to 1.
    velocity_mps: (N, 2) float64 over ground in ``frame_id`` axes, NaN where not estimated. sensors: (N,) uint32 mask.
    """

    stamp_ns: int
    frame_id: str
    boxes: F64
    scores: F64
    class_probabilities: F64
    velocity_mps: F64
    sensors: U32

    def __len__(self) -> int:
        return int(self.boxes.shape[0])

    @property
    def class_ids(self) -> I64:
        """(N,) most probable class of each box."""
        if not len(self):
            return np.zeros(0, np.int64)
        ids: I64 = np.argmax(self.class_probabilities, axis=1).astype(np.int64)
        return ids

    @staticmethod
    def empty(stamp_ns: int, frame_id: str) -> Detections:
        """No detections."""
        return Detections(
            stamp_ns,
            frame_id,
            np.zeros((0, 7)),
            np.zeros(0),
            np.zeros((0, NUM_CLASSES)),
            np.zeros((0, 2)),
            np.zeros(0, np.uint32),
        )


@dataclass(frozen=True, slots=True)
class Tracks:
    """All published tracks at ``stamp_ns``, in ``frame_id`` (the fixed frame, or base when no ego motion is known).

    id: (N, 16) uint8 UUID. state: (N,) uint8 ``TrackState``. class_probabilities: (N, C) float64, rows sum to 1.
    existence: (N,) float64 in [0, 1]. boxes: (N, 7) float64. velocity_mps, acceleration_mps2: (N, 2) float64 x, y.
    yaw_rate_radps: (N,) float64. pose_covariance: (N, 6, 6) over x, y, z, roll, pitch, yaw;
    twist_covariance: (N, 6, 6) over vx, vy, vz, wx, wy, wz; both symmetric positive definite.
    age_ns, since_measurement_ns: (N,) int64. sensors: (N,) uint32 mask of the last measurement. stationary: (N,) bool.
    """

    stamp_ns: int
    frame_id: str
    id: U8
    state: U8
    class_probabilities: F64
    existence: F64
    boxes: F64
    velocity_mps: F64
    acceleration_mps2: F64
    yaw_rate_radps: F64
    pose_covariance: F64
    twist_covariance: F64
    age_ns: I64
    since_measurement_ns: I64
    sensors: U32
    stationary: Bool

    def __len__(self) -> int:
        return int(self.boxes.shape[0])

    @property
    def class_ids(self) -> I64:
        """(N,) most probable class of each track."""
        if not len(self):
            return np.zeros(0, np.int64)
        ids: I64 = np.argmax(self.class_probabilities, axis=1).astype(np.int64)
        return ids

    @staticmethod
    def empty(stamp_ns: int, frame_id: str) -> Tracks:
        """No tracks."""
        return Tracks(
            stamp_ns,
            frame_id,
            np.zeros((0, 16), np.uint8),
            np.zeros(0, np.uint8),
            np.zeros((0, NUM_CLASSES)),
            np.zeros(0),
            np.zeros((0, 7)),
            np.zeros((0, 2)),
            np.zeros((0, 2)),
            np.zeros(0),
            np.zeros((0, 6, 6)),
            np.zeros((0, 6, 6)),
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros(0, np.uint32),
            np.zeros(0, np.bool_),
        )


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Predicted paths, one row a track of the ``Tracks`` they were made for (same order, same frame).

    step_s: time between path points. paths: (N, K, T, 3) float64 x, y, yaw at step_s, 2 step_s, ..., T step_s after the
    track's stamp. confidence: (N, K) float64, rows sum to 1. sigma_m: (N, K, T) float64 one-sigma position error an axis.
    steps: (N,) int64 number of valid path points of each row (classes differ in horizon). method: (N,) uint8 ``PredictionMethod``.
    """

    step_s: float
    paths: F64
    confidence: F64
    sigma_m: F64
    steps: I64
    method: U8

    @staticmethod
    def empty(step_s: float) -> Forecasts:
        """No forecasts."""
        return Forecasts(
            step_s,
            np.zeros((0, 1, 0, 3)),
            np.zeros((0, 1)),
            np.zeros((0, 1, 0)),
            np.zeros(0, np.int64),
            np.zeros(0, np.uint8),
        )


class WorkerCall(NamedTuple):
    """One call of a worker process, on the monotonic clock of this machine.

    began_ns, ended_ns: in the worker; 0 when it never answered. pool_used_bytes, pool_bytes: its tensor pool.
    error: class of what went wrong, "" = nothing.
    """

    model: str
    pid: int
    sent_ns: int
    began_ns: int
    ended_ns: int
    received_ns: int
    pool_used_bytes: int = 0
    pool_bytes: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class FrameResult:
    """What one pass down the corridor produced.

    stage_ns: stage name -> duration. model: id of the model that detected; artefact_sha256: hash of what ran ("" = no artefact).
    group: experiment group ("" = none). shed: stages that were cut to keep the deadline. cause: why ``mode`` was entered.
    """

    sensors: SensorSet
    detections: Detections
    detections_2d: Mapping[str, Detections2D]
    tracks: Tracks
    forecasts: Forecasts
    mode: Mode
    stage_ns: Mapping[str, int]
    model: str = ""
    artefact_sha256: str = ""
    group: str = ""
    shed: tuple[str, ...] = ()
    cause: str = ""
