"""Finds tracks again by their ids, all at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from percept_ros.types import I64, U8

U64 = npt.NDArray[np.uint64]


def keys_of(ids: U8) -> U64:
    """(N,) keys of ids (N, 16): both halves of the UUID folded into one word."""
    halves = np.ascontiguousarray(ids).view(np.uint64)
    return np.asarray(halves[:, 0] ^ (halves[:, 1] * np.uint64(0x9E3779B97F4A7C15)), np.uint64)


class TrackRows:
    """Rows of tracks by key. keys: (N,) of ``keys_of``; sorted: (N,) the same, ascending; order: (N,) rows of these."""

    def __init__(self, keys: U64) -> None:
        self.keys = keys
        self.order = np.argsort(keys)
        self.sorted = keys[self.order]

    @classmethod
    def of(cls, keys: U64, ascending: U64, order: I64) -> TrackRows:
        """From rows that are sorted already."""
        rows = cls.__new__(cls)
        rows.keys, rows.sorted, rows.order = keys, ascending, order
        return rows

    def find(self, keys: U64) -> I64:
        """(M,) row of each key, -1 where it is not there."""
        if not len(self.sorted):
            return np.full(len(keys), -1, np.int64)
        place = np.minimum(np.searchsorted(self.sorted, keys), len(self.sorted) - 1)
        return np.where(self.sorted[place] == keys, self.order[place], -1).astype(np.int64)
