"""One worker process: spawned, fed through shared memory, watched for death.

The child is a fresh interpreter (a fork would copy threads and locks of model run-times). Calls are datagrams with
binary descriptors, arrays cross in shared memory; only the plan sent at load is pickled. The child dies with its parent.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy.typing as npt

from percept_ros import errors
from percept_ros.errors import DeadlineExceeded, InferenceError, InputError, PerceptError, WorkerDied
from percept_ros.runtime import spawn
from percept_ros.runtime.channel import Channel, ChannelClosed, Kind, Message

Arrays = Sequence[npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Context:
    """What rarely changes between calls. ``version`` differs whenever ``content`` does."""

    version: int
    content: bytes


class State(Enum):
    """Life of a worker."""

    STARTING = "starting"
    READY = "ready"
    LATE = "late"
    DEAD = "dead"


class Worker:
    """One child that hosts the service ``module:function(config)`` (see hosted.Service). All calls from one thread.

    config: picklable; read once, at start.
    """

    def __init__(self, target: str, config: Mapping[str, Any]) -> None:
        self.target = target
        self.state = State.STARTING
        self.description = b""
        self.late_since_ns = 0
        self.started_ns = time.monotonic_ns()
        self._request = 0
        self._context_version = -1
        self._failure: PerceptError | None = None
        self._begun: tuple[int, int | None] | None = None
        self.last_call = (0, b"", 0)
        """When the last call was sent, the note of its answer (b"" = none came) and when that came, monotonic ns."""
        self._process, sock = spawn.take()
        self._channel = Channel(sock)
        plan = {"path": [p for p in sys.path if p], "target": target, "config": dict(config)}
        with contextlib.suppress(WorkerDied):  # wait_ready tells
            self._send(Kind.LOAD, pickle.dumps(plan))

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def wait_ready(self, timeout_ns: int) -> bool:
        """Whether the service is loaded, waiting at most ``timeout_ns``. Raises what loading raised, or WorkerDied."""
        if self.state is State.STARTING and (message := self._receive(timeout_ns)) is not None:
            if message.kind == Kind.ERROR:
                self._failure = decode_error(message.meta)
                self.kill()
            else:
                self.description, self.state = message.meta, State.READY
        if self._failure is not None:
            raise self._failure
        if self.state is State.DEAD:
            raise WorkerDied(f"worker {self.pid} ({self.target}) {self.epitaph()} while loading")
        return self.state is not State.STARTING

    def call(
        self,
        meta: bytes,
        arrays: Arrays,
        *,
        deadline_ns: int | None,
        context: Context | None = None,
        note: bytes = b"",
    ) -> tuple[bytes, list[npt.NDArray[Any]]]:
        """Run one call. The arrays returned are views, valid until the next call: copy what must live longer.

        note: travels along (the trace context).

        Raises DeadlineExceeded (the worker is LATE until it answers), WorkerDied, or what the service raised.
        """
        self.begin(meta, arrays, deadline_ns=deadline_ns, context=context, note=note)
        return self.finish()

    def begin(
        self,
        meta: bytes,
        arrays: Arrays,
        *,
        deadline_ns: int | None,
        context: Context | None = None,
        note: bytes = b"",
    ) -> None:
        """Send a call (see ``call``) without waiting for its answer, which ``finish`` fetches. Raises WorkerDied."""
        self.last_call = (time.monotonic_ns(), b"", 0)
        if self.state is not State.READY:
            raise WorkerDied(f"worker {self.pid} ({self.target}) is {self.state.value}")
        if context is not None and context.version != self._context_version:
            self._send(Kind.CONTEXT, context.content)
            self._context_version = context.version
        self._send(Kind.CALL, meta, arrays, deadline_ns or 0, note)
        self._begun = (self._request, deadline_ns)

    @property
    def awaits(self) -> bool:
        """Whether the answer of a begun call can still be fetched: no other call was made since, and the worker lives."""
        return self.state is State.READY and self._begun is not None and self._begun[0] == self._request

    def finish(self) -> tuple[bytes, list[npt.NDArray[Any]]]:
        """The answer of the call that was begun last; see ``call``. Only while it ``awaits`` one."""
        if not self.awaits or self._begun is None:
            raise WorkerDied(f"worker {self.pid} ({self.target}) has no call to finish")
        deadline_ns = self._begun[1]
        self._begun = None
        message = self._receive(None if deadline_ns is None else deadline_ns - time.monotonic_ns())
        if message is None:
            self.state, self.late_since_ns = State.LATE, time.monotonic_ns()
            raise DeadlineExceeded(f"worker {self.pid} ({self.target}) did not answer by the deadline")
        self.last_call = (self.last_call[0], message.note, time.monotonic_ns())
        if message.kind == Kind.ERROR:
            raise decode_error(message.meta)
        return message.meta, message.arrays

    def look(self) -> None:
        """Notice what happened between calls: a death, or the overdue answer of a LATE worker (thrown away)."""
        self._begun = None
        if self.state in (State.READY, State.LATE):
            with contextlib.suppress(WorkerDied):
                if self._receive(0) is not None:
                    self.state = State.READY

    @property
    def rss_bytes(self) -> int:
        """Resident memory of the child, 0 when it is gone."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0

    def epitaph(self) -> str:
        """How the child ended."""
        status = self._process.poll()
        if status is None:
            return "hung up"
        return f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"

    def kill(self) -> None:
        """End the child at once. Safe to call twice."""
        self.state = State.DEAD
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def close(self, timeout_s: float = 1.0) -> None:
        """Hang up, let the child free its model, then make sure that it is gone. Safe to call twice."""
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if self.state is State.LATE else timeout_s)
        self.kill()

    def _send(self, kind: Kind, meta: bytes, arrays: Arrays = (), deadline_ns: int = 0, note: bytes = b"") -> None:
        self._request += 1
        try:
            self._channel.send(kind, self._request, meta, arrays, deadline_ns, note)
        except ChannelClosed as exc:
            raise self._died() from exc

    def _receive(self, timeout_ns: int | None) -> Message | None:
        """The answer to the newest request."""
        until_ns = None if timeout_ns is None else time.monotonic_ns() + timeout_ns
        try:
            while (message := self._channel.receive(timeout_ns)) is not None:
                if message.request == self._request:
                    return message
                timeout_ns = None if until_ns is None else until_ns - time.monotonic_ns()
        except ChannelClosed as exc:
            raise self._died() from exc
        return None

    def _died(self) -> WorkerDied:
        self.kill()
        return WorkerDied(f"worker {self.pid} ({self.target}) {self.epitaph()}")


def decode_error(raw: bytes) -> PerceptError:
    """The error that the worker met, as the class of errors.py that it was."""
    name, reason, text = [*raw.decode(errors="replace").split("\n", 2), "", ""][:3]
    kind = getattr(errors, name, InferenceError)
    if not (isinstance(kind, type) and issubclass(kind, PerceptError)):
        kind = InferenceError
    return kind(text, reason) if issubclass(kind, InputError) and reason else kind(text)
