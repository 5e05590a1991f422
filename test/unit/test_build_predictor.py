"""The pipeline predicts with the shipped path network, and without one when told so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from percept_ros.build import build_pipeline
from percept_ros.config import Config, DetectorConfig, PredictionConfig
from percept_ros.errors import ModelError

PLAIN = replace(Config(), detector=DetectorConfig(chain=("geometric",)))


def test_the_shipped_network_is_the_default() -> None:
    with build_pipeline(PLAIN, seed=1, isolation="thread") as pipeline:
        model = pipeline.predictor.model
        assert model is not None
        assert model.manifest.name == "predictor_sim"
        assert model.manifest.licence == "Apache-2.0"
        assert model.steps * model.input.step_s >= PLAIN.prediction.pedestrian_horizon_s - 1e-9


def test_no_model_and_a_wrong_one() -> None:
    with build_pipeline(replace(PLAIN, prediction=PredictionConfig(model="")), isolation="thread") as pipeline:
        assert pipeline.predictor.model is None
    with pytest.raises(ModelError, match="no_such_model"):
        build_pipeline(replace(PLAIN, prediction=PredictionConfig(model="no_such_model")), isolation="thread")
