"""A private view of /dev/shm and of the log folder for a soak and its children, so that both can be filled up safely."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x00020000, 0x4000, 1 << 18


@dataclass(frozen=True, slots=True)
class Sandbox:
    """private: whether /dev/shm and the logs are ours alone. refusal: why not."""

    private: bool
    refusal: str = ""


def enter_sandbox(logs: Path, shared_memory_mb: int = 3000, logs_mb: int = 16) -> Sandbox:
    """Give this process and its children a /dev/shm and a log folder of their own, in memory, of bounded size.

    Call it from the main thread before other threads start. Needs CAP_SYS_ADMIN; without it nothing is changed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _check(libc.unshare(_CLONE_NEWNS))
        _check(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
        _mount(libc, SHARED_MEMORY, shared_memory_mb, 0o1777)
        _mount(libc, logs, logs_mb, 0o755)
    except OSError as exc:
        return Sandbox(False, f"no mount namespace of its own ({exc.strerror}): give CAP_SYS_ADMIN")
    return Sandbox(True)


def _mount(libc: ctypes.CDLL, where: Path, size_mb: int, mode: int) -> None:
    options = f"size={size_mb}m,mode={mode:o}".encode()
    _check(libc.mount(b"tmpfs", os.fsencode(where), b"tmpfs", 0, options))


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Filler:
    """Takes every free byte of a folder's file system while entered."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "filler"

    def __enter__(self) -> Filler:
        fd = os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            for _ in range(64):
                info = os.fstatvfs(fd)
                free = info.f_bavail * info.f_frsize
                if not free:
                    break
                os.posix_fallocate(fd, os.fstat(fd).st_size, free)
        except OSError:
            pass  # full: that is what was wanted
        finally:
            os.close(fd)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.unlink(missing_ok=True)
