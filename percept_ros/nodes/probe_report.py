"""Keeps the probe state of a node renewed: what liveness, readiness and semantic probes of the outside read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from rclpy.node import Node

from percept_ros.config import HealthConfig
from percept_ros.health.probes import Probe, ProbeBoard, ProbeState
from percept_ros.nodes.status import StatusBoard
from percept_ros.types import Mode

_PERIOD_S = 0.5
_STUCK_NS = 3_000_000_000


class ProbeReport:
    """Writes what ``say`` answers twice a second from the node's executor. A folder that cannot be written is said once."""

    def __init__(self, node: Node, say: Callable[[], ProbeState]) -> None:
        self._node, self._say = node, say
        self._board = self._open()
        self._timer = node.create_timer(_PERIOD_S, self.renew) if self._board is not None else None

    def _open(self) -> ProbeBoard | None:
        domain = os.environ.get("ROS_DOMAIN_ID", "0")
        name = str(self._node.get_fully_qualified_name())
        try:
            return ProbeBoard(name if domain in ("", "0") else f"domain-{domain}{name}")
        except OSError as exc:
            self._node.get_logger().warning(f"probes cannot be answered for this node: {exc}")
            return None

    def renew(self) -> None:
        """Write the state now."""
        if self._board is None:
            return
        try:
            self._board.write(self._say())
        except OSError as exc:
            self._node.get_logger().warning(f"probe state cannot be written: {exc}", throttle_duration_sec=60.0)

    def close(self) -> None:
        """Take the state away."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        if self._board is not None:
            self._board.close()
            self._board = None


def perception_state(
    source: str, board: StatusBoard | None, turned_ns: int, health: HealthConfig, *, standby: bool = False
) -> ProbeState:
    """What the fusion node says. board: None while it is not active. turned_ns: when its worker last went round.

    standby: it has nothing to publish while another one leads, and is ready all the same.
    """
    if board is None:
        return ProbeState(source, Probe(True), Probe(False, "not active"), Probe(True))
    stuck_s = (time.monotonic_ns() - turned_ns) * 1e-9
    alive = Probe(True) if stuck_s < _STUCK_NS * 1e-9 else Probe(False, f"the worker is stuck for {stuck_s:.1f} s")
    ready = Probe(True) if standby or board.mode is not Mode.STALE else Probe(False, f"mode STALE: {board.cause}")
    score = board.verdict.score
    sound = Probe(True) if score >= health.unhealthy_below else Probe(False, "; ".join(board.verdict.concerns))
    details = {"cause": board.cause, "breakers": ", ".join(board.breakers), "shadow": ", ".join(board.shadow)}
    return ProbeState(source, alive, ready, sound, board.mode.name, score, dict(board.verdict.checks), details)
