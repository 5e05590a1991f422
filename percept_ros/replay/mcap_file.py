"""Reads an MCAP file by walking its records, so that a file cut in the middle gives all that is still in it.

Source: MCAP format specification (records: opcode u8, length u64, content; little endian).
"""

from __future__ import annotations

import heapq
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from percept_ros.errors import RecordingError

MAGIC = b"\x89MCAP0\r\n"
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX = 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
MAX_CHUNK_BYTES = 1 << 30
"""A chunk that claims to be larger is taken as damage."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic of a storage file. key: its number in that file."""

    key: int
    topic: str
    msgtype: str
    definition: str = ""
    encoding: str = "cdr"


@dataclass(frozen=True, slots=True)
class Record:
    """One recorded message, still serialised."""

    log_ns: int
    channel: Channel
    data: bytes | memoryview


@dataclass(frozen=True, slots=True)
class _Chunk:
    first_ns: int
    offset: int
    """Of the chunk's content in the file."""
    size: int
    cut: bool = False
    counts: dict[int, int] = field(default_factory=dict)
    """Channel -> messages, from the index records behind the chunk; empty where it has none."""


@dataclass(slots=True)
class Damage:
    """What could not be read. reasons: one line each, in order of discovery."""

    lost_bytes: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, reason: str, lost_bytes: int = 0) -> None:
        """Note one damaged place."""
        self.lost_bytes += lost_bytes
        if len(self.reasons) < 20:
            self.reasons.append(reason)


