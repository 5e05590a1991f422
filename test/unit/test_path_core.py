"""Windows, noise, ridge filters, gates, promises and paths against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from percept_ros.core.path_compose import at_times, shifted
from percept_ros.core.path_features import (
    GROUP_OF_CLASS,
    PEDESTRIAN,
    RIDER,
    VEHICLE,
    age_stages,
    jitter,
    mean_velocity,
    one_hot,
    push,
    straight,
    windows_of,
)
from percept_ros.core.path_gate import (
    EXPERTS,
    MARKS,
    NETWORK,
    SPANS,
    TOLD,
    Familiar,
    Prior,
    SkillGate,
    SkillSettings,
    familiarity,
    straight_steps,
)
from percept_ros.core.path_kernel import blended_paths
from percept_ros.core.path_promises import Promises
from percept_ros.core.path_ridge import apply_ridge, fit_ridge, normal_equations, prior_weights
from percept_ros.core.path_score import judge, spread
from percept_ros.core.prediction import (
    ctrv_paths,
    wrapped,
)
from percept_ros.core.track_rows import TrackRows, keys_of
from percept_ros.types import ObjectClass

CARS = np.zeros(4, np.int64)


def steps(*rows: tuple[float, float]) -> np.ndarray:
    return np.array(rows, np.float64)[None]


def test_every_class_moves_in_one_group() -> None:
    assert GROUP_OF_CLASS[[ObjectClass.CAR, ObjectClass.TRUCK, ObjectClass.BUS]].tolist() == [VEHICLE] * 3
    assert GROUP_OF_CLASS[[ObjectClass.PEDESTRIAN, ObjectClass.UNKNOWN]].tolist() == [PEDESTRIAN] * 2
    assert GROUP_OF_CLASS[[ObjectClass.BICYCLE, ObjectClass.MOTORCYCLE]].tolist() == [RIDER] * 2
    assert one_hot(np.array([2, 0])).tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_window_shifts_and_is_filled_at_birth() -> None:
    window = steps((1, 0), (2, 0), (3, 0))
    newest = np.array([[4.0, 1.0]])
    assert push(window, newest, np.array([False]))[0].tolist() == [[2, 0], [3, 0], [4, 1]]
    assert push(window, newest, np.array([True]))[0].tolist() == [[4, 1]] * 3


def test_windows_of_equal_pushing_one_after_the_other() -> None:
    moved = np.random.default_rng(0).normal(size=(3, 6, 2))
    window = np.zeros((3, 4, 2))
    for step in range(6):
        window = push(window, moved[:, step], np.full(3, step == 0))
        np.testing.assert_array_equal(windows_of(moved, 4)[:, step], window)


def test_stages_of_age() -> None:
    assert age_stages(np.array([1, 4, 5, 9, 10, 18, 19, 40]), 19).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_steady_motion_has_no_jitter_and_white_noise_gives_its_sigma() -> None:
    assert jitter(np.ones((1, 8, 2)))[0] == 0.0
    noisy = np.diff(0.05 * np.random.default_rng(1).normal(size=(400, 200, 2)), axis=1)
    assert np.median(jitter(noisy)) == pytest.approx(0.05, rel=0.1)


def test_jitter_of_a_young_track_looks_at_what_was_seen() -> None:
    window = steps((0, 0), (0, 0), (0, 0), (1, 0), (0, 0), (1, 0))
    scale = np.sqrt(20.0) * 1.1774
    assert jitter(window, np.array([3]))[0] == pytest.approx(2.0 / scale)  # 1, 0, 1: one second difference of 2
    assert jitter(window, np.array([2]))[0] == 0.0
    assert jitter(window, np.array([6]))[0] == pytest.approx(jitter(window)[0], abs=0.5 / scale)


def test_mean_velocity_and_straight_on() -> None:
    window = steps((1, 0), (2, 0), (4, 2))
    assert mean_velocity(window, 2)[0].tolist() == [3, 1]
    assert mean_velocity(window, 9)[0].tolist() == pytest.approx([7 / 3, 2 / 3])
    assert straight(np.array([[3.0, 1.0]]), 2)[0].tolist() == [[3, 1], [6, 2]]


def test_ridge_finds_the_weights_that_made_the_data() -> None:
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(4, 3))
    inputs = rng.normal(size=(200, 4, 2))
    offsets = apply_ridge(inputs, weights)
    np.testing.assert_allclose(fit_ridge(inputs, offsets, np.ones((200, 3)), 0.0), weights, atol=1e-6)
    np.testing.assert_allclose(fit_ridge(inputs, offsets, np.ones((200, 3)), 1e9, 2), prior_weights(4, 3, 2), atol=1e-6)


def test_ridge_ignores_absent_targets_and_its_sums_add_up() -> None:
    rng = np.random.default_rng(3)
    inputs, weights = rng.normal(size=(100, 3, 2)), rng.normal(size=(3, 2))
    offsets, valid = apply_ridge(inputs, weights), np.ones((100, 2))
    offsets[50:, 1], valid[50:, 1] = 1e6, 0.0
    np.testing.assert_allclose(fit_ridge(inputs, offsets, valid, 0.0), weights, atol=1e-6)
    halves = [normal_equations(inputs[r], offsets[r], valid[r]) for r in (slice(0, 50), slice(50, 100))]
    whole = normal_equations(inputs, offsets, valid)
    np.testing.assert_allclose((halves[0] + halves[1]).gram, whole.gram)
    np.testing.assert_allclose((halves[0] + halves[1]).cross, whole.cross)


def test_the_prior_filter_goes_straight_on() -> None:
    inputs = steps((9, 9), (1, 0), (3, 0))
    assert apply_ridge(inputs, prior_weights(3, 2, 2))[0].tolist() == [[2, 0], [4, 0]]


def test_straight_experts_are_means_over_their_spans_and_what_was_told() -> None:
    window = np.arange(40.0).reshape(1, 20, 2)
    each = straight_steps(window, np.array([[7.0, 8.0]]), np.array([20]))
    assert len(each) == len(EXPERTS) - 1 == len(SPANS) + 1
    assert each[0, 0].tolist() == [38, 39]
    assert each[2, 0].tolist() == [36, 37]
    assert each[TOLD - 1, 0].tolist() == [7, 8]
    young = straight_steps(window, np.array([[7.0, 8.0]]), np.array([4]))
    assert young[SPANS.index(20), 0].tolist() == young[SPANS.index(5), 0].tolist() == [35, 36], "the 4 that were seen"


def test_familiar_inside_the_ranges_and_never_beyond_three_times_them() -> None:
    limits = {"car": Familiar(0.001, 0.02, 1.0)}
    window = np.tile([[1.0, 0.0]], (5, 19, 1))
    window[:, :, 0] *= np.array([1.0, 2.0, 3.0, 1.0, 1.0])[:, None]
    window[:4, ::2, 1] += 0.01  # noise of 0.02 / (sqrt(20) 1.1774) = 0.0038 m
    ages = np.array([19, 19, 19, 19, 2])
    groups = np.array([VEHICLE, VEHICLE, VEHICLE, PEDESTRIAN, VEHICLE])
    share = familiarity(window, ages, groups, limits)
    assert share.tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0, 1.0], abs=1e-4)
    quiet = familiarity(np.ones((1, 19, 2)) * 0.5, np.array([19]), np.array([VEHICLE]), limits)
    assert quiet[0] == 0.0


def judged(gate: SkillGate, count: int, network: float, straight_m: float) -> None:
    errors = np.full((len(EXPERTS), count), straight_m)
    errors[NETWORK] = network
    for mark in range(len(MARKS)):
        gate.judge(np.zeros(count, np.int64), errors, mark)


def test_the_gate_starts_from_its_prior() -> None:
    priors = {"car": Prior(network=0.8, cv2=0.9), "pedestrian": Prior(network=1.2)}
    gate = SkillGate(SkillSettings(modesty=0.0, doubt=0.0), priors)
    groups = np.array([VEHICLE, PEDESTRIAN, RIDER])
    assert gate.share(groups).tolist()[:2] == [1.0, 0.0]
    assert gate.share(groups)[2] == 0.0  # nothing is known of riders: the network is not trusted
    assert EXPERTS[gate.straight(groups)[0]] == "cv2"
    assert not SkillGate(SkillSettings(modesty=1.0), priors).share(groups).any()  # nothing before it is proven


def test_evidence_overrules_the_prior_whatever_the_unit() -> None:
    for unit in (1e-3, 1.0, 1e3):
        gate = SkillGate(SkillSettings(prior_weight=100.0, modesty=0.0, doubt=0.0), {"car": Prior(network=0.5)})
        judged(gate, 5, 2.0 * unit, unit)
        assert gate.share(CARS)[0] == 1.0
        judged(gate, 500, 2.0 * unit, unit)
        assert gate.share(CARS)[0] == 0.0


def test_share_falls_between_the_two_ratios_and_old_errors_fade() -> None:
    gate = SkillGate(SkillSettings(prior_weight=0.0, memory=100.0, full_ratio=0.8, none_ratio=1.0))
    judged(gate, 50, 0.9, 1.0)
    assert gate.share(CARS)[0] == pytest.approx(0.5)
    judged(gate, 10, 0.1, 1.0)
    early = gate.ratio()[VEHICLE]
    for _ in range(100):
        judged(gate, 10, 0.9, 1.0)
    assert early < gate.ratio()[VEHICLE] == pytest.approx(0.9, abs=1e-3)


def test_the_network_must_be_better_at_every_horizon() -> None:
    gate = SkillGate()
    better, worse = np.ones((len(EXPERTS), 50)), np.ones((len(EXPERTS), 50))
    better[NETWORK], worse[NETWORK] = 0.5, 1.1
    for mark in (0, 1):
        gate.judge(np.zeros(50, np.int64), better, mark)
    assert gate.share(CARS)[0] == 0.0  # three seconds ahead it has not been judged yet
    gate.judge(np.zeros(50, np.int64), better, 2)
    assert gate.share(CARS)[0] == 1.0
    gate.judge(np.zeros(50, np.int64), worse, 2)
    gate.judge(np.zeros(500, np.int64), np.tile(worse, (1, 10)), 2)
    assert gate.share(CARS)[0] == 0.0


def test_the_best_straight_expert_serves() -> None:
    gate = SkillGate(SkillSettings(prior_weight=10.0))
    errors = np.ones((len(EXPERTS), 100))
    errors[5] = 0.5
    gate.judge(np.full(100, PEDESTRIAN), errors, 0)
    assert gate.straight(np.array([PEDESTRIAN, VEHICLE])).tolist() == [5, gate.straight(CARS)[0]]


def test_little_evidence_changes_nothing() -> None:
    """One track that went otherwise for a second is one piece of evidence, whatever the errors; many tracks are many."""
    better = np.ones((len(EXPERTS), 200)) + 0.1 * np.random.default_rng(2).normal(size=(len(EXPERTS), 200))
    better[NETWORK] *= 0.2
    better[1] *= 0.5
    unsure = {"bicycle": Prior(network=0.5, cv20=0.9, weight=5.0)}
    gate, riders = SkillGate(SkillSettings(), unsure), np.array([RIDER])
    assert EXPERTS[gate.straight(riders)[0]] == "cv3", "training sequences disagreed"
    for mark in range(len(MARKS)):
        gate.judge(np.full(20, RIDER), better[:, :20], mark)
    assert (EXPERTS[gate.straight(riders)[0]], gate.share(riders)[0]) == ("cv3", 0.0)
    for mark in range(len(MARKS)):
        gate.judge(np.full(200, RIDER), better, mark)
    assert (EXPERTS[gate.straight(riders)[0]], gate.share(riders)[0]) == ("cv1", 1.0)


def test_where_training_agreed_its_expert_serves_until_another_is_surely_better() -> None:
    agreed = {"car": Prior(cv3=1.1, cv10=1.0)}
    noisy = 1.0 + 0.2 * np.random.default_rng(5).normal(size=(len(EXPERTS), 40))
    noisy[2] -= 0.02  # less than its standard error
    gate = SkillGate(SkillSettings(prior_weight=300.0), agreed)
    assert EXPERTS[gate.straight(CARS)[0]] == "cv10"
    for mark in range(len(MARKS)):
        gate.judge(np.zeros(40, np.int64), noisy, mark)
    assert EXPERTS[gate.straight(CARS)[0]] == "cv10"


def test_promises_are_judged_when_they_are_due_and_only_then() -> None:
    promises, gate = Promises(3.0, 20_000_000), SkillGate(SkillSettings(prior_weight=0.0))
    ids = np.random.default_rng(0).integers(0, 256, (2, 16), np.uint8)
    rows = TrackRows(keys_of(ids))
    at = promises.points(0.1, 30)
    assert at.tolist() == [9, 19, 29]
    said = np.zeros((3, len(EXPERTS), 2, 2))
    said[:, NETWORK, :, 0] = 3.0
    promises.add(0, np.array([1.0, 2.0, 3.0]), rows.keys, np.zeros(2, np.int64), said)
    promises.judge(gate, 500_000_000, rows, np.zeros((2, 2)))
    assert gate.evidence[0, VEHICLE] == 0
    promises.judge(gate, 1_010_000_000, TrackRows(keys_of(ids[1:])), np.array([[4.0, 0.0]]))
    assert gate.evidence[0, VEHICLE] == 1
    found = gate.errors()[0, :, VEHICLE]
    assert found[NETWORK] / found[1] == pytest.approx(0.25, rel=1e-4)  # 1 m off against 4 m
    promises.judge(gate, 2_500_000_000, rows, np.zeros((2, 2)))  # half a second late: not judged
    assert gate.evidence[:, VEHICLE].tolist() == [1, 0, 0]
    promises.clear()
    promises.judge(gate, 3_000_000_000, rows, np.zeros((2, 2)))
    assert gate.evidence[:, VEHICLE].tolist() == [1, 0, 0]


def test_rows_are_found_by_id() -> None:
    ids = np.random.default_rng(4).integers(0, 256, (50, 16), np.uint8)
    rows = TrackRows(keys_of(ids))
    assert rows.find(keys_of(ids[[7, 0, 49]])).tolist() == [7, 0, 49]
    other = ids[:1].copy()
    other[0, 3] ^= 1
    assert rows.find(keys_of(other)).tolist() == [-1]
    assert TrackRows(keys_of(ids[:0])).find(rows.keys).tolist() == [-1] * 50


def test_values_at_other_times_lie_on_straight_lines() -> None:
    offsets = np.array([[[1.0, 0.0], [3.0, 0.0]]])
    assert at_times(offsets, 0.4, np.array([0.2, 0.4, 0.6, 1.0]))[0, :, 0].tolist() == pytest.approx([0.5, 1, 2, 4])
    assert at_times(offsets, 0.4, np.array([0.4, 0.8]))[0].tolist() == offsets[0].tolist()


def test_a_shifted_path_starts_where_it_has_come_to() -> None:
    offsets = np.array([[[1.0, 0.0], [2.0, 1.0], [3.0, 4.0]]])
    assert shifted(offsets, 0.1, 0.1, np.array([0.1, 0.2]))[0].tolist() == [[1, 1], [2, 4]]


def test_scores_equal_numpy() -> None:
    rng = np.random.default_rng(10)
    ids = rng.integers(0, 256, (50, 16), np.uint8)
    keys, here = keys_of(ids[:40]), TrackRows(keys_of(ids[10:]))
    groups, settings = rng.integers(0, 3, 40), SkillSettings(memory=50.0)
    gate, reference = SkillGate(settings), SkillGate(settings)
    for mark in (0, 2, 2):
        said, now = rng.normal(size=(len(EXPERTS), 40, 2)), rng.normal(size=(40, 7))
        now[7, 0] = np.nan
        judge(gate, mark, keys, groups, said, here, now)
        row = here.find(keys)
        known = (row >= 0) & (row != 7)
        errors = np.linalg.norm(said - now[row, :2], axis=2)
        reference.judge(groups[known], errors[:, known], mark)
    for mark in range(len(MARKS)):
        found, expected = gate.record(mark), reference.record(mark)
        for name in ("count", "sums_m", "over_m", "squares_m2"):
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12, err_msg=name)
    with pytest.raises(ValueError, match="promises"):
        judge(gate, 0, keys, groups, said[:, :3], here, now)


def test_sigma_is_the_networks_where_it_has_half_a_share() -> None:
    sigma = np.array([[0.5, 0.0, 9.0], [0.5, 0.6, 9.0]], np.float32)
    found = spread(sigma, np.array([0.5, 0.4]), np.array([1.0, 0.0]), np.array([1.0, 4.0]), np.array([1.0, 2.0]))
    assert found.tolist() == [[0.5, 1e-3], [2.0, 4.0]]


def blend_one(offsets: list[tuple[float, float]], yaw: float) -> np.ndarray:
    box, still = np.zeros((1, 7)), np.zeros((1, 2))
    box[0, 6] = yaw
    path = np.array(offsets)[None]
    return blended_paths(box, still, np.zeros(1), still, np.array([True]), path, np.ones(1), path.shape[1], 0.1)[0]


def test_headings_turn_with_the_path_and_hold_when_it_stands() -> None:
    path = blend_one([(1.0, 0.0), (2.0, 0.0), (2.0, 1.0), (2.0, 1.001)], np.pi)
    assert path[:, 2].tolist() == pytest.approx([-np.pi, -np.pi, -np.pi / 2, -np.pi / 2])
    assert path[:, :2].tolist() == [[1, 0], [2, 0], [2, 1], pytest.approx([2, 1.001])]


def test_blended_paths_equal_numpy() -> None:
    rng = np.random.default_rng(8)
    count, steps = 40, 30
    boxes, velocity, straight = (
        rng.normal(size=(count, 7)),
        5 * rng.normal(size=(count, 2)),
        rng.normal(size=(count, 2)),
    )
    rate = np.where(rng.random(count) < 0.5, 0.0, rng.normal(0.0, 0.4, count))
    own, share = rng.random(count) < 0.5, np.where(rng.random(count) < 0.3, 0.0, rng.random(count))
    learned = np.cumsum(rng.normal(0.3, 0.2, (count, steps + 2, 2)), axis=1).astype(np.float32)
    found = blended_paths(boxes, velocity, rate, straight, own, learned, share, steps, 0.1)
    times = 0.1 * np.arange(1.0, steps + 1)
    turned = ctrv_paths(np.zeros((count, 2)), velocity, boxes[:, 6], rate, times)
    base = np.where(own[:, None, None], turned[..., :2], straight[:, None] * times[:, None])
    offsets = base + share[:, None, None] * (learned[:, :steps] - base)
    np.testing.assert_allclose(found[..., :2], boxes[:, None, :2] + offsets, atol=1e-9)
    yaw = np.where(((share == 0) & own)[:, None], turned[..., 2], headings(offsets, boxes[:, 6]))
    np.testing.assert_allclose(wrapped(found[..., 2] - yaw), 0.0, atol=1e-6)


def headings(offsets: np.ndarray, yaw: np.ndarray, least_m: float = 0.05) -> np.ndarray:
    """Yaw turned as the path turns, in numpy."""
    ways = np.diff(np.concatenate([np.zeros_like(offsets[:, :1]), offsets], axis=1), axis=1)
    course = np.arctan2(ways[..., 1], ways[..., 0])
    moves = np.hypot(ways[..., 0], ways[..., 1]) >= least_m
    turn = np.zeros(moves.shape)
    turn[:, 1:] = np.where(moves[:, 1:] & moves[:, :-1], wrapped(np.diff(course, axis=1)), 0.0)
    return yaw[:, None] + np.cumsum(turn, axis=1)


def test_the_kernel_refuses_what_does_not_fit() -> None:
    one, still = np.zeros((1, 7)), np.zeros((1, 2))
    rest = (still, np.zeros(1), still, np.array([True]))
    with pytest.raises(ValueError, match="expected"):
        blended_paths(one, *rest, np.zeros((1, 3, 2)), np.ones(1), 4, 0.1)
    with pytest.raises(ValueError, match="refused"):
        blended_paths(one, *rest, np.zeros((1, 4, 2)), np.ones(1), 4, -0.1)
    assert blended_paths(
        one[:0], still[:0], np.zeros(0), still[:0], np.zeros(0, bool), np.zeros((0, 4, 2)), np.zeros(0), 4, 0.1
    ).shape == (0, 4, 3)


def test_constant_turn_rate_follows_its_circle() -> None:
    rate, speed, times = 0.5, 4.0, np.array([1.0, 2.0])
    path = ctrv_paths(np.zeros((2, 2)), np.array([[speed, 0.0]] * 2), np.zeros(2), np.array([rate, 0.0]), times)
    radius = speed / rate
    assert path[0, :, 0].tolist() == pytest.approx((radius * np.sin(rate * times)).tolist())
    assert path[0, :, 1].tolist() == pytest.approx((radius * (1 - np.cos(rate * times))).tolist())
    assert path[0, :, 2].tolist() == pytest.approx([0.5, 1.0])
    assert path[1].tolist() == [[4, 0, 0], [8, 0, 0]]
    assert wrapped(np.array([3.5, -3.5, 7.0])).tolist() == pytest.approx(
        [3.5 - 2 * np.pi, 2 * np.pi - 3.5, 7 - 2 * np.pi]
    )
