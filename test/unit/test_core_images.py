"""Every image encoding against a reference pixel by pixel, and the refusals."""

from __future__ import annotations

import dataclasses
import struct
import zlib

import cv2
import numpy as np
import pytest

from percept_ros.core.compressed import decode_compressed, format_of
from percept_ros.core.images import ENCODINGS, RawImage, decode_image
from percept_ros.errors import ImageError

HEIGHT, WIDTH = 6, 8


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def padded(rows: np.ndarray, pad: int) -> tuple[bytes, int]:
    """Bytes and step of an array whose first axis is rows, with ``pad`` bytes after each."""
    flat = np.ascontiguousarray(rows).view(np.uint8).reshape(rows.shape[0], -1)
    return np.pad(flat, ((0, 0), (0, pad)), constant_values=99).tobytes(), flat.shape[1] + pad


def message(rows: np.ndarray, encoding: str, pad: int = 0, big: bool = False) -> RawImage:
    data, step = padded(rows, pad)
    return RawImage(HEIGHT, WIDTH, encoding, big, step, data)


PACKED = {"bgr": [0, 1, 2], "rgb": [2, 1, 0], "bgra": [0, 1, 2, 0], "rgba": [2, 1, 0, 0], "mono": [1]}


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("pad", [0, 5])
def test_packed(name: str, bits: int, big: bool, pad: int) -> None:
    stored = picture()[:, :, PACKED[name]]
    rows = stored if bits == 8 else (stored.astype(np.uint16) * 256 + 77).astype(">u2" if big else "<u2")
    image = decode_image(message(rows, f"{name}{bits}", pad, big))
    expected = picture() if name != "mono" else picture()[:, :, [1, 1, 1]]
    np.testing.assert_array_equal(image, expected)


def test_bgr8_is_a_view_and_out_is_a_copy() -> None:
    given = message(picture(), "bgr8", pad=3)
    assert np.shares_memory(decode_image(given), np.frombuffer(given.data, np.uint8))
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert decode_image(given, out) is out
    np.testing.assert_array_equal(out, picture())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_writes_into_the_given_buffer(encoding: str) -> None:
    spec = ENCODINGS[encoding]
    rows = HEIGHT * 3 // 2 if spec.planes == 2 else HEIGHT
    step = WIDTH * spec.channels * spec.depth + 2
    data = np.random.default_rng(1).integers(0, 256, rows * step).astype(np.uint8)
    given = RawImage(HEIGHT, WIDTH, encoding, 0, step, data)
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert decode_image(given, out) is out
    np.testing.assert_array_equal(out, decode_image(given))
    strided = np.zeros((HEIGHT, WIDTH + 4, 3), np.uint8)[:, :WIDTH]
    np.testing.assert_array_equal(decode_image(given, strided), out)


