"""The predictor under faults: rollout, then turn rate, then constant velocity; its state, and that a batch is its tracks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import path_scenes as scenes
import pytest

from percept_ros.config import PredictionConfig
from percept_ros.core.path_gate import Familiar, Prior, SkillSettings
from percept_ros.core.prediction import predict_classical
from percept_ros.detectors.path_model import PathModel
from percept_ros.detectors.predictor import PathPredictor
from percept_ros.errors import DeadlineExceeded, InferenceError, NonFiniteOutput
from percept_ros.types import Forecasts, PredictionMethod

CONFIG = PredictionConfig()
IDS = scenes.make_ids(6)
TRUSTED = {name: Prior(network=0.5) for name in ("car", "pedestrian", "bicycle")}
WIDE = {name: Familiar() for name in TRUSTED}
ALWAYS = SkillSettings(full_ratio=1e12, none_ratio=1e13, doubt=0.0)


@pytest.fixture
def predictor() -> Iterator[PathPredictor]:
    """A predictor whose gates let the network through."""
    found = trusting(PathPredictor(CONFIG, PathModel(scenes.MODEL, scenes.breakable), budget_ms=1e4))
    yield found
    found.close()


def trusting(found: PathPredictor) -> PathPredictor:
    network = model_of(found)
    found.load()
    network.output = replace(network.output, familiar=WIDE, priors=TRUSTED, skill=ALWAYS)
    found.judge_afresh()
    return found


def model_of(predictor: PathPredictor) -> PathModel:
    assert predictor.model is not None
    return predictor.model


def engine_of(predictor: PathPredictor) -> scenes.Breakable:
    engine = model_of(predictor).engine
    assert isinstance(engine, scenes.Breakable)
    return engine


def methods(forecasts: Forecasts) -> set[PredictionMethod]:
    return {PredictionMethod(m) for m in forecasts.method}


def drive(predictor: PathPredictor, count: int, first: int = 0) -> Forecasts:
    for step in range(first, first + count):
        found = predictor.predict(scenes.circling(step, IDS))
    return found


def test_the_network_answers_and_says_so(predictor: PathPredictor) -> None:
    found = drive(predictor, 12)
    assert methods(found) == {PredictionMethod.NETWORK}
    assert found.paths.shape == (6, 1, 48, 3)
    assert found.steps.tolist() == [30, 48, 48, 30, 48, 48]
    assert np.isfinite(found.paths).all()
    assert (found.sigma_m > 0).all()
    assert not predictor.faults


def test_without_a_model_it_is_the_classical_predictor() -> None:
    classical = PathPredictor(CONFIG)
    classical.load()
    tracks = scenes.circling(3, IDS)
    np.testing.assert_array_equal(classical.predict(tracks).paths, predict_classical(tracks, CONFIG).paths)
    classical.close()


@pytest.mark.parametrize("error", [InferenceError("broken"), DeadlineExceeded("late"), NonFiniteOutput("NaN")])
def test_a_failing_call_rolls_the_last_paths_on_and_then_turns_classical(
    predictor: PathPredictor, error: InferenceError
) -> None:
    before = drive(predictor, 15)
    engine_of(predictor).fault = error
    rolled = predictor.predict(scenes.circling(15, IDS))
    assert methods(rolled) == {PredictionMethod.NETWORK_ROLLOUT}
    here = scenes.circling(15, IDS).boxes[:, None, :2]
    was = before.paths[:, 0, :, :2]
    np.testing.assert_allclose(rolled.paths[:, 0, :40, :2] - here, was[:, 1:41] - was[:, :1], atol=1e-4)
    drive(predictor, 4, first=16)
    late = predictor.predict(scenes.circling(20, IDS))
    classical = predict_classical(scenes.circling(20, IDS), CONFIG)
    assert methods(late) == {PredictionMethod.CTRV, PredictionMethod.CONSTANT_VELOCITY}
    np.testing.assert_array_equal(late.paths, classical.paths)
    assert predictor.faults == {type(error).__name__: 6}


def test_the_state_survives_a_fault(predictor: PathPredictor) -> None:
    drive(predictor, 15)
    engine_of(predictor).fault = InferenceError("once")
    predictor.predict(scenes.circling(15, IDS))
    engine_of(predictor).fault = None
    calls = engine_of(predictor).calls
    found = predictor.predict(scenes.circling(16, IDS))
    assert methods(found) == {PredictionMethod.NETWORK}
    assert engine_of(predictor).calls == calls + 2, "both steps since the last good call"


def test_a_new_track_has_no_rollout(predictor: PathPredictor) -> None:
    drive(predictor, 12)
    engine_of(predictor).fault = InferenceError("broken")
    more = np.concatenate([IDS, scenes.make_ids(1, seed=9)])
    found = predictor.predict(scenes.circling(12, more))
    assert {PredictionMethod(m) for m in found.method[:6]} == {PredictionMethod.NETWORK_ROLLOUT}
    assert found.method[6] == PredictionMethod.CTRV


def test_the_deadline_reaches_the_engine(predictor: PathPredictor) -> None:
    drive(predictor, 1)
    assert engine_of(predictor).deadline_ns > 0


def test_a_batch_is_its_tracks_one_by_one() -> None:
    together = trusting(PathPredictor(CONFIG, PathModel(scenes.MODEL, scenes.breakable)))
    whole = drive(together, 25)
    together.close()
    for row in range(3):
        alone = trusting(PathPredictor(CONFIG, PathModel(scenes.MODEL, scenes.breakable)))
        for step in range(25):
            scene = scenes.circling(step, IDS)
            one = replace(scene, **{n: getattr(scene, n)[row : row + 1] for n in scene.__slots__[2:]})
            found = alone.predict(one)
        alone.close()
        steps = int(found.steps[0])
        np.testing.assert_allclose(found.paths[0, 0, :steps], whole.paths[row, 0, :steps], atol=2e-3)


def test_the_order_of_tracks_does_not_matter(predictor: PathPredictor) -> None:
    other = trusting(PathPredictor(CONFIG, PathModel(scenes.MODEL, scenes.breakable)))
    rng = np.random.default_rng(5)
    for step in range(12):
        scene, order = scenes.circling(step, IDS), rng.permutation(6)
        one = predictor.predict(scene)
        two = other.predict(replace(scene, **{n: getattr(scene, n)[order] for n in scene.__slots__[2:]}))
    other.close()
    np.testing.assert_allclose(two.paths, one.paths[order], atol=1e-4)


def test_reset_forgets_everything_or_the_named_tracks(predictor: PathPredictor) -> None:
    drive(predictor, 20)
    predictor.reset()
    again = drive(predictor, 5, first=20)
    fresh = trusting(PathPredictor(CONFIG, PathModel(scenes.MODEL, scenes.breakable)))
    np.testing.assert_allclose(again.paths, drive(fresh, 5, first=20).paths, atol=1e-5)
    kept = drive(fresh, 5, first=25).paths[1]
    fresh.reset(IDS[:1])
    after = drive(fresh, 1, first=30)
    engine_of(fresh).fault = InferenceError("broken")
    fresh.reset(IDS[1:2])
    rolled = fresh.predict(scenes.circling(31, IDS))
    assert rolled.method[0] == PredictionMethod.NETWORK_ROLLOUT
    assert rolled.method[1] != PredictionMethod.NETWORK_ROLLOUT
    assert not np.array_equal(kept, after.paths[1])
    fresh.close()


@pytest.mark.parametrize("change", ["frame", "jump", "key_frame"])
def test_a_cut_starts_afresh(change: str) -> None:
    config = replace(CONFIG, reset_on_key_frame=True)
    cut = trusting(PathPredictor(config, PathModel(scenes.MODEL, scenes.breakable)))
    fresh = trusting(PathPredictor(config, PathModel(scenes.MODEL, scenes.breakable)))
    drive(cut, 15)
    scene = scenes.circling(30 if change == "jump" else 15, IDS)
    scene = replace(scene, frame_id="map") if change == "frame" else scene
    found = cut.predict(scene, cut=change == "key_frame")
    np.testing.assert_allclose(found.paths, fresh.predict(scene).paths, atol=1e-9)
    cut.close()
    fresh.close()


def test_key_frames_are_ignored_unless_configured(predictor: PathPredictor) -> None:
    drive(predictor, 15)
    engine_of(predictor).fault = InferenceError("broken")
    found = predictor.predict(scenes.circling(15, IDS), cut=True)
    assert methods(found) == {PredictionMethod.NETWORK_ROLLOUT}


def test_a_track_without_numbers_spoils_no_other(predictor: PathPredictor) -> None:
    clean = drive(predictor, 11)
    scene = scenes.circling(11, IDS)
    boxes = scene.boxes.copy()
    boxes[2, 0] = np.nan
    found = predictor.predict(replace(scene, boxes=boxes))
    others = [0, 1, 3, 4, 5]
    assert np.isfinite(found.paths[others]).all()
    assert not predictor.faults
    later = drive(predictor, 3, first=12)
    assert np.isfinite(later.paths).all()
    assert clean.paths.shape == later.paths.shape


def test_between_two_steps_of_its_clock_the_paths_are_rolled_on(predictor: PathPredictor) -> None:
    drive(predictor, 12)
    calls = engine_of(predictor).calls
    scene = scenes.circling(11, IDS)
    found = predictor.predict(replace(scene, stamp_ns=scene.stamp_ns + 50_000_000))
    assert methods(found) == {PredictionMethod.NETWORK_ROLLOUT}
    assert engine_of(predictor).calls == calls
    assert not predictor.faults


def test_no_tracks_no_paths(predictor: PathPredictor) -> None:
    drive(predictor, 3)
    assert len(predictor.predict(scenes.circling(3, IDS[:0])).paths) == 0
    assert methods(drive(predictor, 1, first=4)) == {PredictionMethod.NETWORK}


def test_a_network_that_proves_worse_is_left_out(predictor: PathPredictor) -> None:
    network = model_of(predictor)
    network.output = replace(network.output, skill=SkillSettings())  # turn rate foretells circles exactly
    predictor.judge_afresh()
    assert drive(predictor, 15).method[0] == PredictionMethod.CTRV
