"""The compiled passes of a frame of path prediction beside numpy: who the tracks are, their paths, the gate's verdict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import path_scenes
import pytest
from path_verdict import verdict

from percept_ros.config import PredictionConfig
from percept_ros.core.path_features import GROUP_OF_CLASS, one_hot
from percept_ros.core.path_frame import AnswerReader, Known, SceneReader
from percept_ros.core.path_gate import (
    EXPERTS,
    MARKS,
    TOLD,
    Familiar,
    Prior,
    SkillGate,
    SkillSettings,
    Verdict,
    familiarity,
    limits_of,
    straight_steps,
)
from percept_ros.core.path_kernel import blended_paths
from percept_ros.core.path_score import spread
from percept_ros.core.prediction import (
    classical_method,
    ctrv_paths,
    horizon_steps,
    position_and_speed_variance,
    turn_rates,
)
from percept_ros.core.track_rows import TrackRows, keys_of
from percept_ros.types import NUM_CLASSES, PredictionMethod, Tracks


def some_scene(count: int, seed: int) -> tuple[Tracks, TrackRows]:
    """Tracks of every class, fast and slow, turning or not, some without numbers."""
    rng = np.random.default_rng(seed)
    tracks = path_scenes.circling(3, rng.integers(0, 256, (count, 16), np.uint8), rng.integers(0, NUM_CLASSES, count))
    boxes, velocity = tracks.boxes.copy(), tracks.velocity_mps * rng.uniform(0.0, 1.5, (count, 1))
    boxes[::7, 0], velocity[3::9, 1] = np.nan, np.inf
    yaw_rate = rng.choice([0.0, 5e-4, 0.3, -0.3, 5.0], count)
    wide = rng.uniform(0.01, 1.0, (2, count, 6, 6))
    found = replace(tracks, boxes=boxes, velocity_mps=velocity, yaw_rate_radps=yaw_rate)
    return replace(found, pose_covariance=wide[0], twist_covariance=wide[1]), TrackRows(keys_of(tracks.id))


def test_a_scene_equals_numpy() -> None:
    config = PredictionConfig()
    tracks, rows = some_scene(60, 4)
    known_ids = np.concatenate([tracks.id[20:50][::-1], path_scenes.make_ids(9, seed=5)])
    known = Known(TrackRows(keys_of(known_ids)), np.arange(39) != 4, np.random.default_rng(6).normal(size=(39, 2)), 1.5)
    found = SceneReader(config).read(tracks, 0.1, known)
    np.testing.assert_array_equal(found.rows.keys, rows.keys)
    np.testing.assert_array_equal(found.rows.find(rows.keys), np.arange(60))
    np.testing.assert_array_equal(found.groups, GROUP_OF_CLASS[tracks.class_ids])
    np.testing.assert_array_equal(found.steps, horizon_steps(tracks, config))
    np.testing.assert_array_equal(found.turn_radps, turn_rates(tracks, config))
    usable = np.isfinite(tracks.boxes[:, :2]).all(axis=1) & np.isfinite(tracks.velocity_mps).all(axis=1)
    np.testing.assert_array_equal(found.usable, usable)
    row = known.rows.find(rows.keys)
    row[row == 4] = -1
    np.testing.assert_array_equal(found.row, row)
    np.testing.assert_array_equal(found.fresh[:, 0], row < 0)
    np.testing.assert_array_equal(found.kind, one_hot(found.groups))
    way = (tracks.boxes[:, :2] - known.position_m[row]) / 1.5
    moved = np.where((row < 0)[:, None], 0.1 * tracks.velocity_mps, way)
    np.testing.assert_allclose(found.moved_m, np.where(usable[:, None], moved, 0.0), rtol=1e-6)
    np.testing.assert_allclose(found.told_mps, np.where(usable[:, None], tracks.velocity_mps, 0.0), rtol=1e-6)
    assert not found.same
    again = Known(found.rows, np.ones(60, np.bool_), tracks.boxes[:, :2], 1.0)
    assert SceneReader(config).read(tracks, 0.1, again).same
    with pytest.raises(ValueError, match="ids"):
        SceneReader(config).read(replace(tracks, id=tracks.id[:, :8]), 0.1, None)


def test_answers_equal_numpy() -> None:
    rng, count, width, times = np.random.default_rng(9), 60, 19, 0.1 * np.arange(1.0, 31.0)
    tracks, _ = some_scene(count, 7)
    scene = SceneReader(PredictionConfig()).read(tracks, 0.1, None)
    window = rng.normal(0.5, 0.1, (count, 2, width)).astype(np.float32)
    age = rng.integers(1, 40, (count, 1)).astype(np.float32)
    learned = np.cumsum(rng.normal(0.1, 0.1, (count, 2, 48)), axis=2).astype(np.float32)
    sigma = rng.uniform(0.0, 1.0, (count, 48)).astype(np.float32)
    limits = {"car": Familiar(0.01, 0.02, 1.0), "pedestrian": Familiar(0.05, 0.2, 0.3)}
    verdict = Verdict(np.zeros(0), np.array([TOLD, 3, TOLD]), np.zeros(3), np.array([1.0, 0.7, 0.5]))
    at = np.array([9, 19, 29])
    reader = AnswerReader(limits_of(limits), 0.1)
    found = reader.read(window, age, scene, tracks, learned, sigma, at, times, verdict)
    windows, groups, here = np.swapaxes(window, 1, 2), scene.groups, tracks.boxes[:, None, :2]
    np.testing.assert_allclose(found.familiar, familiarity(windows, age[:, 0], groups, limits), atol=1e-5)
    with np.errstate(invalid="ignore"):
        straight = straight_steps(windows, tracks.velocity_mps * 0.1, age[:, 0]) / 0.1
        offsets = np.swapaxes(learned[:, :, :30], 1, 2)
        said = here + np.concatenate([offsets[None, :, at], straight[:, :, None] * times[at][:, None]])
        own_path = ctrv_paths(tracks.boxes[:, :2], tracks.velocity_mps, tracks.boxes[:, 6], scene.turn_radps, times)
        said[TOLD] = own_path[:, at, :2]
    sane = scene.usable.astype(np.bool_)  # where numbers are not, what is told does not matter
    np.testing.assert_allclose(found.said_m[:, :, sane], np.moveaxis(said, 2, 0)[:, :, sane], atol=1e-6)
    share = np.where(scene.usable, found.familiar * verdict.share[groups], 0.0)
    own, mean = verdict.straight[groups] == TOLD, straight[verdict.straight[groups] - 1, np.arange(count)]
    paths = blended_paths(
        tracks.boxes, tracks.velocity_mps, scene.turn_radps, mean, own, offsets, share, len(times), times[0]
    )
    np.testing.assert_array_equal(found.paths_m[sane], paths[sane])
    wide = spread(sigma, share, *position_and_speed_variance(tracks), times)
    np.testing.assert_allclose(found.sigma_m, wide, rtol=1e-12)
    label = np.where(own, classical_method(scene.turn_radps), PredictionMethod.CONSTANT_VELOCITY)
    np.testing.assert_array_equal(found.method, np.where(share >= 0.5, PredictionMethod.NETWORK, label))
    assert len(np.unique(found.method)) == 3
    with pytest.raises(ValueError, match="learned"):
        reader.read(window, age, scene, tracks, learned[:, :, :20], sigma, at, times, verdict)
    with pytest.raises(ValueError, match="refused"):
        reader.read(window, age, scene, tracks, learned, sigma, at + 10, times, verdict)


def test_verdicts_equal_numpy() -> None:
    rng = np.random.default_rng(12)
    for turn in range(60):
        doubt = float(rng.choice([0.0, 0.5, 2.0]))
        settings = SkillSettings(prior_weight=float(rng.choice([0.1, 5.0, 300.0])), doubt=doubt, modesty=0.9)
        priors = {
            name: Prior(*rng.uniform(0.7, 1.5, len(EXPERTS)), weight=float(rng.choice([5.0, 1e9])))
            for name in ("car", "bicycle")
        }
        gate = SkillGate(settings, priors)
        for _ in range(turn % 7):
            groups = rng.integers(0, 3, rng.integers(0, 60))
            errors = np.abs(rng.normal(1.0, 0.3, (len(EXPERTS), len(groups))))
            gate.judge(groups, errors, int(rng.integers(0, len(MARKS))))
        found, expected = gate.verdict(), verdict(gate, settings, priors)
        np.testing.assert_allclose(found.errors, expected.errors, rtol=1e-12)
        np.testing.assert_array_equal(found.straight, expected.straight)
        np.testing.assert_allclose(found.ratio, expected.ratio, rtol=1e-12)
        np.testing.assert_allclose(found.share, expected.share, atol=1e-9)
