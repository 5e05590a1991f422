"""FrameReady bytes against rclpy's own serialisation."""

from __future__ import annotations

import pytest

from percept_ros.errors import InputError
from percept_ros.nodes import handles
from percept_ros.nodes.handles import FrameMessage, HandleDecoder, HandleEncoder, decode_handle
from percept_ros.runtime.ring import FrameFormat, FrameHandle

serialization = pytest.importorskip("rclpy.serialization")
FrameReady = pytest.importorskip("percept_ros.msg").FrameReady
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def handle(number: int, ring: str = "percept-a-1") -> FrameHandle:
    return FrameHandle(
        ring, number % 8, 2**40 + number, 1_700_000_000_123_456_789 + number, 1600, 900, FrameFormat.NV12, False
    )


@pytest.mark.parametrize("ring", ["r", "percept-a-1", "percept-camera_front_left-12"])
@pytest.mark.parametrize("frame_id", ["", "lidar", "camera_front_optical"])
@pytest.mark.parametrize("trace", ["", TRACE])
def test_bytes_are_those_of_rclpy(ring: str, frame_id: str, trace: str) -> None:
    encoder = HandleEncoder()
    for number in range(3):
        sent = handle(number, ring)
        raw = encoder.encode(sent, frame_id, trace)
        message = serialization.deserialize_message(raw, FrameReady)
        assert (message.ring, message.slot, message.generation) == (sent.ring, sent.slot, sent.generation)
        assert (message.width, message.height, message.format) == (1600, 900, FrameReady.FORMAT_NV12)
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == sent.stamp_ns
        assert (message.header.frame_id, message.trace_id, message.is_keyframe) == (frame_id, trace, False)
        assert decode_handle(serialization.serialize_message(message)) == FrameMessage(sent, frame_id, trace)
        assert decode_handle(raw) == FrameMessage(sent, frame_id, trace)


def test_layout_follows_ring_frame_and_trace() -> None:
    encoder = HandleEncoder()
    for ring, frame_id, trace in (
        ("a", "x", ""),
        ("a", "x", TRACE),
        ("longer", "x", TRACE),
        ("a", "yy", ""),
        ("a", "x", ""),
    ):
        sent = handle(5, ring)
        assert decode_handle(encoder.encode(sent, frame_id, trace)) == FrameMessage(sent, frame_id, trace)


def test_every_cut_is_refused() -> None:
    raw = HandleEncoder().encode(handle(1), "lidar", TRACE)
    for length in range(len(raw)):
        with pytest.raises(InputError) as caught:
            decode_handle(raw[:length])
        assert caught.value.reason == "bad_handle"


@pytest.mark.parametrize(("at", "value"), [(0, 1), (1, 0), (12, 0), (13, 255), (15, 255)])
def test_broken_bytes_are_refused(at: int, value: int) -> None:
    raw = bytearray(HandleEncoder().encode(handle(1), "lidar"))
    raw[at] = value
    with pytest.raises(InputError, match="no FrameReady"):
        decode_handle(bytes(raw))


def test_a_decoder_that_knows_the_layout_reads_what_one_reads_that_does_not() -> None:
    encoder, decoder = HandleEncoder(), HandleDecoder()
    for number in range(60):
        ring = "percept.cam.1-2-3" if number < 30 else "percept.cam.1-2-4567"
        trace = "" if number % 7 == 0 else f"00-{number:032x}-{number:016x}-01"
        sent = FrameHandle(
            ring, number % 8, 2 * number + 2, 10**9 + number, 1600, 900, FrameFormat.BGR8, number % 2 == 0
        )
        raw = encoder.encode(sent, "front" if number < 45 else "back", trace)
        assert decoder.decode(raw) == decode_handle(raw)


@pytest.mark.parametrize("ring", ["a", "ab", "abc", "abcd"])
def test_a_layout_is_learned_once_though_dds_fills_the_last_word_up(ring: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, decoder, learned = HandleEncoder(), HandleDecoder(), []
    monkeypatch.setattr(handles, "decode_handle", lambda raw: learned.append(raw) or decode_handle(raw))
    for number in range(5):
        raw = encoder.encode(handle(number, ring), "front", TRACE)
        assert decoder.decode(raw + b"\0" * (-len(raw) % 4)) == FrameMessage(handle(number, ring), "front", TRACE)
    assert len(learned) == 1


def test_a_decoder_that_knows_the_layout_refuses_what_one_refuses_that_does_not() -> None:
    encoder, decoder = HandleEncoder(), HandleDecoder()
    sent = FrameHandle("percept.cam.1-2-3", 1, 2, 10**9, 1600, 900, FrameFormat.BGR8, True)
    good = encoder.encode(sent, "front", "trace")
    refused = 0
    for at in range(len(good)):
        for value in (0, 0x7F, 0xFF):
            decoder.decode(good)
            bad = bytearray(good)
            bad[at] = value
            try:
                expected = decode_handle(bytes(bad))
            except InputError:
                refused += 1
                with pytest.raises(InputError):
                    decoder.decode(bytes(bad))
            else:
                assert decoder.decode(bytes(bad)) == expected
    assert refused > 10
