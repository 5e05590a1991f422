"""What baselines know, on disk: one SQLite file, safe against a kill at any moment.

Write-ahead log, every interval committed by itself and flushed to the disk; a file that is damaged is moved aside (said,
never overwritten) and learning begins anew.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from percept_ros.errors import SetupError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS interval (metric TEXT, slot INTEGER, value REAL, learned REAL, z REAL, usual INTEGER,
    PRIMARY KEY (metric, slot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (metric TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS event (number INTEGER PRIMARY KEY, at_s REAL, metric TEXT, kind TEXT, content TEXT);
CREATE TABLE IF NOT EXISTS budget (hour INTEGER PRIMARY KEY, good INTEGER NOT NULL, bad INTEGER NOT NULL);
"""


class Row(NamedTuple):
    """One interval. slot: number of the interval since the epoch. learned: what the baseline takes it for. z: deviation.

    usual: 1 where it was learned as it came, 0 where the expected value was put in its place.
    """

    slot: int
    value: float
    learned: float
    z: float | None
    usual: int = 1


class BaselineStore:
    """Use from one thread. Raises SetupError when the folder cannot be written.

    durable: every commit is flushed to the disk (without, a power cut may cost the last ones; a kill never does).
    """

    def __init__(self, file: Path | str, *, durable: bool = True) -> None:
        self.file, self._durable = Path(file), durable
        self.moved_aside: Path | None = None
        try:
            if str(file) != ":memory:":
                self.file.parent.mkdir(parents=True, exist_ok=True)
            self._base = self._open()
        except (OSError, sqlite3.OperationalError) as exc:
            raise SetupError(
                f"baseline file '{file}' cannot be opened: {exc}; name a file in a writable folder"
            ) from exc

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:  # damaged
            self.moved_aside = self.file.with_suffix(f".damaged-{int(time.time())}")
            self.file.replace(self.moved_aside)
            for tail in ("-wal", "-shm"):
                self.file.with_name(self.file.name + tail).unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        base = sqlite3.connect(self.file, isolation_level=None, check_same_thread=False)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
        if base.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            base.close()
            raise sqlite3.DatabaseError("quick_check failed")
        base.executescript(_SCHEMA)
        return base

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside becomes durable together, or not at all."""
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def put_interval(self, metric: str, row: Row, keep_from: int) -> None:
        """Add one interval; those before slot ``keep_from`` go."""
        self._base.execute("INSERT OR REPLACE INTO interval VALUES (?, ?, ?, ?, ?, ?)", (metric, *row))
        self._base.execute("DELETE FROM interval WHERE metric = ? AND slot < ?", (metric, keep_from))

    def adopt(self, metric: str, by: float, from_slot: int) -> None:
        """Move what was learned before ``from_slot`` to a new level; from there on take values as they came."""
        self._base.execute(
            "UPDATE interval SET learned = learned + ? WHERE metric = ? AND slot < ?", (by, metric, from_slot)
        )
        self._base.execute(
            "UPDATE interval SET learned = value, usual = 1 WHERE metric = ? AND slot >= ?", (metric, from_slot)
        )

    def put_state(self, metric: str, state: dict[str, Any]) -> None:
        """Replace the state of a metric."""
        self._base.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (metric, json.dumps(state)))

    def put_event(self, at_s: float, metric: str, kind: str, content: dict[str, Any]) -> None:
        """Add to the history of events."""
        self._base.execute(
            "INSERT INTO event (at_s, metric, kind, content) VALUES (?, ?, ?, ?)",
            (at_s, metric, kind, json.dumps(content)),
        )

    def add_budget(self, hour: int, good: int, bad: int, keep_from: int) -> None:
        """Count frames of an hour; hours before ``keep_from`` go."""
        self._base.execute(
            "INSERT INTO budget VALUES (?, ?, ?) ON CONFLICT (hour) DO UPDATE SET good = good + excluded.good, "
            "bad = bad + excluded.bad",
            (hour, good, bad),
        )
        self._base.execute("DELETE FROM budget WHERE hour < ?", (keep_from,))

    def metrics(self) -> list[str]:
        """Metrics that have a state."""
        return [name for (name,) in self._base.execute("SELECT metric FROM state ORDER BY metric")]

    def intervals(self, metric: str) -> list[Row]:
        """All kept intervals, oldest first."""
        query = "SELECT slot, value, learned, z, usual FROM interval WHERE metric = ? ORDER BY slot"
        return [Row(*row) for row in self._base.execute(query, (metric,))]

    def state(self, metric: str) -> dict[str, Any] | None:
        """State of a metric."""
        row = self._base.execute("SELECT content FROM state WHERE metric = ?", (metric,)).fetchone()
        return dict(json.loads(row[0])) if row else None

    def events(self, limit: int = 100) -> list[dict[str, Any]]:
        """Newest events first."""
        query = "SELECT at_s, metric, kind, content FROM event ORDER BY number DESC LIMIT ?"
        rows = self._base.execute(query, (limit,))
        return [{"at_s": at_s, "metric": metric, "kind": kind, **json.loads(text)} for at_s, metric, kind, text in rows]

    def budget(self) -> list[tuple[int, int, int]]:
        """(hour, good, bad), oldest first."""
        with closing(self._base.cursor()) as cursor:
            return [tuple(row) for row in cursor.execute("SELECT hour, good, bad FROM budget ORDER BY hour")]

    def close(self) -> None:
        """Close the file."""
        self._base.close()
