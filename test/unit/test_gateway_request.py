"""Bodies of requests: what is right is read, whatever else is refused with a reason."""

from __future__ import annotations

import asyncio
import json
import zlib
from dataclasses import replace
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
from small_scene import BASE_SE3_CAMERA, BASE_SE3_LIDAR, sensors

from percept_ros.config import Config, load_config
from percept_ros.errors import InputError
from percept_ros.gateway.drive import body_of, request_of
from percept_ros.gateway.request import read_tensors, typed, unpack
from percept_ros.gateway.sensors import ReadSet, SensorReader

MSGPACK = "application/msgpack"
STAMP_NS = 10**18
POINTS = np.array([[5.0, 1.0, -1.0], [6.0, 0.0, -1.5], [7.0, -1.0, 0.0]], np.float32)
POSE = BASE_SE3_LIDAR.ravel().tolist()


def read(tree: dict[str, Any], config: Config | None = None) -> ReadSet:
    fields = typed(tree).sensors
    assert fields is not None
    return SensorReader(config or Config()).read(fields)


def cloud(**changes: Any) -> dict[str, Any]:
    points = {"data": POINTS.tobytes(), "base_SE3_sensor": POSE, **changes}
    return {"stamp_ns": STAMP_NS, "points": points}


def picture(**changes: Any) -> dict[str, Any]:
    image = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    fields = {"data": cv2.imencode(".png", image)[1].tobytes(), "encoding": "png", **changes}
    return {"stamp_ns": STAMP_NS, "images": {"front": fields}}


def test_a_sensor_set_survives_the_way_there() -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    sent = sensors(POINTS, image)
    sent = replace(sent, stamp_ns=STAMP_NS, fixed_SE3_base=np.eye(4))
    sent = replace(sent, cameras={k: replace(f, stamp_ns=STAMP_NS - 5) for k, f in sent.cameras.items()})
    unpacked = asyncio.run(unpack(MSGPACK, body_of(sent, "car")))
    assert unpacked.sensors is not None
    assert unpacked.sensors.session == "car"
    got = SensorReader(Config()).read(unpacked.sensors)
    assert got.sensors.cloud is not None
    np.testing.assert_array_equal(got.sensors.cloud.points, POINTS)
    (slot,) = got.names
    assert got.names[slot] == "front"
    frame = got.sensors.cameras[slot]
    np.testing.assert_array_equal(frame.image, image)
    assert frame.stamp_ns == STAMP_NS - 5
    np.testing.assert_allclose(got.sensors.views[slot].projection, sent.views["front"].projection)
    np.testing.assert_allclose(got.sensors.base_SE3[slot], BASE_SE3_CAMERA)
    np.testing.assert_allclose(got.sensors.fixed_SE3_base, np.eye(4))
    assert got.sensors.complete


def test_multipart_says_the_same() -> None:
    meta = {"stamp_ns": STAMP_NS, "points": {"base_SE3_sensor": POSE}, "images": {"front": {"encoding": "png"}}}
    tree = picture()
    parts = {
        "meta": json.dumps(meta).encode(),
        "points": POINTS.tobytes(),
        "images.front": tree["images"]["front"]["data"],
    }
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n\r\n'.encode() + data + b"\r\n"
        for name, data in parts.items()
    )
    unpacked = asyncio.run(unpack("multipart/form-data; boundary=b", body + b"--b--\r\n"))
    assert unpacked.sensors == typed({**cloud(), **tree}).sensors


def test_points_that_are_no_points_are_dropped_and_counted() -> None:
    bad = np.vstack([POINTS, [[np.nan, 0, 0], [np.inf, 0, 0], [0.1, 0, 0], [3e38, 3e38, 0]]]).astype(np.float32)
    got = read(cloud(data=bad.tobytes()))
    assert got.sensors.cloud is not None
    np.testing.assert_array_equal(got.sensors.cloud.points, POINTS)
    assert got.dropped["not_finite"] + got.dropped["out_of_range"] == 4
    assert got.dropped["not_finite"] >= 2


def test_configured_cameras_that_are_missing_are_absent() -> None:
    config = load_config(None, {"cameras": {"front": {}, "rear": {}}})
    got = read({**cloud(), **picture()}, config)
    assert set(got.sensors.cameras) == {"front"}
    assert list(got.sensors.absent) == ["rear"]
    with pytest.raises(InputError, match="'left' is not configured"):
        read({"stamp_ns": STAMP_NS, "images": {"left": picture()["images"]["front"]}}, config)