def yuv_to_bgr(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """ITU-R BT.601, video range."""
    luma, cb, cr = 1.164 * (y.astype(float) - 16), u.astype(float) - 128, v.astype(float) - 128
    bgr = np.stack([luma + 2.018 * cb, luma - 0.391 * cb - 0.813 * cr, luma + 1.596 * cr], axis=-1)
    return np.clip(np.round(bgr), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("encoding", "order"), [("uyvy", "UYVY"), ("yuv422", "UYVY"), ("yuyv", "YUYV"), ("yuv422_yuy2", "YUYV")]
)
@pytest.mark.parametrize("pad", [0, 6])
def test_packed_yuv(encoding: str, order: str, pad: int) -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(16, 236, (HEIGHT, WIDTH)).astype(np.uint8)
    u, v = rng.integers(100, 156, (2, HEIGHT, WIDTH // 2)).astype(np.uint8)
    parts = {"U": [u], "V": [v], "Y": [y[:, 0::2], y[:, 1::2]]}
    rows = np.stack([parts[c].pop(0) for c in order], axis=-1).reshape(HEIGHT, -1)
    image = decode_image(message(rows, encoding, pad))
    expected = yuv_to_bgr(y, u.repeat(2, axis=1), v.repeat(2, axis=1))
    np.testing.assert_allclose(image.astype(int), expected.astype(int), atol=2)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
@pytest.mark.parametrize("pad", [0, 6])
def test_two_planes(encoding: str, pad: int) -> None:
    rng = np.random.default_rng(3)
    y = rng.integers(16, 236, (HEIGHT, WIDTH)).astype(np.uint8)
    u, v = rng.integers(100, 156, (2, HEIGHT // 2, WIDTH // 2)).astype(np.uint8)
    chroma = np.stack([u, v] if encoding == "nv12" else [v, u], axis=-1).reshape(HEIGHT // 2, WIDTH)
    image = decode_image(message(np.vstack([y, chroma]), encoding, pad))
    spread = [c.repeat(2, axis=0).repeat(2, axis=1) for c in (u, v)]
    np.testing.assert_allclose(image.astype(int), yuv_to_bgr(y, *spread).astype(int), atol=2)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(("bits", "big"), [(8, False), (16, False), (16, True)])
def test_bayer_of_a_plain_colour(pattern: str, bits: int, big: bool) -> None:
    colour = {"b": 200, "g": 120, "r": 40}
    tile = np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2)
    rows = np.tile(tile, (HEIGHT // 2, WIDTH // 2))
    if bits == 16:
        rows = (rows.astype(np.uint16) * 256).astype(">u2" if big else "<u2")
    image = decode_image(message(rows, f"bayer_{pattern}{bits}", 2, big))
    np.testing.assert_array_equal(
        image[2:-2, 2:-2], np.broadcast_to(np.uint8([200, 120, 40]), (HEIGHT - 4, WIDTH - 4, 3))
    )


BAD = {
    "encoding": {"encoding": "bgr9"},
    "zero_size": {"height": 0},
    "bad_size": {"width": -3},
    "step": {"step": WIDTH * 3 - 1},
    "truncated": {"data": b"\0" * (HEIGHT * WIDTH * 3 - 1)},
    "too_long": {"data": b"\0" * ((HEIGHT + 1) * WIDTH * 3)},
    "bad_buffer": {"data": None},
}


@pytest.mark.parametrize("reason", BAD)
def test_wrong_images_are_refused(reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(dataclasses.replace(message(picture(), "bgr8"), **BAD[reason]))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "change", [{"width": 7, "encoding": "uyvy"}, {"height": 5, "encoding": "nv12"}, {"width": 2.5}, {"height": 1 << 20}]
)
def test_sizes_that_cannot_be(change: dict[str, object]) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image(dataclasses.replace(message(picture(), "bgr8"), **change))  # type: ignore[arg-type]
    assert caught.value.reason == "bad_size"


def test_wrong_output_buffer() -> None:
    with pytest.raises(ImageError, match="size changed"):
        decode_image(message(picture(), "bgr8"), np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))


def encoded(kind: str, image: np.ndarray | None = None) -> bytes:
    smooth = cv2.resize(picture(), (64, 48), interpolation=cv2.INTER_CUBIC) if image is None else image
    done, data = cv2.imencode(f".{kind}", smooth)
    assert done
    return data.tobytes()


@pytest.mark.parametrize(
    ("kind", "text"), [("jpg", "jpeg"), ("jpg", "rgb8; jpeg compressed bgr8"), ("png", "bgr8; png compressed bgr8")]
)
@pytest.mark.parametrize("with_out", [False, True])
def test_compressed(kind: str, text: str, with_out: bool) -> None:
    data = encoded(kind)
    out = np.zeros((48, 64, 3), np.uint8) if with_out else None
    image = decode_compressed(data, text, out)
    np.testing.assert_array_equal(image, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    assert out is None or image is out


def test_compressed_grey_and_padded_tail() -> None:
    grey = np.arange(48 * 64).reshape(48, 64).astype(np.uint8)
    assert decode_compressed(encoded("png", grey), "png").shape == (48, 64, 3)
    assert decode_compressed(encoded("jpg", grey) + b"\0" * 5000, "mono8; jpeg compressed").shape == (48, 64, 3)


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(header)) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.mark.parametrize(
    ("data", "text", "reason"),
    [
        (encoded("jpg"), "webp", "encoding"),
        (encoded("png"), "16UC1; compressedDepth png", "encoding"),
        (encoded("jpg"), "png", "format_mismatch"),
        (b"", "jpeg", "format_mismatch"),
        (encoded("jpg")[:-200], "jpeg", "truncated"),
        (encoded("png")[:-30], "png", "truncated"),
        (b"\xff\xd8\xff\xe0\x00\x02\xff\xd9", "jpeg", "broken"),
        (b"\xff\xd8\xff\xd9", "jpeg", "broken"),
        (encoded("png")[:20], "png", "broken"),
        (encoded("png")[:60] + b"IEND\xaeB`\x82", "png", "broken"),
        (bomb(), "png", "too_large"),
        (None, "png", "bad_buffer"),
    ],
)
def test_wrong_compressed_images_are_refused(data: bytes, text: str, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_compressed(data, text)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("text", "kind"), [("jpeg", "jpeg"), ("JPG", "jpeg"), ("bgr8; png compressed bgr8", "png")])
def test_format_strings(text: str, kind: str) -> None:
    assert format_of(text) == kind
