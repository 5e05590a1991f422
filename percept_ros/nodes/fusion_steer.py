"""What Steer requests do to the fusion node itself: hold a mode, exchange the first model while the flow goes on."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from percept_ros.build import build_chain
from percept_ros.detectors.chain import DetectorChain
from percept_ros.errors import ConfigError, ModelError, PerceptError
from percept_ros.nodes.steer import mode_of
from percept_ros.srv import Steer

if TYPE_CHECKING:
    from percept_ros.nodes.fusion import FusionNode

_EXCHANGE_S = 10.0


class FusionSteer:
    """Carries out requests in the thread of the Steer service; ``turn`` is called by the worker between two sets."""

    def __init__(self, node: FusionNode) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._next: DetectorChain | None = None
        self._exchanged = threading.Event()
        self._before: DetectorChain | None = None

    def handle(self, command: str, argument: str) -> str:
        """What was done. Raises PerceptError saying why not."""
        if not self._node.configured:
            raise PerceptError(f"{self._node.get_name()} is not configured: bring it up first")
        actions: dict[str, Callable[[str], str]] = {
            Steer.Request.SET_MODE: self._hold,
            Steer.Request.RELOAD_MODEL: self._reload,
        }
        if command not in actions:
            raise ConfigError(f"'{command}' is for the supervisor: call its ~/steer")
        return actions[command](argument)

    def turn(self) -> None:
        """Take the new chain, if there is one."""
        with self._lock:
            if self._next is not None:
                self._before = self._node.take_chain(self._next)
                self._next = None
                self._exchanged.set()

    def _hold(self, argument: str) -> str:
        best = mode_of(argument)
        self._node.hold(best)
        return "mode is free again" if best.value == 0 else f"held at {best.name} or worse"

    def _reload(self, argument: str) -> str:
        config = self._node.config
        names = (argument or config.detector.chain[0], *config.detector.chain[1:])
        wanted = dataclasses.replace(config, detector=dataclasses.replace(config.detector, chain=names))
        chain = build_chain(wanted)
        if min(chain.ranks.values()) > 0:
            why = chain.refused[0]
            chain.close()
            raise ModelError(f"the present model stays: {why}")
        before, now = self._node.pipeline.detector.model, chain.model
        self._exchange(chain)
        return f"{now} took over from {before}"

    def _exchange(self, chain: DetectorChain) -> None:
        self._exchanged.clear()
        with self._lock:
            self._next = chain
        if not self._node.active:
            self.turn()
        if not self._exchanged.wait(_EXCHANGE_S):
            with self._lock:
                self._next = None
            if not self._exchanged.is_set():
                chain.close()
                raise PerceptError(f"the worker did not come round within {_EXCHANGE_S:.0f} s: the present model stays")
        if self._before is not None:
            self._before.close()
            self._before = None
