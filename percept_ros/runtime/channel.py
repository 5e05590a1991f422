"""Messages between a process and its worker: one datagram each, arrays beside it in shared memory.

A message is a fixed header, array descriptors and a short ``meta`` whose meaning belongs to the service. Each side
writes into its own arena and passes a new one (as a file descriptor) when the old is too small.
"""

from __future__ import annotations

import array
import select
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy.typing as npt

from percept_ros.errors import InputError
from percept_ros.runtime.arena import DESCRIPTOR, Arena, needed_bytes

_HEADER = struct.Struct("<BBHIHQq")
"""Kind, whether a new arena comes along, number of arrays, bytes of meta and of note, request id, deadline (monotonic ns,
0 = none)."""
MAX_META_BYTES = 64 * 1024
MAX_NOTE_BYTES = 1024
_MAX_MESSAGE = _HEADER.size + MAX_META_BYTES + MAX_NOTE_BYTES + 512 * DESCRIPTOR.size
_FD_SPACE = socket.CMSG_SPACE(array.array("i").itemsize)
_FIRST_ARENA_BYTES = 1 << 16


class Kind(IntEnum):
    """What a message is."""

    LOAD = 1
    CONTEXT = 2
    CALL = 3
    RESULT = 4
    ERROR = 5


@dataclass(frozen=True, slots=True)
class Message:
    """One received message. arrays: views into the sender's arena, valid until its next message.

    note: what travels beside the call: trace context on the way there, times on the way back.
    """

    kind: Kind
    request: int
    deadline_ns: int
    meta: bytes
    arrays: list[npt.NDArray[Any]]
    note: bytes = b""


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """One end. All calls from one thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._outgoing: Arena | None = None
        self._incoming: Arena | None = None

    def send(
        self,
        kind: Kind,
        request: int,
        meta: bytes = b"",
        arrays: Sequence[npt.NDArray[Any]] = (),
        deadline_ns: int = 0,
        note: bytes = b"",
    ) -> None:
        """Send one message. Raises ChannelClosed, or InputError when meta is too long or an array cannot cross."""
        if len(meta) > MAX_META_BYTES or len(note) > MAX_NOTE_BYTES or len(arrays) > 512:
            raise InputError(f"{len(meta)} bytes of meta and {len(arrays)} arrays do not fit a message", "too_large")
        fresh = self._make_room(needed_bytes(arrays)) if arrays else False
        described = self._outgoing.put(arrays) if arrays and self._outgoing else b""
        header = _HEADER.pack(kind, fresh, len(arrays), len(meta), len(note), request, deadline_ns)
        parts = [header, described, meta, note]
        try:
            if fresh and self._outgoing is not None:
                socket.send_fds(self._socket, parts, [self._outgoing.fd])
            else:
                self._socket.sendmsg(parts)
        except OSError as exc:
            raise ChannelClosed from exc

    def receive(self, timeout_ns: int | None) -> Message | None:
        """The next message, or None when none came in time. Raises ChannelClosed."""
        if not self._poll.poll(None if timeout_ns is None else max(0.0, timeout_ns / 1e6)):
            return None
        try:
            raw, control, flags, _ = self._socket.recvmsg(_MAX_MESSAGE, _FD_SPACE, socket.MSG_CMSG_CLOEXEC)
        except OSError as exc:
            raise ChannelClosed from exc
        if not raw or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ChannelClosed
        return self._message(raw, control)

    def close(self) -> None:
        """Hang up and free the arenas. Safe to call twice."""
        self._socket.close()
        for arena in (self._outgoing, self._incoming):
            if arena is not None:
                arena.close()
        self._outgoing = self._incoming = None

    def _make_room(self, nbytes: int) -> bool:
        if self._outgoing is not None and nbytes <= self._outgoing.nbytes:
            return False
        old = self._outgoing
        self._outgoing = Arena.create(max(nbytes + nbytes // 4, _FIRST_ARENA_BYTES))
        if old is not None:
            old.close()
        return True

    def _message(self, raw: bytes, control: list[tuple[int, int, bytes]]) -> Message:
        kind, fresh, count, meta_bytes, note_bytes, request, deadline_ns = _HEADER.unpack_from(raw)
        if fresh:
            self._adopt(control)
        start = _HEADER.size + count * DESCRIPTOR.size
        arrays = self._incoming.views(raw[_HEADER.size : start]) if count and self._incoming else []
        end = start + meta_bytes
        return Message(Kind(kind), request, deadline_ns, raw[start:end], arrays, raw[end : end + note_bytes])

    def _adopt(self, control: list[tuple[int, int, bytes]]) -> None:
        if self._incoming is not None:
            self._incoming.close()
        fds = array.array("i")
        fds.frombytes(control[0][2][: fds.itemsize])
        self._incoming = Arena.attach(fds[0])
