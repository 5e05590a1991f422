"""Whatever comes in as an image, a cloud or a video unit: a result, or an InputError with a reason; never anything else."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from percept_ros.core.cloud_layout import CloudField, RawCloud
from percept_ros.core.compressed import decode_compressed
from percept_ros.core.h264 import H264Decoder
from percept_ros.core.h264_units import inspect_unit
from percept_ros.core.images import ENCODINGS, RawImage, decode_image
from percept_ros.core.points import CloudCrop, CloudDecoder
from percept_ros.errors import InputError

small = st.integers(-2, 40)
sizes = st.one_of(small, st.integers(-(1 << 70), 1 << 70), st.sampled_from([1 << 31, 1 << 32, (1 << 64) - 1]))
bytes_like = st.one_of(
    st.binary(max_size=2000), st.binary(max_size=50).map(bytearray), st.none(), st.just([1, 2]), st.just("text")
)
fields = st.builds(
    CloudField,
    st.sampled_from(["x", "y", "z", "X", "intensity", "i", "ring", "t", "time", "timestamp", "", "rgb"]),
    st.one_of(st.sampled_from([0, 4, 8, 12, 16, 20]), sizes),
    st.one_of(st.sampled_from([7, 7, 8, 2, 4, 6]), sizes),
    sizes,
)
xyz = [CloudField("x", 0, 7), CloudField("y", 4, 7), CloudField("z", 8, 7)]
clouds = st.builds(
    RawCloud,
    sizes,
    sizes,
    st.one_of(st.lists(fields, max_size=8), st.lists(fields, max_size=4).map(lambda more: [*xyz, *more]), st.none()),
    st.booleans(),
    sizes,
    sizes,
    bytes_like,
)
images = st.builds(
    RawImage,
    sizes,
    sizes,
    st.one_of(st.sampled_from(sorted(ENCODINGS)), st.text(max_size=9), st.none()),
    sizes,
    sizes,
    bytes_like,
)


def quietly(call: Any) -> Any:
    refused: InputError | None = None
    try:
        return call()
    except InputError as exc:
        refused = exc
    assert refused.reason != "invalid"
    assert len(str(refused)) > 10
    return None


@given(clouds, st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_cloud(message: RawCloud, cropped: bool) -> None:
    crop = CloudCrop(0.5, 50.0, (-1, 1, -1, 1), np.eye(4)) if cropped else None
    cloud = quietly(lambda: CloudDecoder(crop, 10_000).decode(message, "lidar", 10**18, "f"))
    if cloud is not None:
        count = message.height * message.width
        assert len(cloud.points) <= count
        assert np.isfinite(cloud.points).all()
        for part in (cloud.intensity, cloud.ring, cloud.time_offset_s):
            assert part is None or len(part) == len(cloud.points)
        assert cloud.intensity is None or ((cloud.intensity >= 0) & (cloud.intensity <= 1)).all()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_clouds_that_are_nearly_right(data: st.DataObject) -> None:
    height, width, step = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 30)), data.draw(st.integers(12, 40))
    extra = data.draw(
        st.lists(
            st.builds(
                CloudField, st.sampled_from(["intensity", "ring", "time"]), st.integers(12, 38), st.integers(1, 8)
            ),
            max_size=3,
        )
    )
    row_step = width * step + data.draw(st.integers(-1, 5))
    content = data.draw(st.binary(min_size=height * row_step, max_size=height * row_step)) if row_step > 0 else b""
    message = RawCloud(height, width, [*xyz, *extra], data.draw(st.booleans()), step, row_step, content)
    cloud = quietly(lambda: CloudDecoder().decode(message, "lidar", 10**18, "f"))
    assert cloud is None or np.isfinite(cloud.points).all()


@given(images)
@settings(max_examples=300, deadline=None)
def test_any_image(message: RawImage) -> None:
    image = quietly(lambda: decode_image(message))
    assert image is None or image.shape == (message.height, message.width, 3)


@given(
    st.sampled_from(sorted(ENCODINGS)),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(-2, 9),
    st.integers(-3, 3),
    st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_images_that_are_nearly_right(encoding: str, height: int, width: int, pad: int, more: int, big: bool) -> None:
    spec = ENCODINGS[encoding]
    step = width * spec.channels * spec.depth + pad
    size = max(0, (step * height * 3 // 2 if spec.planes == 2 else step * height) + more)
    message = RawImage(height, width, encoding, big, step, bytes(size))
    image = quietly(lambda: decode_image(message))
    assert image is None or (image.shape == (height, width, 3) and image.dtype == np.uint8)


@given(
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(0, 7),
    st.sampled_from(["bgr8", "rgb8", "bgra8", "rgba8", "bgr16", "rgb16"]),
    st.booleans(),
    st.data(),
)
@settings(max_examples=100, deadline=None)
def test_round_trip_of_colour_encodings(
    height: int, width: int, pad: int, encoding: str, big: bool, data: st.DataObject
) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    spec = ENCODINGS[encoding]
    stored = np.full((height, width, spec.channels), 255, np.uint16)
    stored[:, :, :3] = image[:, :, ::-1] if encoding.startswith("rgb") else image
    values = (stored * 256).astype(">u2" if big else "<u2") if spec.depth == 2 else stored.astype(np.uint8)
    rows = np.pad(values.view(np.uint8).reshape(height, -1), ((0, 0), (0, pad)))
    message = RawImage(height, width, encoding, big, rows.shape[1], rows.tobytes())
    np.testing.assert_array_equal(decode_image(message), image)


starts = st.sampled_from(
    [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08"]
)
ends = st.sampled_from([b"", b"\xff\xd9", b"IEND\xaeB`\x82"])


@given(
    starts, st.binary(max_size=200), ends, st.sampled_from(["jpeg", "png", "bgr8; jpeg compressed bgr8", "", "h264"])
)
@settings(max_examples=300, deadline=None)
def test_any_compressed_image(start: bytes, middle: bytes, end: bytes, image_format: str) -> None:
    image = quietly(lambda: decode_compressed(start + middle + end, image_format, max_pixels=10_000))
    assert image is None or image.ndim == 3


units = st.lists(
    st.tuples(
        st.sampled_from([b"\0\0\1\x67", b"\0\0\0\1\x65", b"\0\0\1\x41", b"\0\0\1\x06", b""]), st.binary(max_size=60)
    ),
    max_size=4,
)


@functools.cache
def decoder() -> H264Decoder:
    return H264Decoder()


@given(units.map(lambda parts: b"".join(a + b for a, b in parts)), st.integers(-(10**19), 10**19))
@settings(max_examples=200, deadline=None)
def test_any_video_unit(unit: bytes, stamp_ns: int) -> None:
    quietly(lambda: inspect_unit(unit, None))
    result = decoder().decode(unit, stamp_ns)
    assert len(result.images) + len(result.dropped) <= 200
