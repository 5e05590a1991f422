"""A block of anonymous shared memory through which two processes hand arrays over.

One side writes arrays one after the other and sends fixed binary descriptors; the other looks at them in place. The
block has no name, so nothing is left behind whoever dies, and it is sealed, so neither side can shrink it under the
other. A request that does not fit makes a new, larger block.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import InputError

DESCRIPTOR = struct.Struct("<BB6x6IQ")
"""dtype code, number of axes, six axis lengths, byte offset: 40 bytes."""
DTYPES = tuple(np.dtype(kind) for kind in ("u1", "i1", "?", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"))
_CODES = {dtype: code for code, dtype in enumerate(DTYPES)}
_ALIGN = 64
_MAX_AXES = 6
_SEALS = 0x2 | 0x4  # F_SEAL_SHRINK | F_SEAL_GROW
_F_ADD_SEALS = 1033


class Arena:
    """One mapped block. Make it with ``create`` (writing side) or ``attach`` (reading side, read-only)."""

    def __init__(self, fd: int, nbytes: int, *, writable: bool) -> None:
        self.fd, self.nbytes = fd, nbytes
        access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self._map = mmap.mmap(fd, nbytes, flags=mmap.MAP_SHARED, prot=access)
        self._memory = np.frombuffer(self._map, np.uint8)

    @staticmethod
    def create(nbytes: int) -> Arena:
        """A new block of at least ``nbytes``."""
        size = max(1, -(-nbytes // mmap.PAGESIZE)) * mmap.PAGESIZE
        fd = os.memfd_create("percept-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
        return Arena(fd, size, writable=True)

    @staticmethod
    def attach(fd: int) -> Arena:
        """Map a block that another process made; takes the descriptor over."""
        return Arena(fd, os.fstat(fd).st_size, writable=False)

    def put(self, arrays: Sequence[npt.NDArray[Any]]) -> bytes:
        """Copy ``arrays`` in from the start (what was there is overwritten); returns their descriptors.

        Raises InputError for an unsupported dtype or more than six axes, ValueError when they do not fit.
        """
        described, offset = [], 0
        for array in arrays:
            described.append(_describe(array, offset))
            end = offset + array.nbytes
            if end > self.nbytes:
                raise ValueError(f"arrays of {needed_bytes(arrays)} bytes do not fit into {self.nbytes}")
            self._memory[offset:end].view(array.dtype).reshape(array.shape)[...] = array
            offset = -(-end // _ALIGN) * _ALIGN
        return b"".join(described)

    def views(self, descriptors: bytes) -> list[npt.NDArray[Any]]:
        """The arrays that ``descriptors`` name, in place. Raises InputError when one lies outside the block."""
        return [
            self._view(*DESCRIPTOR.unpack_from(descriptors, at)) for at in range(0, len(descriptors), DESCRIPTOR.size)
        ]

    def close(self) -> None:
        """Drop the mapping (kept by the interpreter while views of it live). Safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self._memory = np.zeros(0, np.uint8)
            del self._map

    def _view(self, code: int, axes: int, *rest: int) -> npt.NDArray[Any]:
        if code >= len(DTYPES) or axes > _MAX_AXES:
            raise InputError(f"array descriptor has dtype code {code} and {axes} axes", "arena_invalid")
        shape, offset = rest[:axes], rest[_MAX_AXES]
        nbytes = DTYPES[code].itemsize
        for length in shape:
            nbytes *= length
        if offset + nbytes > self.nbytes:
            raise InputError(f"array descriptor names bytes to {offset + nbytes} of {self.nbytes}", "arena_invalid")
        return self._memory[offset : offset + nbytes].view(DTYPES[code]).reshape(shape)


def needed_bytes(arrays: Sequence[npt.NDArray[Any]]) -> int:
    """Bytes that ``arrays`` take in a block."""
    return sum(-(-array.nbytes // _ALIGN) * _ALIGN for array in arrays)


def _describe(array: npt.NDArray[Any], offset: int) -> bytes:
    code = _CODES.get(array.dtype)
    if code is None or array.ndim > _MAX_AXES:
        raise InputError(f"an array of {array.dtype}{list(array.shape)} cannot cross to a worker", "arena_dtype")
    return DESCRIPTOR.pack(code, array.ndim, *array.shape, *(0,) * (_MAX_AXES - array.ndim), offset)
