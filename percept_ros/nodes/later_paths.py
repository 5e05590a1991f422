"""The path network, loaded beside a node that is answering already: until it is there, paths are the tracker's own motion.

Importing a run-time and opening the network takes a quarter of a second, which the first array need not wait for; every
forecast says what made it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack

from percept_ros.config import Config
from percept_ros.detectors.predictor import PathPredictor
from percept_ros.errors import PerceptError
from percept_ros.inference.manifest import find_model, load_manifest
from percept_ros.pipeline import Pipeline
from percept_ros.runtime.realtime import step_back


def without_path_model(config: Config) -> Config:
    """``config`` for a pipeline that is to start without its path network. Raises ModelError when there is no such model."""
    name = config.prediction.model
    if not name:
        return config
    load_manifest(find_model(name))
    return dataclasses.replace(config, prediction=dataclasses.replace(config.prediction, model=""))


def load_paths(config: Config, held: ExitStack, say: Callable[[str], None]) -> Callable[[Pipeline], None]:
    """Begin to load the path model of ``config`` in a thread; returns what to call with the pipeline that shall use it.

    say: told when it cannot be loaded. ``held`` waits for the thread and frees the model.
    """
    given: Future[Pipeline] = Future()
    if not config.prediction.model:
        return given.set_result
    predictor = PathPredictor(config.prediction, config.prediction.model, budget_ms=config.budget.predict_ms)

    def load() -> None:
        step_back()
        try:
            predictor.load()
        except PerceptError as exc:
            say(f"paths are the tracker's own motion: path model '{config.prediction.model}' is not used: {exc}")
        else:
            with contextlib.suppress(CancelledError):  # the node did not come to have a pipeline
                given.result().predictor = predictor

    thread = threading.Thread(target=load, name="percept-paths", daemon=True)
    held.callback(predictor.close)
    held.callback(thread.join)
    held.callback(given.cancel)
    thread.start()
    return given.set_result
