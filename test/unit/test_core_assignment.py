"""The assignment equals scipy's in total gain, for all shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from percept_ros.core.assignment import best_assignment


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_total_gain_is_the_largest(rows: int, columns: int, seed: int, zeros: float) -> None:
    rng = np.random.default_rng(seed)
    gain = np.where(rng.random((rows, columns)) < zeros, 0.0, rng.normal(size=(rows, columns)))
    found_rows, found_columns = best_assignment(gain)
    assert len(found_rows) == min(rows, columns)
    assert len(set(found_columns.tolist())) == len(found_columns)
    wanted = gain[linear_sum_assignment(gain, maximize=True)].sum()
    assert gain[found_rows, found_columns].sum() == pytest.approx(wanted, abs=1e-9)


def test_gains_must_be_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        best_assignment(np.array([[np.nan]]))
