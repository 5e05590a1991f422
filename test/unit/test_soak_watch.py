"""What a soak says of the growth of a process."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.nodes.soak_watch import _figures

N = 240


def life(memory_kb: np.ndarray, descriptors: np.ndarray) -> np.ndarray:
    """A sample every 5 s."""
    seconds = 5.0 * np.arange(N)
    return np.column_stack([seconds, memory_kb, np.full(N, 6.0), descriptors, 0.1 * seconds])


def test_a_leak_is_seen() -> None:
    found = _figures(life(100_000.0 + 50.0 * np.arange(N), 20.0 + np.arange(N) // 24))
    assert found["memory_slope_kb_per_1000"] == pytest.approx(1000.0)
    assert found["descriptors_growth"] >= 6
    assert found["threads_growth"] == 0
    assert found["cpu_share"] == pytest.approx(0.1)


def test_a_spare_worker_that_takes_up_a_model_has_not_leaked() -> None:
    serving = np.arange(N) >= 180
    found = _figures(life(np.where(serving, 78_000.0, 23_700.0), np.where(serving, 24.0, 20.0)))
    assert found["memory_slope_kb_per_1000"] == pytest.approx(0.0, abs=1e-6)
    assert found["descriptors_growth"] == 0
