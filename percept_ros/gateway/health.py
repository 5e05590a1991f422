"""Liveness, readiness, semantic health: what a supervisor, a load balancer and an operator ask."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from percept_ros.errors import PerceptError
from percept_ros.gateway.feed import Feed
from percept_ros.gateway.perceiver import Perceiver
from percept_ros.health.probes import PROBES, Probe, ProbeState, answer, read_probes
from percept_ros.types import Mode

OWN = "gateway"
_log = logging.getLogger(__name__)


class Checks:
    """Answers each check from what is known already; asks nobody, so that it is quick.

    nodes: whether the nodes of this machine are judged too (their states lie in ``folder``; see health/probes.py).
    """

    def __init__(self, perceiver: Perceiver, feed: Feed, *, nodes: bool = False, folder: Path | None = None) -> None:
        self._perceiver, self._feed = perceiver, feed
        self.nodes, self.folder = nodes, folder
        self.draining = False
        self.fault = ""
        """Why models could not be loaded."""

    def load(self) -> None:
        """Load the models; what fails is told by readiness."""
        try:
            self._perceiver.start()
        except PerceptError as exc:
            self.fault = str(exc)
            _log.error("models cannot be loaded: %s", exc)

    def answer(self, kind: str) -> dict[str, Any] | None:
        """The answer of one check, None when there is no such check."""
        if kind not in PROBES:
            return None
        ok, body = answer(self._states(), kind, time.monotonic_ns())
        return body | {"ok": ok}

    def _states(self) -> Mapping[str, ProbeState]:
        others = read_probes(self.folder) if self.nodes else {}
        return {OWN: self._own(), **others}

    def _own(self) -> ProbeState:
        seen, limit = self._feed.newest, self._perceiver.config.health.unhealthy_below
        why = "shutting down" if self.draining else self.fault or ("" if self._perceiver.ready else "loading models")
        mode = seen.result.mode if seen else None
        score = seen.health if seen else 1.0
        wrong = f"mode is {mode.name}" if mode in (Mode.COASTING, Mode.STALE) else ""
        if score < limit:
            wrong = f"health {score:.2f} is under {limit:g}"
        return ProbeState(
            OWN, Probe(True), Probe(not why, why), Probe(not wrong, wrong), mode.name if mode is not None else "", score
        )
