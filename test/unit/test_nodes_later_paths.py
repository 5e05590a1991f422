"""The path network is loaded beside: a pipeline works without it, then with it; one that cannot be loaded is said."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from percept_ros.build import build_pipeline
from percept_ros.config import Config, load_config
from percept_ros.detectors.predictor import PathPredictor
from percept_ros.errors import ModelError
from percept_ros.nodes.later_paths import load_paths, without_path_model

CONFIG = load_config(None, {"detector": {"chain": ["geometric"], "isolation": "thread"}})


def test_network_takes_over_once_it_is_loaded() -> None:
    assert CONFIG.prediction.model
    said: list[str] = []
    with ExitStack() as held, build_pipeline(without_path_model(CONFIG)) as pipeline:
        quick = pipeline.predictor
        assert quick.model is None
        use = load_paths(CONFIG, held, said.append)
        use(pipeline)
        held.pop_all().close()  # waits for the thread
        assert pipeline.predictor is not quick
        assert isinstance(pipeline.predictor, PathPredictor)
    assert not said


def test_configure_that_fails_leaves_nothing_waiting() -> None:
    with ExitStack() as held:
        load_paths(CONFIG, held, pytest.fail)


def test_model_that_cannot_be_opened_is_said_and_paths_go_on(tmp_path: object) -> None:
    said: list[str] = []
    broken = load_config(None, {"prediction": {"model": str(tmp_path)}})
    with ExitStack() as held, build_pipeline(without_path_model(CONFIG)) as pipeline:
        load_paths(broken, held, said.append)(pipeline)
        quick = pipeline.predictor
        held.pop_all().close()
        assert pipeline.predictor is quick
    assert len(said) == 1
    assert "tracker's own motion" in said[0]


def test_unknown_model_is_refused_before_anything_starts() -> None:
    with pytest.raises(ModelError):
        without_path_model(load_config(None, {"prediction": {"model": "no_such_model"}}))


def test_nothing_is_loaded_where_no_network_is_configured() -> None:
    config = load_config(None, {"prediction": {"model": ""}})
    assert without_path_model(config) is config
    assert isinstance(config, Config)
