"""Shared-memory segments under /dev/shm: created whole, owner-only, and removed after their owner died.

A segment appears under its name only when it is complete (it is built as an unnamed file and then linked), so a kill
at any moment leaves either nothing or a whole segment. The owner holds an exclusive ``flock`` and writes its pid and
start time into the header; ``remove_stale`` unlinks the segments whose owner is gone.
"""

from __future__ import annotations

import fcntl
import itertools
import mmap
import os
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from percept_ros.errors import InputError, ResourceExhausted
from percept_ros.types import U8

FOLDER = Path("/dev/shm")
PREFIX = "percept."
HEADER_BYTES = 4096
HEAD_OFFSET = 128
SLOT_CONTROL_BYTES = 64
_HEADER = struct.Struct("<8sIIQQIIQQ")
_MAGIC = b"PERCRING"
_VERSION = 1
_NAME = re.compile(r"percept\.[A-Za-z0-9_-]{1,120}\.[0-9]{1,10}-[0-9a-f]{1,16}-[0-9]{1,10}")
_PAGE = mmap.PAGESIZE
_made = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Layout:
    """Geometry and owner of a segment.

    slot_bytes: payload bytes a slot can hold. pitch_bytes: distance from slot to slot. owner_start: start time of the
    owner in clock ticks since boot. pid_namespace: inode of the owner's pid namespace.
    """

    slots: int
    slot_bytes: int
    pitch_bytes: int
    owner_pid: int
    owner_start: int
    pid_namespace: int

    @property
    def total_bytes(self) -> int:
        """Size of the whole segment."""
        return HEADER_BYTES + self.slots * self.pitch_bytes

    def pack(self) -> bytes:
        """Header bytes."""
        return _HEADER.pack(
            _MAGIC,
            _VERSION,
            self.slots,
            self.slot_bytes,
            self.pitch_bytes,
            self.owner_pid,
            0,
            self.owner_start,
            self.pid_namespace,
        )

    @staticmethod
    def unpack(raw: bytes, name: str) -> Layout:
        """Read header bytes. Raises InputError (reason ``ring_invalid``)."""
        if len(raw) < _HEADER.size:
            raise InputError(f"segment '{name}' is {len(raw)} bytes, too short for a ring header", "ring_invalid")
        magic, version, slots, slot_bytes, pitch, pid, _, start, namespace = _HEADER.unpack_from(raw)
        layout = Layout(slots, slot_bytes, pitch, pid, start, namespace)
        sane = slots > 0 and pitch >= slot_bytes + SLOT_CONTROL_BYTES and pitch % 8 == 0
        if magic != _MAGIC or version != _VERSION or not sane:
            raise InputError(f"segment '{name}' is not a frame ring of version {_VERSION}", "ring_invalid")
        return layout


