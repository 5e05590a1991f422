"""The child's side of a worker: ``python -m percept_ros.runtime.hosted FD PARENT_PID [MODULE ...]`` serves one service until
hung up on.

Imports little: what the service needs is imported when it is loaded, or before, where it is named.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import pickle
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy.typing as npt

from percept_ros.errors import DeadlineExceeded, InferenceError, InputError, PerceptError
from percept_ros.runtime.channel import Channel, ChannelClosed, Kind, Message

Arrays = Sequence[npt.NDArray[Any]]
_PR_SET_PDEATHSIG = 1
CALL_NOTE = struct.Struct("<qqQQ")
"""Note of an answer: when the work began and ended (monotonic ns), bytes of the tensor pool in use and held."""


class Service(Protocol):
    """What a worker hosts. Made by ``module:function(config)`` in the child."""

    def load(self) -> bytes:
        """Open and warm; returns what the parent should know about it."""
        ...

    def context(self, context: bytes) -> None:
        """Take what rarely changes between calls."""
        ...

    def handle(self, meta: bytes, arrays: Arrays, deadline_ns: int | None) -> tuple[bytes, Arrays]:
        """Answer one call. ``arrays`` are borrowed, read-only."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


def resolve(target: str) -> Any:
    """The object ``module:name``. Raises InputError when there is none."""
    module, _, name = target.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise InputError(f"worker target '{target}' cannot be imported: {exc}", "worker_target") from exc


def encode_error(error: BaseException) -> bytes:
    """Class name, reason and text, for ``decode_error``."""
    known = isinstance(error, PerceptError)
    name = type(error).__name__ if known else InferenceError.__name__
    text = str(error) if known else f"{type(error).__name__}: {error}"
    return "\n".join([name, getattr(error, "reason", ""), text]).encode(errors="replace")[:4096]


def serve(channel: Channel) -> None:
    """Answer messages until the parent hangs up."""
    service: Service | None = None
    calls = 0
    try:
        while (message := channel.receive(None)) is not None:
            if message.kind == Kind.LOAD:
                service = _load(channel, message)
            elif message.kind == Kind.CONTEXT and service is not None:
                service.context(message.meta)
            elif message.kind == Kind.CALL and service is not None:
                _answer(channel, service, message)
                calls += 1
                gc.collect(2 if calls % 512 == 0 else 0)  # the answer is out: this is the slack between frames
    except ChannelClosed:
        pass
    finally:
        if service is not None:
            service.close()


def main(arguments: Sequence[str]) -> int:
    """Run as the child process."""
    _die_with_parent(int(arguments[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in arguments[2:]:
        with suppress(ImportError):  # whoever needs it will say so
            importlib.import_module(module)
    serve(Channel(socket.socket(fileno=int(arguments[0]))))
    return 0


def _load(channel: Channel, message: Message) -> Service | None:
    plan: Mapping[str, Any] = pickle.loads(message.meta)
    sys.path.extend(entry for entry in plan["path"] if entry not in sys.path)
    try:
        service: Service = resolve(plan["target"])(plan["config"])
        described = service.load()
    except Exception as exc:
        _report(exc)
        channel.send(Kind.ERROR, message.request, encode_error(exc))
        return None
    gc.collect()
    gc.freeze()
    gc.disable()
    channel.send(Kind.RESULT, message.request, described)
    return service


def _answer(channel: Channel, service: Service, message: Message) -> None:
    deadline_ns, began_ns = message.deadline_ns or None, time.monotonic_ns()
    try:
        if deadline_ns is not None and time.monotonic_ns() >= deadline_ns:
            raise DeadlineExceeded("the deadline had passed when the worker took the call")
        meta, arrays = service.handle(message.meta, message.arrays, deadline_ns)
        channel.send(Kind.RESULT, message.request, meta, arrays, note=_note(service, began_ns))
    except Exception as exc:
        _report(exc, message.note)
        channel.send(Kind.ERROR, message.request, encode_error(exc), note=_note(service, began_ns))


def _note(service: Service, began_ns: int) -> bytes:
    usage = getattr(service, "pool_bytes", None)
    used, held = usage() if usage is not None else (0, 0)
    return CALL_NOTE.pack(began_ns, time.monotonic_ns(), used, held)


def _report(error: Exception, trace: bytes = b"") -> None:
    """Errors of the tree are answers; anything else is a defect whose trace must not be lost. trace: of the frame."""
    if not isinstance(error, PerceptError):
        if trace:
            print(f"worker: in a call of trace {_trace_id(trace)}:", file=sys.stderr)
        traceback.print_exception(error, file=sys.stderr)


def _trace_id(context: bytes) -> str:
    high, low = struct.unpack_from("<QQ", context) if len(context) >= 16 else (0, 0)
    return f"{high << 64 | low:032x}"


def _die_with_parent(parent_pid: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the line above
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