class McapFile:
    """An open MCAP file. ``damage`` says what is missing (known after ``records`` ran to its end)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage = Damage()
        self.channels: dict[int, Channel] = {}
        self._schemas: dict[int, tuple[str, str]] = {}
        self._chunks: list[_Chunk] = []
        self._loose: list[tuple[int, int, int, int]] = []
        self._size = path.stat().st_size
        self._file: BinaryIO = path.open("rb")
        try:
            self._walk()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def count(self, keys: Collection[int]) -> int:
        """Messages of the channels ``keys`` by the index; chunks without one count as none."""
        loose = sum(key in keys for *_, key in self._loose)
        return loose + sum(n for chunk in self._chunks for key, n in chunk.counts.items() if key in keys)

    def _walk(self) -> None:
        if self._file.read(8) != MAGIC:
            raise RecordingError(f"'{self.path}' is not an MCAP file (first 8 bytes differ)")
        complete = False
        position = 8
        while not complete and position + 9 <= self._size:
            self._file.seek(position)
            opcode, length = struct.unpack("<BQ", self._file.read(9))
            if position + 9 + length > self._size:
                break
            self._take_header(opcode, position + 9, length)
            complete = opcode == FOOTER
            position += 9 + length
        if not complete:
            self._take_tail(position)
        if not complete or not self.channels:
            self._learn_channels()

    def _take_header(self, opcode: int, offset: int, length: int) -> None:
        if opcode in (SCHEMA, CHANNEL):
            self._learn(opcode, self._file.read(length))
        elif opcode == CHUNK and length >= 40:
            (first_ns,) = struct.unpack("<Q", self._file.read(8))
            self._chunks.append(_Chunk(first_ns, offset, length))
        elif opcode == MESSAGE_INDEX and self._chunks and length >= 6:
            key, size = struct.unpack("<HI", self._file.read(6))
            self._chunks[-1].counts[key] = size // 16
        elif opcode == MESSAGE and length >= 22:
            key, _, log_ns = struct.unpack("<HIQ", self._file.read(14))
            self._loose.append((log_ns, offset + 22, length - 22, key))

    def _take_tail(self, position: int) -> None:
        """Keep what the last, cut record still holds."""
        left = self._size - position
        self.damage.add(
            f"'{self.path.name}' is cut at byte {self._size}: its last record and its index are missing", left
        )
        self._file.seek(position)
        head = self._file.read(9)
        if len(head) == 9 and head[0] == CHUNK and left > 49:
            (first_ns,) = struct.unpack("<Q", self._file.read(8))
            self._chunks.append(_Chunk(first_ns, position + 9, left - 9, cut=True))

    def _learn(self, opcode: int, content: bytes) -> None:
        if opcode == SCHEMA:
            (key,) = struct.unpack_from("<H", content)
            name, at = _text(content, 2)
            _, at = _text(content, at)
            self._schemas[key] = (name, _text(content, at)[0])
            return
        key, schema = struct.unpack_from("<HH", content)
        topic, at = _text(content, 4)
        name, definition = self._schemas.get(schema, ("", ""))
        self.channels.setdefault(key, Channel(key, topic, name, definition, _text(content, at)[0]))

    def _learn_channels(self) -> None:
        for chunk in self._chunks:
            for opcode, content in self._open(chunk, quiet=True):
                if opcode in (SCHEMA, CHANNEL):
                    self._learn(opcode, bytes(content))

    def _open(self, chunk: _Chunk, *, quiet: bool = False) -> Iterator[tuple[int, memoryview]]:
        """Records inside a chunk; stops at the first that is damaged."""
        try:
            data, whole = self._decompress(chunk)
        except (ValueError, RuntimeError, struct.error) as exc:
            if not quiet:
                self.damage.add(f"chunk at byte {chunk.offset} of '{self.path.name}' cannot be read: {exc}", chunk.size)
            return
        view, position = memoryview(data), 0
        while position + 9 <= len(view):
            opcode, length = struct.unpack_from("<BQ", view, position)
            if position + 9 + length > len(view):
                break
            yield opcode, view[position + 9 : position + 9 + length]
            position += 9 + length
        if whole and position != len(view) and not quiet:
            self.damage.add(f"chunk at byte {chunk.offset} ends inside a record", len(view) - position)

    def _decompress(self, chunk: _Chunk) -> tuple[bytes, bool]:
        """Content of a chunk, and whether it is whole. Raises ValueError or the codec's error."""
        self._file.seek(chunk.offset)
        raw = self._file.read(chunk.size)
        size, crc = struct.unpack_from("<QI", raw, 16)
        codec, at = _text(raw, 28)
        packed = raw[at + 8 :]
        if size > MAX_CHUNK_BYTES:
            raise ValueError(f"it claims {size} bytes")
        data = _codec(codec)(packed)
        whole = not chunk.cut and len(data) == size
        if not chunk.cut and not whole:
            raise ValueError(f"it holds {len(data)} bytes, expected {size}")
        if whole and crc and zlib.crc32(data) != crc:
            raise ValueError("its checksum differs")
        return data, whole

    def records(self, keys: Collection[int]) -> Iterator[Record]:
        """Messages of the channels ``keys`` by log time; equal times in file order."""
        wanted = frozenset(keys)
        chosen = [c for c in self._chunks if not c.counts or not wanted.isdisjoint(c.counts)]
        sources = [self._chunk_records(chunk, wanted) for chunk in chosen]
        if self._loose:
            sources.append(self._loose_records(wanted))
        for log_ns, _, key, data in heapq.merge(*sources, key=lambda item: item[:2]):
            if key >= 0:
                yield Record(log_ns, self.channels[key], data)

    def _chunk_records(self, chunk: _Chunk, wanted: frozenset[int]) -> Iterator[tuple[int, int, int, Any]]:
        # The first, empty item lets the merge open a chunk only when its time has come.
        yield chunk.first_ns, -1, -1, b""
        found = []
        for opcode, content in self._open(chunk):
            if opcode == MESSAGE and len(content) >= 22:
                key, _, log_ns = struct.unpack_from("<HIQ", content)
                if key in wanted and key in self.channels:
                    found.append((log_ns, chunk.offset, key, content[22:]))
        yield from sorted(found, key=lambda item: item[0])

    def _loose_records(self, wanted: frozenset[int]) -> Iterator[tuple[int, int, int, Any]]:
        for log_ns, offset, size, key in sorted(self._loose):
            if key in wanted and key in self.channels:
                self._file.seek(offset)
                yield log_ns, offset, key, self._file.read(size)


def _text(content: bytes, at: int) -> tuple[str, int]:
    """A length-prefixed string and where it ends."""
    (length,) = struct.unpack_from("<I", content, at)
    return content[at + 4 : at + 4 + length].decode("utf-8", "replace"), at + 4 + length


def _codec(name: str) -> Callable[[bytes], bytes]:
    if name == "":
        return bytes
    if name == "zstd":
        return _unzstd
    if name == "lz4":
        return _unlz4
    raise ValueError(f"its compression '{name}' is unknown")


def _unzstd(packed: bytes) -> bytes:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from backports import zstd
    try:
        return bytes(zstd.ZstdDecompressor().decompress(packed))
    except zstd.ZstdError as exc:
        raise ValueError(str(exc)) from exc


def _unlz4(packed: bytes) -> bytes:
    import lz4.frame  # type: ignore[import-untyped,unused-ignore]

    return bytes(lz4.frame.LZ4FrameDecompressor().decompress(packed))
