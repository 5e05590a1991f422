"""The trace of a frame set as plain numbers: context that crosses processes, and one row a span.

A frame costs a few tuples. Only frames that are sampled, or that break their service level, ever become OpenTelemetry
spans, and that happens in another thread (see spans.py). Times are nanoseconds of the monotonic clock, which all
processes of one machine share.
Source: W3C Trace Context (level 1), traceparent and tracestate.
"""

from __future__ import annotations

import os
import random
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

_PACKED = struct.Struct("<QQQB")
_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_STATE = re.compile(r"percept=([0-9a-f]+):([0-9a-f]+):([0-9a-f]+):([0-9a-f]+)")
_LOW_64 = (1 << 64) - 1
Value = str | int | float | bool
ROOT = "frame_set"
"""Name of the span that covers a frame set from its oldest sensor stamp to its publication."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where in which trace something happens. trace_id: 128 bits, span_id: 64 bits, both non-zero."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The W3C header."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"

    @property
    def packed(self) -> bytes:
        """25 bytes, to cross to a worker process."""
        return _PACKED.pack(self.trace_id >> 64, self.trace_id & _LOW_64, self.span_id, self.sampled)

    @staticmethod
    def parse(text: str) -> TraceContext | None:
        """The context of a traceparent (a tracestate may follow), None when it is not one."""
        found = _PARENT.match(text)
        if found is None:
            return None
        trace_id, span_id = int(found[1], 16), int(found[2], 16)
        return TraceContext(trace_id, span_id, bool(int(found[3], 16) & 1)) if trace_id and span_id else None

    @staticmethod
    def unpack(raw: bytes) -> TraceContext | None:
        """The context of ``packed``, None for other bytes."""
        if len(raw) != _PACKED.size:
            return None
        high, low, span_id, sampled = _PACKED.unpack(raw)
        return TraceContext(high << 64 | low, span_id, bool(sampled))


class Times(NamedTuple):
    """What one process did with a frame before handing it on. arrived_ns: the raw message; began_ns, ended_ns: the work."""

    pid: int
    arrived_ns: int
    began_ns: int
    ended_ns: int


class SpanRow(NamedTuple):
    """One finished span. parent: span id. attributes: what is known beside its times, or None."""

    name: str
    service: str
    pid: int
    span_id: int
    parent: int
    start_ns: int
    end_ns: int
    error: str = ""
    link: TraceContext | None = None
    attributes: Mapping[str, Value] | None = None


def new_context(share: float) -> TraceContext:
    """A new trace, sampled with probability ``share`` (decided by the trace id, as every process would decide it)."""
    trace_id, span_id = random.getrandbits(128) or 1, random.getrandbits(64) or 1
    return TraceContext(trace_id, span_id, trace_id & _LOW_64 < int(share * (1 << 64)))


def new_text(share: float, pid: int, arrived_ns: int, began_ns: int, ended_ns: int) -> str:
    """What a frame message carries: traceparent of a new trace, and behind a semicolon its sender's ``Times``.

    Always of the same length. share: of traces that are sampled.
    """
    trace_id, span_id = random.getrandbits(128) or 1, random.getrandbits(64) or 1
    sampled = trace_id & _LOW_64 < share * (1 << 64)
    return (
        f"00-{trace_id:032x}-{span_id:016x}-{sampled:02x};"
        f"percept={pid:08x}:{arrived_ns:016x}:{began_ns:016x}:{ended_ns:016x}"
    )


def from_text(text: str) -> tuple[TraceContext | None, Times | None]:
    """Context and sender's times of a frame message; None for what is not there."""
    context = TraceContext.parse(text)
    found = _STATE.search(text) if context is not None else None
    return context, Times(*(int(group, 16) for group in found.groups())) if found else None


@dataclass(slots=True)
class FrameTrace:
    """Spans of one frame set. service: name of this process in its spans. parent: of the frame set itself, 0 = none."""

    context: TraceContext
    service: str
    parent: int = 0
    rows: list[SpanRow] = field(default_factory=list)
    next_id: int = 0

    def span(
        self,
        name: str,
        start_ns: int,
        end_ns: int,
        *,
        parent: int = 0,
        service: str = "",
        pid: int = 0,
        span_id: int = 0,
        error: str = "",
        link: TraceContext | None = None,
        attributes: Mapping[str, Value] | None = None,
    ) -> int:
        """Add a finished span below ``parent`` (0 = the frame set); returns its id."""
        own = span_id or self._own_id()
        self.rows.append(
            SpanRow(
                name,
                service or self.service,
                pid or _PID,
                own,
                parent or self.context.span_id,
                start_ns,
                end_ns,
                error,
                link,
                attributes,
            )
        )
        return own

    def _own_id(self) -> int:
        self.next_id += 1
        return (self.context.span_id + self.next_id) & _LOW_64 or 1


_PID = os.getpid()
