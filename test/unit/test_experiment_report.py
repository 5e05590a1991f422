"""Figures and reports of experiments, on records whose outcome is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_experiment_detector import experiment

from percept_ros.detectors.experiment_log import ANSWER, SHADOW, Record
from percept_ros.errors import RecordingError
from percept_ros.evaluate.experiment import summarise
from percept_ros.evaluate.experiment_report import write_report


def records() -> list[Record]:
    """Group a: 100 good frames of 10 or 12 ms. b: 90 good of 20 or 22 ms and 10 bad. c looks on at a, differs in 25."""
    rows = [Record(i, "a", ANSWER, True, 10.0 + 2.0 * (i % 2), 3) for i in range(100)]
    rows += [Record(1000 + i, "b", ANSWER, i >= 10, 20.0 + 2.0 * (i % 2), 3) for i in range(100)]
    rows += [
        Record(i, "c", SHADOW, True, 6.0 + 2.0 * (i % 2), 3, against="a", against_ms=10.0 + 2.0 * (i % 2), matched=2,
               only_against=int(i < 25), disagreement=0.6 if i < 25 else 0.0)
        for i in range(100)
    ]  # fmt: skip
    return rows


def test_rates_and_differences_by_hand() -> None:
    found = summarise(records())
    assert found["control"] == "a"
    assert found["frames"] == 200
    b = found["groups"]["b"]
    assert (b["frames"], b["failed"], b["success_rate"]) == (100, 10, 0.9)
    low, high = b["success_rate_95"]
    z, n, p = 1.959964, 100, 0.9  # Wilson 1927
    middle, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)),
    )
    assert (low, high) == (pytest.approx(middle - half, abs=1e-6), pytest.approx(middle + half, abs=1e-6))
    against = found["against_control"]["b"]
    assert against["latency_difference_ms"] == pytest.approx(10.0)
    low, high = against["latency_difference_ms_95"]
    assert low < 10.0 < high
    assert high - low < 1.0
    assert against["success_rate_difference"] == pytest.approx(-0.1)
    assert against["success_rate_difference_95"][1] < 0.0
    pair = found["shadows"]["c_beside_a"]
    assert (pair["frames_that_differ"], pair["frames_that_differ_rate"]) == (25, 0.25)
    assert pair["latency_difference_ms"] == pytest.approx(-4.0)
    assert (pair["boxes_matched"], pair["boxes_only_against"]) == (200, 25)


def test_a_report_holds_tables_and_pictures(tmp_path: Path) -> None:
    with experiment(tmp_path) as bench:
        bench.run(40)
        state = bench.detector.state
    out = tmp_path / "out"
    summary = write_report(bench.log, out, state=state)
    assert summary["control"] == "a"
    assert {"latency.png", "disagreement.png", "differs-1.png"} <= set(summary["pictures"])
    assert all((out / name).stat().st_size > 5000 for name in summary["pictures"])
    assert json.loads((out / "summary.json").read_text())["state"]["experiment"] == "trial"
    page = (out / "report.html").read_text()
    assert "differs-1.png" in page
    assert "success_rate_95" in page
    with pytest.raises(RecordingError, match="holds no records"):
        write_report(tmp_path, out)
