"""An engine over an ordered chain of engines of one model, each behind a circuit breaker.

For artefacts of the same model (for example TensorRT int8, then ONNX Runtime int8): all must have the same tensors.
Different models are chained by ``detectors.chain``, after their own decoding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from percept_ros.errors import ArtefactRefused, EngineClosed, EngineUnavailable, InferenceError, ModelError
from percept_ros.inference.breaker import Breaker, BreakerSettings
from percept_ros.inference.engine import InferenceEngine, Tensors, TensorSpec


class FallbackEngine:
    """See ``InferenceEngine``. ``answered`` is the position of the engine that answered last.

    Engines that cannot be loaded are left out (``refused`` says why). When every breaker is open the last engine is
    called all the same.
    """

    def __init__(self, engines: Sequence[InferenceEngine], breaker: BreakerSettings | None = None) -> None:
        self._engines = list(engines)
        self._settings = breaker or BreakerSettings()
        self._usable: list[tuple[int, InferenceEngine, Breaker]] = []
        self.answered = 0
        self.refused: list[str] = []

    @property
    def name(self) -> str:
        """``fallback(`` the usable engines in order ``)``."""
        return f"fallback({', '.join(engine.name for _, engine, _ in self._usable)})"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Input tensors; known after ``load``."""
        return self._usable[0][1].inputs if self._usable else ()

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Output tensors; known after ``load``."""
        return self._usable[0][1].outputs if self._usable else ()

    @property
    def breakers(self) -> tuple[str, ...]:
        """State of every breaker, as ``engine: state``."""
        return tuple(f"{engine.name}: {breaker.state.value}" for _, engine, breaker in self._usable)

    def load(self) -> None:
        """Load every engine. Raises EngineUnavailable when none can be used, ArtefactRefused when tensors differ."""
        self.close()
        self.refused = []
        for index, engine in enumerate(self._engines):
            try:
                engine.load()
            except ModelError as exc:
                self.refused.append(str(exc))
            else:
                self._usable.append((index, engine, Breaker(self._settings)))
        if not self._usable:
            raise EngineUnavailable(f"no engine of the chain can be used: {'; '.join(self.refused) or 'it is empty'}")
        if len({(engine.inputs, engine.outputs) for _, engine, _ in self._usable}) > 1:
            names = self.name
            self.close()
            raise ArtefactRefused(f"engines of {names} differ in tensors: chain only artefacts of one model")

    def warm_up(self) -> None:
        """Warm every engine."""
        for _, engine, _ in self._usable:
            engine.warm_up()

    def infer(self, inputs: Tensors, *, deadline_ns: int | None = None) -> Tensors:
        """The answer of the first engine that gives one; see ``InferenceEngine.infer``."""
        if not self._usable:
            raise EngineClosed("fallback engine is used before load or after close")
        error: Exception | None = None
        for index, engine, breaker in self._candidates():
            try:
                found = _call(engine, breaker, inputs, deadline_ns)
            except InferenceError as exc:
                error = exc
            else:
                self.answered = index
                return found
        assert error is not None
        raise error

    def _candidates(self) -> list[tuple[int, InferenceEngine, Breaker]]:
        now_ns = time.monotonic_ns()
        return [entry for entry in self._usable if entry[2].allows(now_ns)] or self._usable[-1:]

    def close(self) -> None:
        """Close every engine. Safe to call twice."""
        for _, engine, _ in reversed(self._usable):
            engine.close()
        self._usable = []


def _call(engine: InferenceEngine, breaker: Breaker, inputs: Tensors, deadline_ns: int | None) -> Tensors:
    started_ns, ok = time.monotonic_ns(), False
    try:
        found = engine.infer(inputs, deadline_ns=deadline_ns)
        ok = True
        return found
    finally:
        now_ns = time.monotonic_ns()
        breaker.record(ok, now_ns - started_ns, now_ns)
