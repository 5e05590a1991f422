"""Paths do not depend on where north or the origin is, nor on the order or the company of tracks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from percept_ros.core.path_features import GROUPS, jitter
from percept_ros.core.path_gate import EXPERTS, SkillGate
from percept_ros.core.path_ridge import apply_ridge, fit_ridge
from percept_ros.core.track_rows import TrackRows, keys_of
from percept_ros.detectors.path_model import PathModel
from percept_ros.types import F64

FOLDER = Path(__file__).parents[2] / "models" / "predictor_sim"
ANGLES = st.floats(-np.pi, np.pi)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def network() -> Iterator[PathModel]:
    found = PathModel(FOLDER)
    found.load()
    yield found
    found.close()


def rotation(angle: float) -> F64:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def walked(network: PathModel, moved: F64, groups: np.ndarray) -> F64:
    """(N, T, 2) offsets after displacements (N, L, 2), and sigma as a last axis entry."""
    state = network.empty(len(moved))
    for step in range(moved.shape[1]):
        told = moved[:, max(0, step - 2) : step + 1].mean(axis=1) * 10.0
        answer = network.step(moved[:, step], told, groups, np.full(len(moved), step == 0), state)
        state = answer.state
    return np.concatenate([answer.offsets_m, answer.sigma_m[..., None]], axis=2).astype(np.float64)


def some_ways(seed: int, count: int = 4) -> tuple[F64, np.ndarray]:
    rng = np.random.default_rng(seed)
    start = rng.uniform(-1.0, 1.0, (count, 1, 2))
    moved = start + np.cumsum(rng.normal(0.0, 0.02, (count, 12, 2)), axis=1)
    return moved, rng.integers(0, len(GROUPS), count)


@settings(max_examples=15)
@given(seed=SEEDS, angle=ANGLES)
def test_the_network_turns_with_the_world(network: PathModel, seed: int, angle: float) -> None:
    moved, groups = some_ways(seed)
    turn = rotation(angle)
    plain, turned = walked(network, moved, groups), walked(network, moved @ turn.T, groups)
    np.testing.assert_allclose(turned[..., :2], plain[..., :2] @ turn.T, atol=5e-3, rtol=1e-3)
    np.testing.assert_allclose(turned[..., 2], plain[..., 2], rtol=1e-2)


@settings(max_examples=15)
@given(seed=SEEDS)
def test_the_company_and_order_of_tracks_do_not_matter(network: PathModel, seed: int) -> None:
    moved, groups = some_ways(seed, 6)
    order = np.random.default_rng(seed).permutation(6)
    whole = walked(network, moved, groups)
    np.testing.assert_allclose(walked(network, moved[order], groups[order]), whole[order], atol=1e-3)
    np.testing.assert_allclose(walked(network, moved[2:3], groups[2:3]), whole[2:3], atol=1e-3)


@given(seed=SEEDS, angle=ANGLES)
def test_the_ridge_filter_turns_with_the_world(seed: int, angle: float) -> None:
    rng = np.random.default_rng(seed)
    inputs, offsets = rng.normal(size=(30, 5, 2)), rng.normal(size=(30, 4, 2))
    turn, valid = rotation(angle), np.ones((30, 4))
    plain = fit_ridge(inputs, offsets, valid, 0.1)
    turned = fit_ridge(inputs @ turn.T, offsets @ turn.T, valid, 0.1)
    np.testing.assert_allclose(turned, plain, atol=1e-6)
    np.testing.assert_allclose(apply_ridge(inputs @ turn.T, plain), apply_ridge(inputs, plain) @ turn.T, atol=1e-9)


@given(seed=SEEDS, angle=ANGLES, speed=st.floats(0.0, 30.0))
def test_noise_is_the_same_however_fast_and_wherever_a_track_goes(seed: int, angle: float, speed: float) -> None:
    moved = np.random.default_rng(seed).normal(0.0, 0.05, (3, 12, 2))
    faster = moved @ rotation(angle).T + speed
    np.testing.assert_allclose(jitter(faster), jitter(moved), atol=1e-9)


@given(seed=SEEDS)
def test_shares_stay_between_none_and_all(seed: int) -> None:
    rng, gate = np.random.default_rng(seed), SkillGate()
    groups = np.arange(len(GROUPS))
    for _ in range(5):
        count = int(rng.integers(0, 50))
        errors = rng.exponential(10.0 ** rng.uniform(-6, 3), (len(EXPERTS), count))
        gate.judge(rng.integers(0, len(GROUPS), count), errors, int(rng.integers(3)))
        assert ((gate.share(groups) >= 0) & (gate.share(groups) <= 1)).all()
        assert ((gate.straight(groups) >= 1) & (gate.straight(groups) < len(EXPERTS))).all()


@given(seed=SEEDS, count=st.integers(0, 300))
def test_every_track_is_found_again(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 256, (count, 16), np.uint8)
    order = rng.permutation(count)
    np.testing.assert_array_equal(TrackRows(keys_of(ids)).find(keys_of(ids[order])), order)
