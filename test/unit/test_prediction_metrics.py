"""Metrics of paths, trajectories and cases, the folds, and the gate over recorded cases, against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from percept_ros.core.path_gate import EXPERTS, NETWORK, Prior, SkillSettings
from percept_ros.detectors.path_model import PathOutput
from percept_ros.errors import ManifestError, RecordingError
from percept_ros.evaluate import prediction as metrics
from percept_ros.evaluate.prediction_data import Trajectory, cases, cut, eth_ucy, kitti, runs
from percept_ros.evaluate.prediction_folds import ALL, fold_folder, folds, models_for
from percept_ros.evaluate.prediction_gate import early_steps, gate, marks

LINE = np.stack([np.arange(10.0), np.zeros(10)], axis=1)


def test_ade_fde_and_miss_rate() -> None:
    truth = np.zeros((2, 2, 2))
    paths = np.array([[[3.0, 4.0], [0.0, 1.0]], [[0.0, 0.0], [6.0, 8.0]]])
    off = metrics.distances(paths, truth)
    assert off.tolist() == [[5, 1], [0, 10]]
    assert metrics.ade(off) == 4.0
    assert metrics.fde(off) == 5.5
    assert metrics.miss_rate(off) == 0.5
    assert np.isnan(metrics.ade(off[:0]))


def test_the_least_of_several_paths_counts() -> None:
    several = np.array([[[1.0, 3.0], [2.0, 1.0]], [[4.0, 4.0], [5.0, 5.0]]])  # cases, paths, steps
    assert metrics.min_ade(several) == pytest.approx((1.5 + 4.0) / 2)


def test_calibration_of_normal_errors() -> None:
    rng = np.random.default_rng(0)
    off = np.hypot(*rng.normal(0.0, 2.0, (2, 20000, 3)))
    found = metrics.calibration(off, np.full((20000, 3), 2.0))
    assert found["inside_1_sigma"] == pytest.approx(found["expected_1_sigma"], abs=0.01)
    assert found["inside_2_sigma"] == pytest.approx(found["expected_2_sigma"], abs=0.01)


def test_horizons_are_whole_seconds() -> None:
    off = np.arange(1.0, 31.0)[None]
    assert metrics.by_horizon(off, 0.1) == {"1s": 10.0, "2s": 20.0, "3s": 30.0}
    assert metrics.by_horizon(off[:, :12], 0.4) == {"1s": 2.0, "2s": 5.0, "3s": 8.0, "4s": 10.0}


def test_moving_is_getting_on_by_half_a_metre_a_second() -> None:
    past, future = LINE[None, :4] * 0.04, LINE[None, 4:] * 0.06
    assert metrics.moves(past, future, 0.1).tolist() == [True]  # 0.54 m in 0.9 s
    assert metrics.moves(past * 0.5, future * 0.5, 0.1).tolist() == [False]


def test_comparison_puts_baselines_beside_and_splits_moving_from_parked() -> None:
    errors = {"model": np.array([[1.0, 1.0], [3.0, 3.0]]), "cv": np.array([[2.0, 2.0], [2.0, 6.0]])}
    found = metrics.compare(errors, np.array([True, False]), 0.5)
    assert found["ADE"] == 2.0
    assert found["cv_ADE"] == 3.0
    assert found["ratio_to_cv"] == pytest.approx(2 / 3)
    assert found["FDE_ratio_to_cv"] == 0.5
    assert found["moving"]["ADE"] == 1.0
    assert found["parked"]["cv_FDE"] == 6.0


def test_trajectories_are_cut_where_a_step_is_missing() -> None:
    assert runs(np.array([3, 4, 6, 7, 8])) == [slice(0, 2), slice(2, 5)]
    found = cut("a", 0, np.array([7, 3, 4, 6, 10]), LINE[:5])
    assert [(t.start, len(t.truth)) for t in found] == [(3, 2), (6, 2)]
    assert found[1].truth[:, 0].tolist() == [3, 0]


def test_cases_hold_past_and_future_of_every_moment() -> None:
    found = cases([Trajectory("a", 5, 1, LINE, LINE)], 0.1, 4, 3)
    assert len(found) == 4
    assert found.at.tolist() == [8, 9, 10, 11]
    assert found.past_m[0, :, 0].tolist() == [0, 1, 2, 3]
    assert found.future_m[0, :, 0].tolist() == [4, 5, 6]
    assert found.velocity_mps is None
    ragged = cases([Trajectory("a", 0, 1, LINE, LINE, LINE)], 0.1, 4, 3, whole=False)
    assert len(ragged) == 6
    assert np.isnan(ragged.future_m[-1, 1:]).all()
    assert ragged.velocity_mps is not None


def test_eth_files_are_read_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "eth" / "test"
    folder.mkdir(parents=True)
    rows = [(10 * k, p, k + p, 2 * p) for k in range(4) for p in (1, 2) if not (p == 2 and k == 1)]
    (folder / "biwi_eth.txt").write_text("\n".join("\t".join(map(str, r)) for r in rows), encoding="utf-8")
    found = eth_ucy(tmp_path, "test", ["eth"])["eth"]
    assert [(t.start, len(t.truth)) for t in found] == [(0, 4), (2, 2)]
    assert found[0].truth.tolist() == [[1, 2], [2, 2], [3, 2], [4, 2]]
    with pytest.raises(RecordingError, match="no hotel/test"):
        eth_ucy(tmp_path, "test", ["hotel"])
    with pytest.raises(RecordingError, match="label_02"):
        kitti(tmp_path)


def test_every_sequence_is_answered_by_a_model_that_did_not_see_it(tmp_path: Path) -> None:
    names = ["0", "1", "2", "3", "4", "5"]
    groups = folds(names, 5)
    assert sorted(n for g in groups for n in g) == names
    assert groups[0] == ("0", "5")
    for group in groups:
        fold_folder(tmp_path, group).mkdir()
    (tmp_path / ALL).mkdir()
    found = models_for(tmp_path, [*names, "new"])
    assert found[tmp_path / "without_0_5"] == ("0", "5")
    assert found[tmp_path / ALL] == ("new",)
    (tmp_path / ALL).rmdir()
    with pytest.raises(ManifestError, match="no fold for sequence 'new'"):
        models_for(tmp_path, ["new"])
    (tmp_path / "model.yaml").touch()
    assert models_for(tmp_path, ["a", "b"]) == {tmp_path: ("a", "b")}


def test_the_gate_over_cases_knows_only_what_has_happened() -> None:
    """The network is three times as good; the gate may use it from the first judged moment on, never before."""
    count = 30
    trajectories = [Trajectory("a", 0, 0, *[np.cumsum(np.ones((count, 2)), axis=0)] * 2)]
    chosen = cases(trajectories, 0.1, 4, 6)
    errors = np.ones((len(EXPERTS), len(chosen), 6))
    errors[NETWORK] = 0.33
    early = errors[:, :, :1]
    doubt = {"car": Prior(network=1.05)}
    output = PathOutput(priors=doubt, skill=SkillSettings(prior_weight=0.5))
    share, straight = gate(chosen, errors, early, output)
    assert marks(6) == (2, 4, 6)
    assert early_steps(6) == 2
    assert not share[:6].any(), "nothing was judged six steps ahead yet"
    assert share[-1] == 1.0
    assert set(straight) <= set(range(1, len(EXPERTS)))
    other = replace(chosen, sequences=np.array([str(i) for i in range(len(chosen))]))
    assert not gate(other, errors, early, output)[0].any(), "another sequence's outcomes count for nothing"
