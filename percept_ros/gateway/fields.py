"""The fields of a request body: one list for the parser and for the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from percept_ros.core.images import ENCODINGS
from percept_ros.inference.manifest import DTYPES
from percept_ros.settings import setting

POINT_FIELDS = ("x", "y", "z", "intensity", "ring", "time")
IMAGE_ENCODINGS = ("jpeg", "png", *ENCODINGS)
MODELS = ("plumb_bob", "rational_polynomial", "equidistant")
LATEST_NS = 2**62


@dataclass(frozen=True, slots=True)
class PointsFields:
    """One LiDAR sweep."""

    data: bytes = setting(b"", "points, row by row, each field a little-endian float32")
    fields: tuple[str, ...] = setting(("x", "y", "z"), "what a row holds; x, y, z in metres in the sensor's frame")
    base_SE3_sensor: tuple[float, ...] = setting((), "pose of the sensor in the vehicle: 4 x 4, row major")


@dataclass(frozen=True, slots=True)
class CalibrationFields:
    """Calibration of a camera, as in sensor_msgs/CameraInfo."""

    width_px: int = setting(0, "image width the calibration is for", low=0, high=32768)
    height_px: int = setting(0, "image height the calibration is for", low=0, high=32768)
    K: tuple[float, ...] = setting((), "3 x 3 intrinsic matrix, row major, pixels", low=-1e6, high=1e6)
    D: tuple[float, ...] = setting((), "distortion coefficients; empty = none", low=-1e4, high=1e4)
    model: str = setting("plumb_bob", "distortion model", choices=MODELS)
    R: tuple[float, ...] = setting((), "3 x 3 rectification rotation; empty = identity", low=-2.0, high=2.0)
    P: tuple[float, ...] = setting((), "3 x 4 projection of the rectified image; empty = [K | 0]", low=-1e6, high=1e6)


@dataclass(frozen=True, slots=True)
class ImageFields:
    """One image of one camera."""

    data: bytes = setting(b"", "JPEG or PNG file, or raw pixels")
    encoding: str = setting("jpeg", "what data holds", choices=IMAGE_ENCODINGS)
    width_px: int = setting(0, "of raw pixels", low=0, high=32768)
    height_px: int = setting(0, "of raw pixels", low=0, high=32768)
    step: int = setting(0, "bytes a row of raw pixels; 0 = packed", low=0, high=1 << 24)
    stamp_ns: int = setting(0, "stamp of the image; 0 = stamp_ns of the set", low=0, high=LATEST_NS)
    rectified: bool = setting(False, "lens distortion was removed already")
    calibration: CalibrationFields | None = setting(None, "without it the image cannot be used for boxes")
    base_SE3_sensor: tuple[float, ...] = setting((), "pose of the optical frame in the vehicle: 4 x 4, row major")


@dataclass(frozen=True, slots=True)
class PerceiveFields:
    """Sensor data of one moment."""

    stamp_ns: int = setting(0, "stamp of the sweep (of the images, without one)", low=1, high=LATEST_NS)
    session: str = setting("", "vehicle whose tracks go on; empty = no tracks are kept")
    points: PointsFields | None = setting(None, "LiDAR sweep")
    images: Mapping[str, ImageFields] = setting({}, "images by camera name")
    fixed_SE3_base: tuple[float, ...] = setting((), "pose of the vehicle in a fixed frame: 4 x 4, row major")


@dataclass(frozen=True, slots=True)
class TensorField:
    """One input tensor."""

    data: bytes = setting(b"", "elements, row major, little endian")
    dtype: str = setting("float32", "element type", choices=DTYPES)
    shape: tuple[int, ...] = setting((), "dimensions", low=0, high=1 << 24)


@dataclass(frozen=True, slots=True)
class TensorFields:
    """Raw tensors for one model."""

    model: str = setting("", "name of the model; empty = the first that may be used")
    tensors: Mapping[str, TensorField] = setting({}, "input tensors by name")
