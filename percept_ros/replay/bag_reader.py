"""Reads any rosbag2: a folder, or a bare .mcap or .db3 file, whole or cut in the middle.

What can be read is read; ``damage`` says what is missing and how much. Nothing is repaired silently.
"""

from __future__ import annotations

import difflib
import heapq
import sqlite3
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from percept_ros.errors import RecordingError
from percept_ros.replay.mcap_file import Channel, McapFile
from percept_ros.replay.sqlite_file import SqliteFile
from percept_ros.replay.typestore import new_typestore, register_unknown, typestore

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""Starts a message that was compressed by itself; serialised messages start with a zero byte."""


@dataclass(frozen=True, slots=True)
class BagMessage:
    """One message. topic: after remapping. log_ns: when it was recorded."""

    topic: str
    msgtype: str
    log_ns: int
    message: Any


class BagReader:
    """An open bag. Use as a context manager.

    remap: topic in the bag -> name it is read under. Raises RecordingError for a bag that cannot be opened at all and
    for a remapped topic that the bag lacks (with the nearest name).
    """

    def __init__(self, path: Path | str, remap: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        self.undecodable: dict[str, int] = {}
        """Topic -> messages that could not be deserialised."""
        self._metadata = _read_metadata(self.path)
        self._files = _open_files(self.path, self._metadata)
        self._store = typestore()
        self._read = 0
        try:
            self._names = self._remapped(remap or {})
        except RecordingError:
            self.close()
            raise

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()

    @property
    def channels(self) -> list[Channel]:
        """Channels of all files, topics as recorded."""
        return [channel for file in self._files for channel in file.channels.values()]

    @property
    def topics(self) -> dict[str, str]:
        """Topic (after remapping) -> message type, in order of name."""
        return dict(sorted((self._names[channel.topic], channel.msgtype) for channel in self.channels))

    @property
    def damage(self) -> list[str]:
        """What is missing from the bag, one line each; empty when it is whole. Complete after ``messages`` ran out."""
        lines = [reason for file in self._files for reason in file.damage.reasons]
        lines += [f"{count} messages on '{topic}' cannot be decoded" for topic, count in self.undecodable.items()]
        return lines

    @property
    def lost_bytes(self) -> int:
        """Bytes of the files that could not be used."""
        return sum(file.damage.lost_bytes for file in self._files)

    @property
    def expected_messages(self) -> int | None:
        """Number of messages the bag should hold by its metadata; None when it has none."""
        count = self._metadata.get("message_count")
        return int(count) if isinstance(count, int) else None

    def count(self, topics: Collection[str] | None = None) -> int:
        """Number of messages of ``topics`` (names after remapping; None = all), as far as an index tells."""
        return sum(file.count(self._keys(file, topics)) for file in self._files)

    def _keys(self, file: McapFile | SqliteFile, topics: Collection[str] | None) -> list[int]:
        return [key for key, c in file.channels.items() if topics is None or self._names[c.topic] in topics]

    def _remapped(self, remap: Mapping[str, str]) -> dict[str, str]:
        present = [channel.topic for channel in self.channels]
        for topic in remap:
            if topic not in present:
                raise RecordingError(missing_topic(self.path, topic, present))
        return {topic: remap.get(topic, topic) for topic in present}

    def messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """Messages of ``topics`` (names after remapping; None = all whose type is known) by log time.

        Raises RecordingError for a topic the bag lacks.
        """
        for raw in self._raw(topics):
            if raw.msgtype in self._store.types or self._learn(raw.msgtype):
                decoded = self._decode(raw)
                if decoded is not None:
                    yield BagMessage(raw.topic, raw.msgtype, raw.log_ns, decoded)
            else:
                self._count_undecodable(raw.topic)

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """As ``messages``, with ``message`` the serialised bytes (CDR)."""
        for raw in self._raw(topics):
            yield BagMessage(raw.topic, raw.msgtype, raw.log_ns, bytes(raw.message))

    def _raw(self, topics: Collection[str] | None) -> Iterator[BagMessage]:
        known = list(self._names.values())
        for topic in topics or ():
            if topic not in known:
                raise RecordingError(missing_topic(self.path, topic, known))
        sources = [self._file_messages(file, topics) for file in self._files]
        yield from heapq.merge(*sources, key=lambda item: item.log_ns)

    def _file_messages(self, file: McapFile | SqliteFile, topics: Collection[str] | None) -> Iterator[BagMessage]:
        for record in file.records(self._keys(file, topics)):
            data = _unpack(record.data) if record.data[:4] == ZSTD_MAGIC else record.data
            yield BagMessage(self._names[record.channel.topic], record.channel.msgtype, record.log_ns, data)

    def _learn(self, msgtype: str) -> bool:
        """Add a type from the definition that the bag carries, in a type store of its own; whether it is known now."""
        if self._store is typestore():
            self._store = new_typestore()
        definition = next((c.definition for c in self.channels if c.msgtype == msgtype and c.definition), "")
        return register_unknown(self._store, msgtype, definition)

    def _decode(self, raw: BagMessage) -> Any:
        from rosbags.serde import SerdeError

        try:
            return self._store.deserialize_cdr(raw.message, raw.msgtype)
        except (SerdeError, struct.error, ValueError, IndexError, KeyError, UnicodeDecodeError, AssertionError):
            self._count_undecodable(raw.topic)
            return None

    def _count_undecodable(self, topic: str) -> None:
        self.undecodable[topic] = self.undecodable.get(topic, 0) + 1


def missing_topic(path: Path, topic: str, present: Collection[str]) -> str:
    """The sentence for a topic that a bag lacks."""
    close = difflib.get_close_matches(topic, list(present), 1)
    hint = f"did you mean '{close[0]}'?" if close else f"it has: {', '.join(sorted(present)) or 'no topics'}"
    return f"bag '{path}' has no topic '{topic}': {hint}"


def _unpack(data: bytes | memoryview) -> bytes:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        from backports import zstd
    return bytes(zstd.decompress(data))


def _read_metadata(path: Path) -> Mapping[str, Any]:
    """The information block of metadata.yaml; empty for a bare file and where it is missing or cut."""
    file = path / "metadata.yaml"
    if not file.is_file():
        return {}
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
        block = loaded["rosbag2_bagfile_information"]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return {}
    return block if isinstance(block, dict) else {}


def _bag_files(path: Path, metadata: Mapping[str, Any]) -> list[Path]:
    if not path.exists():
        raise RecordingError(f"bag '{path}' does not exist")
    if path.is_file():
        return [path]
    listed = [path / Path(name).name for name in metadata.get("relative_file_paths", [])]
    found = [file for file in listed if file.is_file()]
    if listed and len(found) < len(listed):
        names = ", ".join(file.name for file in listed if file not in found)
        raise RecordingError(f"bag '{path}' lacks the files {names} that its metadata.yaml lists")
    return found or sorted([*path.glob("*.mcap"), *path.glob("*.db3")])


def _open_files(path: Path, metadata: Mapping[str, Any]) -> list[McapFile | SqliteFile]:
    files = _bag_files(path, metadata)
    if not files:
        raise RecordingError(f"folder '{path}' holds no .mcap or .db3 file: is it a rosbag2?")
    with ExitStack() as stack:
        opened = []
        for name in files:
            file = _open_file(name)
            stack.callback(file.close)
            opened.append(file)
        stack.pop_all()
        return opened


def _open_file(file: Path) -> McapFile | SqliteFile:
    if file.stat().st_size == 0:
        raise RecordingError(f"bag file '{file}' is empty")
    with file.open("rb") as opened:
        start = opened.read(16)
    if start.startswith(b"SQLite format 3"):
        return SqliteFile(file)
    if file.suffix == ".zstd":
        raise RecordingError(f"bag file '{file}' is compressed as a whole: unpack it first (zstd -d)")
    try:
        return McapFile(file)
    except (struct.error, UnicodeDecodeError, sqlite3.Error) as exc:
        raise RecordingError(f"bag file '{file}' cannot be read: {exc}") from exc
