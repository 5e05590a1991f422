"""The right to publish, shared by a leader and its standby in shared memory, with the state that the next one goes on with.

One process holds the lease. Every publication happens under a lock on the file, after a look at who holds the lease, and
takes the next sequence number: two holders' arrays never mix, and the numbers go on whoever publishes. The kernel drops the
lock of a process that dies, and the state is written into two buffers in turn, so a kill at any moment leaves a whole one.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from percept_ros.errors import ResourceExhausted
from percept_ros.runtime.segment import FOLDER

STATE_BYTES = 2 << 20
_HEAD_BYTES = 4096
_MAGIC = 0x5045524C45415345
_MAGIC_AT, _HOLDER, _BEAT, _SEQUENCE, _BUFFER, _LENGTH_0, _LENGTH_1, _WRITTEN, _TAKEN = range(9)


class Lease:
    """One end of the lease ``name``. One thread, but ``silent_ns`` and ``held`` may be asked from any.

    Raises ResourceExhausted when /dev/shm has no room for it.
    """

    def __init__(self, name: str) -> None:
        self._path = FOLDER / f"percept-lease.{name}"
        self._me = secrets.randbits(62) + 1
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        size = _HEAD_BYTES + 2 * STATE_BYTES
        try:
            if os.fstat(self._fd).st_size < size:  # whoever comes later must not keep the holder waiting for the lock
                with self._locked():
                    os.posix_fallocate(self._fd, 0, size)
            self._map = mmap.mmap(self._fd, size)
            self._head = np.frombuffer(self._map, np.int64, _HEAD_BYTES // 8)
            if self._head[_MAGIC_AT] != _MAGIC:
                self._begin()
        except OSError as exc:
            os.close(self._fd)
            raise ResourceExhausted(f"no room for '{self._path}' of {size} bytes: {exc.strerror}") from exc

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def held(self) -> bool:
        """Whether this end holds the lease."""
        return int(self._head[_HOLDER]) == self._me

    @property
    def used(self) -> bool:
        """Whether anything was ever published under this lease."""
        return int(self._head[_BEAT]) > 0

    def silent_ns(self) -> int:
        """Time since whoever holds the lease took it or last published."""
        return time.monotonic_ns() - max(int(self._head[_BEAT]), int(self._head[_TAKEN]))

    def take(self, fresh_ns: int) -> bytes | None:
        """Become the holder; the state that was saved last, None when there is none or it is older than ``fresh_ns``."""
        with self._locked():
            self._head[_HOLDER] = self._me
            self._head[_TAKEN] = time.monotonic_ns()
            if time.monotonic_ns() - int(self._head[_WRITTEN]) > fresh_ns:
                return None
            which = int(self._head[_BUFFER])
            length = int(self._head[_LENGTH_0 + which])
            begin = _HEAD_BYTES + which * STATE_BYTES
            return bytes(self._map[begin : begin + length]) if 0 < length <= STATE_BYTES else None

    def publish(self, send: Callable[[int], None], state: bytes | None) -> bool:
        """Call ``send`` with the next sequence number and keep ``state``, unless another process holds the lease (False)."""
        with self._locked():
            if not self.held:
                return False
            number = int(self._head[_SEQUENCE])
            self._head[_SEQUENCE] = number + 1
            send(number)
            self._head[_BEAT] = time.monotonic_ns()
            if state is not None and len(state) <= STATE_BYTES:
                self._keep(state)
            return True

    def close(self) -> None:
        """Give the lease back. Safe to call twice."""
        if self._fd < 0:
            return
        with self._locked():
            if self.held:
                self._head[_HOLDER] = 0
        del self._head
        with contextlib.suppress(BufferError):
            self._map.close()
        os.close(self._fd)
        self._fd = -1

    def _begin(self) -> None:
        with self._locked():
            if self._head[_MAGIC_AT] != _MAGIC:
                self._head[:] = 0
                self._head[_MAGIC_AT] = _MAGIC

    def _keep(self, state: bytes) -> None:
        which = 1 - int(self._head[_BUFFER])
        begin = _HEAD_BYTES + which * STATE_BYTES
        self._map[begin : begin + len(state)] = state
        self._head[_LENGTH_0 + which] = len(state)
        self._head[_WRITTEN] = time.monotonic_ns()
        self._head[_BUFFER] = which

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)


def lease_name(namespace: str) -> str:
    """Name of the lease of the nodes in a ROS namespace of this process's DDS domain."""
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    return f"{domain}.{namespace.strip('/').replace('/', '-') or 'root'}"


def remove_lease(name: str) -> None:
    """Remove the file of a lease that nobody uses any more."""
    Path(FOLDER / f"percept-lease.{name}").unlink(missing_ok=True)
