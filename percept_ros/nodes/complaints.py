"""Counted drops with one clear message each: every drop is counted, its text is logged at a bounded rate."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

_INTERVAL_S = 5.0


class Complaints:
    """Counts drops by (source, reason) and logs each kind at most every five seconds. Thread-safe."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._logged_s: dict[tuple[str, str], float] = {}
        self._unlogged: Counter[tuple[str, str]] = Counter()
        self._newest = -_INTERVAL_S, ""
        self.also: Callable[[str, str, str], object] = lambda source, reason, text: None
        """Told of every line that is logged."""

    def drop(self, source: str, reason: str, text: str) -> None:
        """Count one drop of ``source`` (topic or sensor) and say why, unless it was said a moment ago."""
        self.count(source, reason)
        self.say(source, reason, text)

    def say(self, source: str, reason: str, text: str) -> None:
        """Say why without counting (somebody else counts it), unless it was said a moment ago."""
        key, now_s = (source, reason), time.monotonic()
        with self._lock:
            if now_s - self._logged_s.get(key, -_INTERVAL_S) < _INTERVAL_S:
                self._unlogged[key] += 1
                return
            self._logged_s[key] = now_s
            self._newest = now_s, f"{source}: {text}"
            again = self._unlogged.pop(key, 0)
        more = f" ({again} more like it in between)" if again else ""
        self._logger.warning(f"{source}: {text}{more}")
        self.also(source, reason, text)

    @property
    def newest(self) -> str:
        """The last line that was logged, "" when none was for two intervals."""
        said_s, text = self._newest
        return text if time.monotonic() - said_s < 2 * _INTERVAL_S else ""

    def count(self, source: str, reason: str, number: int = 1) -> None:
        """Count drops without a word."""
        with self._lock:
            self._counts[(source, reason)] += number

    @property
    def by_reason(self) -> dict[str, int]:
        """Drops of all sources by reason."""
        totals: Counter[str] = Counter()
        with self._lock:
            for (_, reason), number in self._counts.items():
                totals[reason] += number
        return dict(totals)

    @property
    def by_source(self) -> dict[str, int]:
        """Drops as ``source/reason``."""
        with self._lock:
            return {f"{source}/{reason}": number for (source, reason), number in self._counts.items()}
