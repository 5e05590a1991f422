"""Pool of aligned tensor buffers that are reused from frame to frame.

Blocks come in sizes of powers of two up to 16 MB and multiples of 16 MB above. A block goes back when its tensor is
released, or by itself once the array and every view of it are gone, so that an exception or a dropped frame leaks
nothing.
"""

from __future__ import annotations

import functools
import math
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import ResourceExhausted

ALIGNMENT = 128
SMALLEST_BYTES = 4096
LARGEST_CLASS_BYTES = 16 << 20

Block = npt.NDArray[np.uint8]
Allocator = Callable[[int], Block]


@dataclass(frozen=True, slots=True)
class PoolMetrics:
    """Usage of a pool. hits, misses: takes answered from held blocks or by new ones. leaked: blocks whose tensor was
    dropped without release. held_bytes: all blocks, idle or in use."""

    hits: int
    misses: int
    refused: int
    in_use: int
    in_use_bytes: int
    held_bytes: int
    peak_bytes: int
    leaked: int


def size_class(nbytes: int) -> int:
    """Bytes of the block that serves ``nbytes``: a power of two from 4 kB to 16 MB, then multiples of 16 MB."""
    if nbytes > LARGEST_CLASS_BYTES:
        return math.ceil(nbytes / LARGEST_CLASS_BYTES) * LARGEST_CLASS_BYTES
    return max(SMALLEST_BYTES, 1 << (max(nbytes, 1) - 1).bit_length())


def host_block(nbytes: int) -> Block:
    """(nbytes,) uint8 of ordinary memory, aligned."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


class PooledTensor:
    """A lease on a block. ``array`` holds garbage from earlier use until written."""

    __slots__ = ("_finalizer", "_pool", "array")

    def __init__(self, pool: TensorPool, block: Block, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        count = math.prod(shape)
        # numpy collapses chains of views, but only down to the array over a memoryview: each view keeps `root`.
        root = np.frombuffer(block.data, dtype=dtype, count=count) if count else np.empty(0, dtype)
        self.array: npt.NDArray[Any] = root.reshape(shape)
        self._pool = pool
        self._finalizer = weakref.finalize(root, pool._dropped.append, block)
        self._finalizer.atexit = False

    def release(self) -> None:
        """Hand the block back now; the caller promises that no view is used any more. Safe to call twice."""
        if (alive := self._finalizer.detach()) is not None:
            self._pool._give_back(alive[2][0])

    def __enter__(self) -> PooledTensor:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class TensorPool:
    """Bounded pool. All methods may be called from any thread.

    capacity_bytes: most that blocks in use and idle may hold together; idle blocks of other sizes are freed first.
    """

    def __init__(self, capacity_bytes: int = 256 << 20, allocate: Allocator = host_block) -> None:
        self._capacity = capacity_bytes
        self._allocate = allocate
        self._lock = threading.Lock()
        self._idle: dict[int, list[Block]] = {}
        self._dropped: deque[Block] = deque()  # filled by the garbage collector, which must not take the lock
        self._hits = self._misses = self._refused = self._leaked = 0
        self._in_use = self._in_use_bytes = self._idle_bytes = self._peak = 0

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> PooledTensor:
        """A C-contiguous tensor, aligned to ``ALIGNMENT`` bytes. Raises ResourceExhausted at the capacity."""
        kind = np.dtype(dtype)
        size = size_class(math.prod(shape) * kind.itemsize)
        with self._lock:
            self._collect()
            block = self._reuse(size)
            if block is None:
                block = self._grow(size)
            self._in_use += 1
            self._in_use_bytes += size
            self._peak = max(self._peak, self._in_use_bytes)
        return PooledTensor(self, block, shape, kind)

    def metrics(self) -> PoolMetrics:
        """Usage so far."""
        with self._lock:
            self._collect()
            return PoolMetrics(
                hits=self._hits,
                misses=self._misses,
                refused=self._refused,
                in_use=self._in_use,
                in_use_bytes=self._in_use_bytes,
                held_bytes=self._in_use_bytes + self._idle_bytes,
                peak_bytes=self._peak,
                leaked=self._leaked,
            )

    def trim(self) -> None:
        """Free all idle blocks."""
        with self._lock:
            self._collect()
            self._idle.clear()
            self._idle_bytes = 0

    def _reuse(self, size: int) -> Block | None:
        if not (idle := self._idle.get(size)):
            return None
        self._hits += 1
        self._idle_bytes -= size
        return idle.pop()

    def _grow(self, size: int) -> Block:
        while self._in_use_bytes + self._idle_bytes + size > self._capacity and self._idle_bytes:
            largest = max(s for s, blocks in self._idle.items() if blocks)
            self._idle[largest].pop()
            self._idle_bytes -= largest
        if self._in_use_bytes + size > self._capacity:
            self._refused += 1
            raise ResourceExhausted(
                f"tensor pool: {size} bytes asked, {self._in_use_bytes} of {self._capacity} in use by {self._in_use}"
                " tensors: release tensors earlier or give the pool more"
            )
        self._misses += 1
        return self._allocate(size)

    def _give_back(self, block: Block) -> None:
        with self._lock:
            self._put(block)

    def _put(self, block: Block) -> None:
        self._idle.setdefault(block.nbytes, []).append(block)
        self._idle_bytes += block.nbytes
        self._in_use -= 1
        self._in_use_bytes -= block.nbytes

    def _collect(self) -> None:
        while self._dropped:
            self._put(self._dropped.popleft())
            self._leaked += 1


@functools.cache
def shared_pool() -> TensorPool:
    """The process-wide pool of host memory."""
    return TensorPool()
