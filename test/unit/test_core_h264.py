"""H.264: loss-free streams, lost and broken units, stamps of what is missing, and the key-frame flag."""

from __future__ import annotations

import functools
from fractions import Fraction

import numpy as np
import pytest

from percept_ros.core.h264 import Decoded, H264Decoder
from percept_ros.core.h264_units import inspect_unit
from percept_ros.errors import ImageError

av = pytest.importorskip("av")
MS = 1_000_000
T0 = 10**15
GOP = 10


def picture(index: int) -> np.ndarray:
    """A soft scene that moves right by two pixels a frame."""
    y, x = np.mgrid[:96, :128]
    shifted = x - 2 * index
    planes = [128 + 80 * np.sin(shifted / 9.0), 128 + 80 * np.cos(y / 11.0), 128 + 60 * np.sin((shifted + y) / 15.0)]
    return np.stack(planes, axis=-1).astype(np.uint8)


@functools.cache
def stream(options: tuple[tuple[str, str], ...] = (), count: int = 40) -> tuple[bytes, ...]:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 128, 96, "yuv420p"
    encoder.time_base, encoder.gop_size = Fraction(1, 10), GOP
    base = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": f"repeat-headers=1:keyint={GOP}:min-keyint={GOP}:scenecut=0",
    }
    encoder.options = base | dict(options)
    units = []
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(picture(index), format="bgr24")
        frame.pts = index
        units += [bytes(p) for p in encoder.encode(frame)]
    return tuple(units + [bytes(p) for p in encoder.encode(None)])


def stamp(index: float) -> int:
    return T0 + round(index * 100 * MS)


def play(units: dict[int, bytes], decoder: H264Decoder | None = None) -> tuple[dict[int, Decoded], H264Decoder]:
    decoder = decoder or H264Decoder()
    return {i: decoder.decode(unit, stamp(i)) for i, unit in units.items()}, decoder


def shown(results: dict[int, Decoded]) -> list[float]:
    return [(image.stamp_ns - T0) / (100 * MS) for r in results.values() for image in r.images]


def lost(results: dict[int, Decoded], reason: str) -> list[float]:
    return [(d.stamp_ns - T0) / (100 * MS) for r in results.values() for d in r.dropped if d.reason == reason]


def test_whole_stream() -> None:
    results, decoder = play(dict(enumerate(stream())))
    assert shown(results) == list(range(40))
    assert decoder.drops == {}
    assert decoder.backend == "software"
    for index, result in results.items():
        (image,) = result.images
        assert image.is_keyframe == (index % GOP == 0)
        assert np.abs(image.image.astype(int) - picture(index)).mean() < 6.0


def test_lost_unit_is_seen_and_waited_out() -> None:
    units = dict(enumerate(stream()))
    del units[13]
    results, decoder = play(units)
    assert shown(results) == [*range(13), *range(20, 40)]
    assert lost(results, "lost_unit") == [13]
    assert lost(results, "awaiting_keyframe") == list(range(14, 20))
    assert decoder.drops == {"lost_unit": 1, "awaiting_keyframe": 6}


def test_stamps_of_several_lost_units_are_interpolated() -> None:
    units = {i: unit for i, unit in enumerate(stream()) if i not in (14, 15, 16)}
    results, _ = play(units)
    assert lost(results, "lost_unit") == [14, 15, 16]


def test_lost_key_frame() -> None:
    units = dict(enumerate(stream()))
    del units[20]
    results, _ = play(units)
    assert shown(results) == [*range(20), *range(30, 40)]
    assert lost(results, "lost_unit") == [20]


@pytest.mark.parametrize("how", ["cut", "garbled", "empty", "no_start", "start_only"])
def test_broken_unit_is_dropped_and_waited_out(how: str) -> None:
    units = dict(enumerate(stream()))
    noise = np.random.default_rng(0).integers(0, 256, 4000).astype(np.uint8).tobytes()
    whole = units[23]
    broken = {
        "cut": whole[: len(whole) // 3],
        "garbled": whole[:12] + noise[: len(whole)],
        "empty": b"",
        "no_start": noise[:50],
        "start_only": b"\0\0\1",
    }
    units[23] = broken[how]
    results, decoder = play(units)
    assert shown(results) == [*range(23), *range(30, 40)]
    assert lost(results, "broken_unit") == [23]
    assert decoder.drops["awaiting_keyframe"] == 6


def test_stream_joined_in_the_middle() -> None:
    results, _ = play({i: u for i, u in enumerate(stream()) if i >= 5})
    assert shown(results) == list(range(10, 40))
    assert lost(results, "awaiting_keyframe") == list(range(5, 10))


def test_parameter_sets_in_a_unit_of_their_own() -> None:
    first = stream()[0]
    cut = first.find(b"\0\0\1\x65")
    decoder = H264Decoder()
    alone = decoder.decode(first[:cut], stamp(-1))
    assert alone == Decoded((), ())
    assert len(decoder.decode(first[cut:], stamp(0)).images) == 1


def test_zero_stamp_is_interpolated() -> None:
    decoder = H264Decoder()
    units = stream()
    for index in range(5):
        decoder.decode(units[index], stamp(index))
    (image,) = decoder.decode(units[5], 0).images
    assert image.stamp_ns == stamp(5)


def test_reset_waits_for_a_key_frame() -> None:
    _, decoder = play(dict(enumerate(stream()[:15])))
    decoder.reset()
    results = [decoder.decode(unit, stamp(i)) for i, unit in enumerate(stream())]
    assert sum(len(r.images) for r in results) == 40


def test_backward_time_jump_starts_anew() -> None:
    _, decoder = play(dict(enumerate(stream()[:25])))
    results, _ = play(dict(enumerate(stream()[:12])), decoder)
    assert shown(results) == list(range(12))


def test_stream_with_reordering() -> None:
    options = (
        ("tune", "film"),
        ("preset", "medium"),
        ("x264-params", f"repeat-headers=1:keyint={GOP}:bframes=2:scenecut=0"),
    )
    results, decoder = play(dict(enumerate(stream(options))))
    assert sum(len(r.images) for r in results.values()) >= 30
    assert decoder.drops == {}


def test_buffers_of_any_kind() -> None:
    unit = stream()[0]
    for data in (bytearray(unit), memoryview(unit), np.frombuffer(unit, np.uint8)):
        assert len(H264Decoder().decode(data, T0).images) == 1


def test_hardware_falls_back() -> None:
    decoder = H264Decoder(hardware=True)
    assert decoder.backend in ("software", "cuda", "vaapi")
    assert len(decoder.decode(stream()[0], T0).images) == 1


def test_headers() -> None:
    info = inspect_unit(stream()[0], None)
    assert (info.has_picture, info.is_key, info.is_reference, info.frame_num) == (True, True, True, 0)
    follow = [inspect_unit(u, info.sequence).frame_num for u in stream()[1:GOP]]
    assert follow == list(range(1, GOP))
    with pytest.raises(ImageError):
        inspect_unit(b"", None)