class Segment:
    """One mapped segment. ``memory`` (total_bytes,) uint8 covers it; read-only unless this process created it."""

    def __init__(self, name: str, fd: int, layout: Layout, *, writable: bool) -> None:
        self.name, self.layout = name, layout
        self._fd = fd
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        self._map = mmap.mmap(fd, layout.total_bytes, flags=flags, prot=access)
        self.memory: U8 = np.frombuffer(self._map, np.uint8)
        self.address = self.memory.ctypes.data
        self.head = self.address + HEAD_OFFSET
        self.slot_bytes = layout.slot_bytes

    def slot_address(self, slot: int) -> int:
        """Address of the control line of ``slot``."""
        return self.address + self.slot_offset(slot)

    def slot_offset(self, slot: int) -> int:
        """Offset of the control line of ``slot`` in ``memory``."""
        return HEADER_BYTES + slot * self.layout.pitch_bytes

    @property
    def linked(self) -> bool:
        """Whether the name still leads to this segment (False once its owner or a cleaner removed it)."""
        return os.fstat(self._fd).st_nlink > 0

    def unlink(self) -> None:
        """Remove the name; mappings stay usable."""
        (FOLDER / self.name).unlink(missing_ok=True)

    def close(self) -> None:
        """Drop the lock and the mapping (kept by the interpreter while views of it live). Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self.memory = np.zeros(0, np.uint8)
            self.address = 0
            del self._map


def create(ring: str, slots: int, slot_bytes: int) -> Segment:
    """Make a segment for ``ring`` owned by this process, memory reserved. No name is ever used twice: readers keep mappings by name.

    Raises ResourceExhausted when /dev/shm has no room, ValueError for a bad ring name.
    """
    pid, start = os.getpid(), process_start(os.getpid())
    name = f"{PREFIX}{ring}.{pid}-{start or 0:x}-{next(_made)}"
    if not _NAME.fullmatch(name):
        raise ValueError(f"ring name '{ring}' may hold letters, digits, '_' and '-' only, at most 120")
    pitch = -(-(slot_bytes + SLOT_CONTROL_BYTES) // _PAGE) * _PAGE
    layout = Layout(slots, slot_bytes, pitch, pid, start or 0, _pid_namespace())
    fd = os.open(FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(fd, 0o600)
        os.posix_fallocate(fd, 0, layout.total_bytes)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(fd, layout.pack(), 0)
        segment = Segment(name, fd, layout, writable=True)
        _link(fd, name)
    except OSError as exc:
        os.close(fd)
        raise ResourceExhausted(
            f"cannot make shared-memory segment '{name}' of {layout.total_bytes} bytes in {FOLDER}: {exc.strerror};"
            f" {free_bytes()} bytes are free there"
        ) from exc
    return segment


def attach(name: str) -> Segment:
    """Map the segment ``name`` read-only.

    Raises InputError with reason ``ring_invalid`` (bad name, foreign owner, loose permissions, wrong size) or
    ``ring_gone`` (it no longer exists).
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"'{name}' is not a ring segment name", "ring_invalid")
    try:
        fd = os.open(FOLDER / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as exc:
        raise InputError(f"ring segment '{name}' cannot be opened: {exc.strerror}", "ring_gone") from exc
    try:
        info = os.fstat(fd)
        if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) != 0o600:
            raise InputError(f"ring segment '{name}' is not a private file of this user", "ring_invalid")
        layout = Layout.unpack(os.pread(fd, _HEADER.size, 0), name)
        if layout.total_bytes != info.st_size:
            raise InputError(
                f"ring segment '{name}' is {info.st_size} bytes, expected {layout.total_bytes}", "ring_invalid"
            )
        return Segment(name, fd, layout, writable=False)
    except InputError:
        os.close(fd)
        raise


def names(ring: str = "") -> list[str]:
    """Names of the segments of ``ring`` (all rings when empty), oldest first."""
    start = f"{PREFIX}{ring}." if ring else PREFIX
    found = [n for n in os.listdir(FOLDER) if n.startswith(start) and _NAME.fullmatch(n)]
    return sorted(found, key=_creation_key)


def remove_stale() -> list[str]:
    """Unlink segments whose owner is dead; returns their names. Segments of other users are left alone."""
    return [name for name in names() if _unlink_if_stale(FOLDER / name)]


def process_start(pid: int) -> int | None:
    """Start time of process ``pid`` in clock ticks since boot, or None when there is no such (or only a dead) process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def free_bytes() -> int:
    """Bytes that /dev/shm can still give."""
    info = os.statvfs(FOLDER)
    return info.f_bavail * info.f_frsize


def _creation_key(name: str) -> tuple[int, int]:
    try:
        return (FOLDER / name).stat().st_mtime_ns, int(name.rpartition("-")[2])
    except OSError:
        return 0, 0


def _unlink_if_stale(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if os.fstat(fd).st_uid != os.geteuid() or not (_lock_is_free(fd) or _owner_is_dead(fd, path.name)):
            return False
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(fd)


def _lock_is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _owner_is_dead(fd: int, name: str) -> bool:
    """The lock may live on in a forked child of the owner; the header's pid and start time decide then."""
    try:
        layout = Layout.unpack(os.pread(fd, _HEADER.size, 0), name)
    except InputError:
        return False
    same_namespace = layout.pid_namespace == _pid_namespace()
    return same_namespace and process_start(layout.owner_pid) != layout.owner_start


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _link(fd: int, name: str) -> None:
    folder = os.open(FOLDER, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With a directory descriptor given, link() becomes linkat(AT_SYMLINK_FOLLOW), as unnamed files need.
        os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(folder)
