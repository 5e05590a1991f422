"""Frame ring: what goes in comes out, overwritten frames are refused, dead writers leave nothing."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from percept_ros.errors import ImageError, InputError
from percept_ros.runtime import segment
from percept_ros.runtime.frame import CONTROL_BYTES, FRAME_HEADER, Control
from percept_ros.runtime.ring import FrameFormat, FrameHandle, RingReader, RingWriter
from percept_ros.types import PointCloud

RING = f"test-{os.getpid()}"


@pytest.fixture
def writer() -> Iterator[RingWriter]:
    with RingWriter(RING, slots=3) as ring:
        yield ring


@pytest.fixture
def reader() -> Iterator[RingReader]:
    with RingReader() as ring:
        yield ring


def image(height: int = 6, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)


def test_frame_header_is_24_packed_bytes() -> None:
    packed = Control(10, 1_234_567_891, 8, 6, 24, True, 0, 3).pack()
    assert len(packed) == CONTROL_BYTES
    assert FRAME_HEADER.size == 24
    assert packed[16:40] == FRAME_HEADER.pack(1_234_567, 8, 6, 24, 1, 0)
    assert Control.unpack(packed) == Control(10, 1_234_567_891, 8, 6, 24, True, 0, 3)


def test_image_round_trip_in_place_and_read_only(writer: RingWriter, reader: RingReader) -> None:
    pixels = image()
    handle = writer.write_image(pixels, 42, is_keyframe=False)
    frame = reader.view(handle)
    np.testing.assert_array_equal(frame.array, pixels)
    assert (frame.stamp_ns, handle.width, handle.height, handle.is_keyframe) == (42, 8, 6, False)
    assert not frame.array.flags.writeable
    assert frame.still_valid()


@pytest.mark.parametrize("cut", [np.s_[::-1], np.s_[::2], np.s_[:, ::-1], np.s_[:, 1:5], np.s_[..., ::-1]])
def test_strided_images_are_packed(writer: RingWriter, reader: RingReader, cut: object) -> None:
    pixels = image()[cut]  # type: ignore[index]
    np.testing.assert_array_equal(reader.copy(writer.write_image(pixels, 1)), pixels)


def test_nv12_round_trip(writer: RingWriter, reader: RingReader) -> None:
    planes = np.arange(9 * 8, dtype=np.uint8).reshape(9, 8)
    handle = writer.write_image(planes, 1, kind=FrameFormat.NV12)
    assert (handle.height, handle.width, handle.format) == (6, 8, FrameFormat.NV12)
    np.testing.assert_array_equal(reader.view(handle).array, planes)


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_bad_images_are_refused(writer: RingWriter, bad: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected"):
        writer.write_image(bad, 1)


def test_cloud_round_trip_from_strided_points(writer: RingWriter, reader: RingReader) -> None:
    table = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    times = np.linspace(0, 0.1, 50, dtype=np.float32)
    handle = writer.write_cloud(PointCloud("lidar", 9, "lidar", table[:, :3], table[:, 3], None, times))
    np.testing.assert_array_equal(reader.view(handle).array, np.column_stack([table, times]))
    bare = writer.write_cloud(PointCloud("lidar", 9, "lidar", table[:, :3]))
    np.testing.assert_array_equal(reader.view(bare).array[:, 3], np.zeros(50))


def test_empty_cloud(writer: RingWriter, reader: RingReader) -> None:
    handle = writer.write_cloud(PointCloud("lidar", 9, "lidar", np.zeros((0, 3), np.float32)))
    assert reader.view(handle).array.shape == (0, 4)


def test_tensor_round_trip_and_in_place_fill(writer: RingWriter, reader: RingReader) -> None:
    tensor = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(reader.view(writer.write_tensor(tensor, 3)).array, tensor)
    with writer.open_tensor((3, 4, 5), 4) as slot:
        slot.array[...] = tensor
    np.testing.assert_array_equal(reader.copy(slot.handle), tensor)


def test_overwritten_frames_are_refused_and_counted(writer: RingWriter, reader: RingReader) -> None:
    old = writer.write_image(image(), 1)
    held = reader.view(old)
    for stamp_ns in range(2, 5):
        writer.write_image(image(seed=stamp_ns), stamp_ns)
    assert not held.still_valid()
    assert not held.still_valid()
    with pytest.raises(InputError, match="overwritten") as caught:
        reader.view(old)
    assert caught.value.reason == "ring_overwritten"
    assert (reader.counters.torn, reader.counters.overwritten) == (1, 1)


def test_frames_whose_handles_never_came_are_counted(writer: RingWriter, reader: RingReader) -> None:
    for stamp_ns in range(6):
        handle = writer.write_image(image(), stamp_ns)
        if stamp_ns not in (2, 3):
            reader.view(handle)
    assert (reader.counters.read, reader.counters.unheard) == (4, 2)


def test_frame_left_half_written_is_never_read(writer: RingWriter, reader: RingReader) -> None:
    first = writer.write_tensor(np.ones((1, 2, 2), np.float32), 1)
    writer.write_tensor(np.ones((1, 2, 2), np.float32), 2)
    writer.write_tensor(np.ones((1, 2, 2), np.float32), 3)
    with pytest.raises(RuntimeError), writer.open_tensor((1, 2, 2), 4):
        raise RuntimeError
    with pytest.raises(InputError, match="overwritten"):
        reader.view(first)
    newest = reader.latest(RING)
    assert newest is not None
    assert newest.stamp_ns == 3


def test_larger_frame_moves_to_a_new_segment(writer: RingWriter, reader: RingReader) -> None:
    small = writer.write_image(image(), 1)
    large = writer.write_image(image(60, 80), 2)
    assert small.ring != large.ring
    assert segment.names(RING) == [large.ring]
    np.testing.assert_array_equal(reader.view(large).array, image(60, 80))
    with pytest.raises(InputError) as caught:
        reader.view(small)
    assert caught.value.reason == "ring_gone"
    assert writer.counters.grown == 1


def test_a_writer_that_starts_again_is_read_on(writer: RingWriter, reader: RingReader) -> None:
    """A node that is cleaned up and configured again makes a new ring in the same process: its names are new too."""
    before = reader.view(writer.write_image(image(), 1))
    writer.close()
    with RingWriter(RING, slots=2) as again:
        handles = [again.write_image(image(), stamp_ns) for stamp_ns in (2, 3)]
        assert handles[0].ring != before.handle.ring
        assert [reader.view(handle).stamp_ns for handle in handles] == [2, 3]
    assert reader.counters.overwritten == 0
    np.testing.assert_array_equal(before.array, image())


def test_memory_of_removed_segments_is_given_back(writer: RingWriter, reader: RingReader) -> None:
    handles = []
    for side in range(1, 5):
        handles.append(writer.write_image(image(20 * side, 30 * side), side))
        reader.view(handles[-1])
    with open("/proc/self/maps", encoding="utf-8") as maps:
        text = maps.read()
    held = [handle.ring for handle in handles if f"{segment.FOLDER / handle.ring} (deleted)" in text]
    assert held == []


def test_abandoned_reader_never_blocks(writer: RingWriter) -> None:
    abandoned = RingReader()
    frame = abandoned.view(writer.write_image(image(), 0))
    for stamp_ns in range(1, 1000):
        writer.write_image(image(), stamp_ns)
    assert writer.counters.written == 1000
    assert not frame.still_valid()
    abandoned.close()
    abandoned.close()


def test_views_outlive_writer_and_reader() -> None:
    writer, reader = RingWriter(RING), RingReader()
    frame = reader.view(writer.write_image(image(), 1))
    writer.close()
    reader.close()
    writer.close()
    np.testing.assert_array_equal(frame.array, image())
    assert frame.still_valid()
    assert segment.names(RING) == []


def test_segments_are_private(writer: RingWriter) -> None:
    handle = writer.write_image(image(), 1)
    assert stat.S_IMODE((segment.FOLDER / handle.ring).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["../etc/passwd", "percept.x.1-2", "percept.a/b.1-2-3", "", "percept.cam.1-1-1\n"])
def test_names_from_outside_are_checked(reader: RingReader, name: str) -> None:
    with pytest.raises(InputError, match="not a ring segment name"):
        reader.view(FrameHandle(name, 0, 2, 0, 1, 1, FrameFormat.BGR8))


def test_foreign_files_are_refused(reader: RingReader) -> None:
    path = segment.FOLDER / f"percept.{RING}.1-1-1"
    path.write_bytes(bytes(8192))
    try:
        for mode in (0o644, 0o600):
            path.chmod(mode)
            with pytest.raises(InputError) as caught:
                reader.view(FrameHandle(path.name, 0, 2, 0, 1, 1, FrameFormat.BGR8))
            assert caught.value.reason == "ring_invalid"
    finally:
        path.unlink()
    assert reader.counters.invalid == 2


def test_handle_with_a_wrong_slot_is_refused(writer: RingWriter, reader: RingReader) -> None:
    handle = writer.write_image(image(), 1)
    for slot in (-1, 3, 2**31):
        with pytest.raises(InputError, match="does not exist"):
            reader.view(FrameHandle(handle.ring, slot, handle.generation, 1, 8, 6, FrameFormat.BGR8))


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 121])
def test_bad_ring_names_are_refused(name: str) -> None:
    with RingWriter(name) as writer, pytest.raises(ValueError, match="ring name"):
        writer.write_image(image(), 1)


def test_next_start_removes_segments_of_killed_writers_only(writer: RingWriter) -> None:
    live = writer.write_image(image(), 1).ring
    name = f"{RING}-victim"
    script = (
        "import sys, time, numpy as np; from percept_ros.runtime.ring import RingWriter\n"
        f"w = RingWriter('{name}'); w.write_image(np.zeros((4, 4, 3), np.uint8), 1)\n"
        "print('up', flush=True); time.sleep(60)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=env) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"up\n"
        assert len(segment.names(name)) == 1
        assert not [n for n in segment.remove_stale() if RING in n]
        victim.send_signal(signal.SIGKILL)
    left = segment.names(name)
    assert len(left) == 1
    with RingWriter(f"{RING}-next") as after:
        assert left[0] in after.removed_stale or not (segment.FOLDER / left[0]).exists()
    assert segment.names(name) == []
    assert live in segment.names(RING)


def test_process_start_of_nobody_is_none() -> None:
    assert segment.process_start(os.getpid()) is not None
    assert segment.process_start(2**22 + 1) is None


@pytest.mark.parametrize(("kind", "shape"), [(FrameFormat.BGR8, (6, 8, 3)), (FrameFormat.NV12, (9, 8))])
def test_an_image_is_drawn_in_place(kind: FrameFormat, shape: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    with RingWriter(RING) as writer, RingReader() as reader:
        slot = writer.open_image(6, 8, 5, kind=kind, is_keyframe=False).begin()
        assert slot.array.shape == shape
        slot.array[...] = pixels
        handle = slot.commit()
        assert (handle.width, handle.height, handle.stamp_ns, handle.is_keyframe) == (8, 6, 5, False)
        np.testing.assert_array_equal(reader.view(handle).array, pixels)
        copied = writer.write_image(pixels, 6, kind=kind)
        np.testing.assert_array_equal(reader.view(copied).array, pixels)


def test_a_slot_that_is_never_committed_is_not_seen() -> None:
    with RingWriter(RING, slots=2) as writer, RingReader() as reader:
        first = writer.write_image(np.zeros((4, 4, 3), np.uint8), 1)
        writer.open_image(4, 4, 2).begin()
        assert reader.latest(writer.name) == first
        writer.open_image(4, 4, 3).begin()  # takes the slot of the first
        with pytest.raises(InputError):
            reader.view(first)


def test_a_slot_may_hold_another_shape_or_format_each_time() -> None:
    shapes = [(FrameFormat.BGR8, 8, 6), (FrameFormat.BGR8, 6, 8), (FrameFormat.NV12, 12, 8), (FrameFormat.BGR8, 8, 6)]
    with RingWriter("t-shapes", slots=2) as writer, RingReader() as reader:
        for turn in range(12):
            kind, height, width = shapes[turn // 2 % len(shapes)]
            with writer.open_image(height, width, 1_000 * turn + 1, kind=kind, is_keyframe=turn % 3 == 0) as slot:
                slot.array[...] = turn
            frame = reader.view(slot.handle)
            expected = (height, width, 3) if kind == FrameFormat.BGR8 else (height * 3 // 2, width)
            assert frame.array.shape == slot.array.shape == expected
            assert (frame.array == turn).all()
            assert frame.still_valid()
            assert reader.latest("t-shapes") == slot.handle
            tensor = np.full((2, 4, 4), turn, np.float32)
            assert (reader.copy(writer.write_tensor(tensor, 7)) == tensor).all()


def test_a_frame_looked_at_outlives_its_reader() -> None:
    with RingWriter("t-outlives", slots=2) as writer:
        handle = writer.write_image(np.full((4, 6, 3), 5, np.uint8), 1)
        reader = RingReader()
        frame = reader.view(handle)
        reader.close()
        assert (frame.array == 5).all()
        assert frame.still_valid()