def bomb() -> bytes:
    """A PNG of a few hundred bytes that would unpack to 2.7 GB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = (30000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100000))) + chunk(b"IEND", b"")
    )


NAN, HUGE = float("nan"), 1e300
K9 = [10.0, 0, 16, 0, 10, 12, 0, 0, 1]
SIZE = {"width_px": 32, "height_px": 24}
HOSTILE = {
    "nothing": ({"stamp_ns": STAMP_NS}, "empty"),
    "no stamp": ({"points": cloud()["points"]}, "no_stamp"),
    "stamp below zero": ({**cloud(), "stamp_ns": -1}, "field"),
    "stamp beyond time": ({**cloud(), "stamp_ns": 2**63}, "field"),
    "unknown key": ({**cloud(), "pionts": {}}, "field"),
    "bytes for a number": ({**cloud(), "stamp_ns": b"1"}, "field"),
    "points cut": (cloud(data=POINTS.tobytes()[:-1]), "truncated"),
    "points without z": (cloud(fields=["x", "y"]), "bad_fields"),
    "points named twice": (cloud(fields=["x", "y", "z", "x"]), "bad_fields"),
    "no extrinsic": (cloud(base_SE3_sensor=[]), "bad_extrinsic"),
    "extrinsic of NaN": (cloud(base_SE3_sensor=[NAN] * 16), "field"),
    "extrinsic that mirrors": (cloud(base_SE3_sensor=np.diag([1.0, 1, -1, 1]).ravel().tolist()), "bad_extrinsic"),
    "extrinsic light years away": (
        cloud(base_SE3_sensor=[1, 0, 0, HUGE, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1.0]),
        "bad_extrinsic",
    ),
    "extrinsic that overflows": (cloud(base_SE3_sensor=[HUGE] * 16), "bad_extrinsic"),
    "ego pose of infinity": ({**cloud(), "fixed_SE3_base": [float("inf")] * 16}, "bad_extrinsic"),
    "bomb": (picture(data=bomb()), "too_large"),
    "cut png": (picture(data=picture()["images"]["front"]["data"][:-20]), "truncated"),
    "jpeg that is png": (picture(encoding="jpeg"), "format_mismatch"),
    "empty image": (picture(data=b""), "format_mismatch"),
    "raw pixels that are missing": (picture(encoding="bgr8", width_px=4000, height_px=3000, data=b"123"), "truncated"),
    "raw pixels without end": (picture(encoding="bgr8", width_px=32768, height_px=32768), "too_large"),
    "unknown encoding": (picture(encoding="webp"), "field"),
    "camera name": ({"stamp_ns": STAMP_NS, "images": {"front door": picture()["images"]["front"]}}, "camera_name"),
    "calibration of NaN": (picture(calibration={**SIZE, "K": [NAN] * 9}), "field"),
    "calibration of zeros": (picture(calibration={**SIZE, "K": [0.0] * 9}), "uncalibrated"),
    "calibration of another size": (picture(calibration={"width_px": 9, "height_px": 9, "K": K9}), "size_mismatch"),
    "calibration cut": (picture(calibration={**SIZE, "K": K9[:8]}), "bad_intrinsics"),
    "image of another day": (picture(stamp_ns=5), "out_of_tolerance"),
}


@pytest.mark.parametrize(("tree", "reason"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_fields_are_refused_with_a_reason(tree: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tree)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 600


def nested(depth: int) -> Any:
    tree: Any = 1
    for _ in range(depth):
        tree = [tree]
    return tree


BODIES = {
    "no msgpack": (MSGPACK, b"\xc1", "syntax"),
    "nothing": (MSGPACK, b"", "syntax"),
    "cut": (MSGPACK, msgpack.packb(cloud())[:-3], "syntax"),
    "more behind": (MSGPACK, msgpack.packb(cloud()) + b"\x00", "syntax"),
    "a list": (MSGPACK, msgpack.packb([1, 2]), "shape"),
    "deep": (MSGPACK, msgpack.packb({"stamp_ns": nested(500)}), "shape"),
    "deeper than the stack": (MSGPACK, b"\x91" * 100_000, "syntax"),
    "many": (MSGPACK, msgpack.packb({"images": [0] * 1_000_000}), "shape"),
    "array that claims to be huge": (MSGPACK, b"\xdd\xff\xff\xff\xff", "syntax"),
    "keys that are numbers": (MSGPACK, msgpack.packb({1: 2}), "syntax"),
    "text that is no text": (MSGPACK, b"\x81\xa1\xff\x01", "syntax"),
    "extension type": (MSGPACK, msgpack.packb({"stamp_ns": msgpack.ExtType(5, b"12345")}), "syntax"),
    "another media type": ("text/plain", b"hello", "media_type"),
    "form without boundary": ("multipart/form-data", b"hello", "syntax"),
    "form that is none": ("multipart/form-data; boundary=b", b"hello", "syntax"),
}


@pytest.mark.parametrize(("kind", "body", "reason"), BODIES.values(), ids=BODIES.keys())
def test_hostile_bodies_are_refused_with_a_reason(kind: str, body: bytes, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        asyncio.run(unpack(kind, body))
    assert caught.value.reason == reason


def test_tensors_must_fill_their_shape_and_be_finite() -> None:
    right = {"data": np.arange(6, dtype="<f4").tobytes(), "shape": [2, 3]}
    fields = typed({"tensors": {"x": right}}).tensors
    assert fields is not None
    np.testing.assert_array_equal(read_tensors(fields)["x"], np.arange(6.0).reshape(2, 3))
    wrongs = [
        {**right, "shape": [2, 2**20, 2**20]},
        {**right, "data": np.full(6, np.nan, "<f4").tobytes()},
        {"data": b"", "shape": [0, 2**24, 2**24, 2**24]},
        {"data": b"1234", "shape": [1] * 65},
    ]
    for wrong in wrongs:
        fields = typed({"tensors": {"x": wrong}}).tensors
        assert fields is not None
        with pytest.raises(InputError):
            read_tensors(fields)


def test_images_may_be_left_out() -> None:
    sent = replace(sensors(POINTS, np.zeros((4, 4, 3), np.uint8)), stamp_ns=STAMP_NS)
    assert "images" not in request_of(sent, "", images=False)
