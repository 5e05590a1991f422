"""Models that answer raw tensors: opened at their first request, one engine a worker."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.config import Config
from percept_ros.detectors.open import GEOMETRIC
from percept_ros.errors import InputError, TensorMismatch
from percept_ros.inference.engine import InferenceEngine, Tensors
from percept_ros.inference.manifest import find_model
from percept_ros.inference.model import open_model


class TensorModels:
    """The models that may be asked. All calls from one thread."""

    def __init__(self, config: Config) -> None:
        chain = [name for name in config.detector.chain if name != GEOMETRIC]
        self.names = config.gateway.tensor_models or tuple(chain)
        self._engine_format = config.detector.engine or None
        self._open: dict[str, tuple[str, InferenceEngine]] = {}

    def infer(self, name: str, inputs: Tensors, deadline_ns: int) -> tuple[str, dict[str, npt.NDArray[Any]]]:
        """Id of the model that ran, and its outputs (copies). Raises InputError for a model that may not be asked."""
        model_id, engine = self._engine(name or next(iter(self.names), ""))
        expected = {spec.name: spec for spec in engine.inputs}
        if set(inputs) != set(expected):
            raise TensorMismatch(f"model '{model_id}' takes tensors {sorted(expected)}, got {sorted(inputs)}")
        for key, array in inputs.items():
            expected[key].check(array)
        outputs = engine.infer(inputs, deadline_ns=deadline_ns)
        return model_id, {key: np.array(array) for key, array in outputs.items()}

    def _engine(self, name: str) -> tuple[str, InferenceEngine]:
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise InputError(f"model '{name[:80]}' is not served; there are {known}", "unknown_model")
        if name not in self._open:
            manifest, engine = open_model(find_model(name), engine=self._engine_format)
            self._open[name] = (manifest.model_id, engine)
            engine.warm_up()
        return self._open[name]

    def close(self) -> None:
        """Free the engines."""
        for _, engine in self._open.values():
            engine.close()
        self._open = {}
