"""Reads an sqlite3 rosbag2 file, as far as it goes when it is cut."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path

from percept_ros.errors import RecordingError
from percept_ros.replay.mcap_file import Channel, Damage, Record


class SqliteFile:
    """An open .db3 file. ``damage`` says what is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage = Damage()
        # immutable: no lock and no journal, so that read-only media work and a writer's left-overs are not touched.
        self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)
        try:
            self._admit_cut()
            self.channels = {channel.key: channel for channel in self._channels()}
        except (sqlite3.Error, UnicodeDecodeError) as exc:
            self._connection.close()
            raise RecordingError(f"'{path}' is not a readable rosbag2 database: {exc}") from exc

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def count(self, keys: Collection[int]) -> int:
        """Messages of the topics ``keys`` that can be listed."""
        return len(self._index(frozenset(keys), quiet=True))

    def _admit_cut(self) -> None:
        """SQLite refuses a file shorter than its header says, unless the schema may be written."""
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            file.seek(16)
            head = file.read(16)
        page = int.from_bytes(head[:2], "big")
        promised = (65536 if page == 1 else page) * int.from_bytes(head[12:16], "big")
        if promised > size:
            self.damage.add(f"'{self.path.name}' is cut at byte {size} of {promised}", promised - size)
            self._connection.execute("PRAGMA writable_schema = ON")

    def _channels(self) -> list[Channel]:
        definitions = {}
        if self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_definitions'").fetchone():
            query = "SELECT topic_type, encoded_message_definition FROM message_definitions"
            definitions = dict(self._connection.execute(query).fetchall())
        rows = self._connection.execute("SELECT id, name, type, serialization_format FROM topics ORDER BY id")
        return [Channel(key, topic, kind, definitions.get(kind, ""), coding) for key, topic, kind, coding in rows]

    def records(self, keys: Collection[int]) -> Iterator[Record]:
        """Messages of the topics ``keys`` by log time; equal times in the order of recording."""
        for log_ns, row, key in sorted(self._index(frozenset(keys))):
            try:
                found = self._connection.execute("SELECT data FROM messages WHERE id = ?", (row,)).fetchone()
            except sqlite3.Error as exc:
                self.damage.add(f"message {row} of '{self.path.name}' cannot be read: {exc}")
                continue
            yield Record(log_ns, self.channels[key], found[0])

    def _index(self, keys: frozenset[int], *, quiet: bool = False) -> list[tuple[int, int, int]]:
        rows: list[tuple[int, int, int]] = []
        try:
            for log_ns, row, key in self._connection.execute(
                "SELECT timestamp, id, topic_id FROM messages ORDER BY id"
            ):
                rows.append((log_ns, row, key))
        except sqlite3.Error as exc:
            if not quiet:
                self.damage.add(f"'{self.path.name}' is cut or damaged after message {len(rows)}: {exc}")
        return [found for found in rows if found[2] in keys]
