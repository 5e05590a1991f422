"""Structured logs that can be joined with traces: one JSON object a line with trace id, frame stamp and mode.

Every kind of event is rate-limited by itself; what was held back is counted and said with the next line of its kind.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from percept_ros.observe.resource import Identity

_LEVELS = ("debug", "info", "warning", "error")
_MAX_EVENTS = 1024


class StructuredLog:
    """Writes lines. Thread-safe, never raises.

    write: takes a finished line (standard error, a file, a telemetry sink). burst: lines of one event within
    ``per_s``; further ones are held back. clock: monotonic seconds.
    """

    def __init__(
        self,
        identity: Identity,
        write: Callable[[str], None],
        *,
        burst: int = 5,
        per_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fixed = {
            "service": identity.attributes["service.name"],
            "pid": identity.pid,
            "instance": identity.instance,
        }
        self._write, self._burst, self._per_s, self._clock = write, burst, per_s, clock
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int]] = {}
        self._held: dict[str, int] = {}
        self.held_back = self.failed = 0

    def say(
        self,
        level: str,
        event: str,
        text: str,
        *,
        trace_id: str = "",
        stamp_ns: int | None = None,
        mode: str = "",
        fields: Mapping[str, Any] | None = None,
    ) -> bool:
        """Log one event; whether a line was written. event: short snake_case name. level: debug, info, warning, error."""
        held = self._admit(event)
        if held is None:
            return False
        line: dict[str, Any] = {"time_ns": time.time_ns(), "level": level if level in _LEVELS else "info"}
        line |= {"event": event, "text": text, **self._fixed}
        if trace_id:
            line["trace_id"] = trace_id
        if stamp_ns is not None:
            line["stamp_ns"] = stamp_ns
        if mode:
            line["mode"] = mode
        if held:
            line["held_back"] = held
        try:
            self._write(json.dumps({**(fields or {}), **line}, default=str, separators=(",", ":")))
        except Exception:  # a log that cannot be written must not stop what it tells about
            self.failed += 1
            return False
        return True

    def _admit(self, event: str) -> int | None:
        """Lines held back since the last one of this event, or None when this one is held back too."""
        now_s = self._clock()
        with self._lock:
            if len(self._windows) > _MAX_EVENTS:
                self._windows.clear()
            begun_s, count = self._windows.get(event, (now_s, 0))
            if now_s - begun_s >= self._per_s:
                begun_s, count = now_s, 0
            if count >= self._burst:
                self._held[event] = self._held.get(event, 0) + 1
                self.held_back += 1
                return None
            self._windows[event] = (begun_s, count + 1)
            return self._held.pop(event, 0)
