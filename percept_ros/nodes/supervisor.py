"""Brings lifecycle nodes up in order, brings failed ones back with bounded, backed-off retries, takes them down in reverse.

Each managed node has a goal state; the supervisor compares what a node says (its transition events and GetState)
with the goal and asks for the next transition. Nothing here blocks: every service call is asynchronous with a time limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_srvs.srv import Trigger

_CALL_LIMIT_S = 20.0
_POLL_S = 0.1
_STABLE_S = 30.0
_UP = {
    State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_CONFIGURE,
    State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_ACTIVATE,
}
_DOWN = {
    State.PRIMARY_STATE_ACTIVE: Transition.TRANSITION_DEACTIVATE,
    State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_CLEANUP,
}


@dataclass(slots=True)
class Retry:
    """Bounded, backed-off retries: 0.2 s doubling to 5 s; a stable time gives all tries back."""

    limit: int
    used: int = 0
    not_before_s: float = 0.0
    good_since_s: float = 0.0

    def allowed(self, now_s: float) -> bool:
        """Whether a try may be made now."""
        return self.used < self.limit and now_s >= self.not_before_s

    def failed(self, now_s: float) -> None:
        """Count a failed try."""
        self.not_before_s = now_s + min(5.0, 0.2 * 2.0**self.used)
        self.used += 1

    def good(self, now_s: float) -> None:
        """Note that the node is where it should be."""
        self.good_since_s = self.good_since_s or now_s
        if now_s - self.good_since_s > _STABLE_S:
            self.used = 0


class ManagedNode:
    """What the supervisor knows of one node."""

    def __init__(self, owner: Node, name: str, retries: int, on_change: Callable[[], None]) -> None:
        self.name, self.retry, self._on_change = name, Retry(retries), on_change
        self.state: int | None = None
        self._owner = owner
        self._asked_s: float | None = None
        self._change: Any = owner.create_client(ChangeState, f"{name}/change_state")
        self._get: Any = owner.create_client(GetState, f"{name}/get_state")
        owner.create_subscription(TransitionEvent, f"{name}/transition_event", self._on_event, QoSProfile(depth=10))

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited (for at most the time limit)."""
        return self._asked_s is not None and time.monotonic() - self._asked_s < _CALL_LIMIT_S

    def look(self) -> None:
        """Ask for the state; an absent node has state None."""
        if not self._get.service_is_ready():
            self.state = None
        elif not self.busy:
            self._get.call_async(GetState.Request()).add_done_callback(self._on_state)

    def ask(self, transition: int) -> None:
        """Ask for a transition."""
        self._asked_s = time.monotonic()
        request = ChangeState.Request(transition=Transition(id=transition))
        self._change.call_async(request).add_done_callback(self._on_changed)

    def _on_state(self, future: Any) -> None:
        if future.exception() is None and future.result() is not None:
            before, self.state = self.state, future.result().current_state.id
            if before != self.state:
                self._on_change()

    def _on_changed(self, future: Any) -> None:
        self._asked_s = None
        self.state = None  # what it was is no longer true; the look below says what it is
        done = future.exception() is None and future.result() is not None and future.result().success
        if not done:
            self.retry.failed(time.monotonic())
            left = self.retry.limit - self.retry.used
            self._owner.get_logger().error(
                f"{self.name}: a transition failed; {left} more tries (its own log says why)"
            )
        self.look()

    def _on_event(self, event: TransitionEvent) -> None:
        self.state = event.goal_state.id
        if (
            self.state == State.PRIMARY_STATE_UNCONFIGURED
            and event.start_state.id == State.TRANSITION_STATE_ERRORPROCESSING
        ):
            self.retry.failed(time.monotonic())
        self._on_change()


class Supervisor(Node):
    """Keeps the nodes named by parameter ``nodes`` active. Services ``~/start``, ``~/stop`` set the goal."""

    def __init__(self, **options: Any) -> None:
        super().__init__("supervisor", **options)
        names = self.declare_parameter("nodes", ["lidar", "camera", "fusion"]).value
        retries = int(self.declare_parameter("retries", 10).value)
        self._up = bool(self.declare_parameter("autostart", True).value)
        self._told: set[str] = set()
        self._managed = [ManagedNode(self, name, retries, self._step) for name in names]
        self.create_timer(_POLL_S, self._poll)
        self.create_service(Trigger, "~/start", lambda request, response: self._aim(True, response))
        self.create_service(Trigger, "~/stop", lambda request, response: self._aim(False, response))

    @property
    def all_active(self) -> bool:
        """Whether every managed node is active."""
        return all(node.state == State.PRIMARY_STATE_ACTIVE for node in self._managed)

    def _aim(self, up: bool, response: Any) -> Any:
        self._up = up
        for node in self._managed:
            node.retry.used = 0
        self._step()
        response.success, response.message = True, "bringing nodes up" if up else "taking nodes down"
        return response

    def _poll(self) -> None:
        for node in self._managed:
            node.look()
        self._step()

    def _step(self) -> None:
        """Ask the first node that is not where it should be for its next transition; later ones wait for it."""
        now_s = time.monotonic()
        goal = State.PRIMARY_STATE_ACTIVE if self._up else State.PRIMARY_STATE_UNCONFIGURED
        for node in self._managed if self._up else reversed(self._managed):
            if node.state == goal:
                node.retry.good(now_s)
                self._told.discard(node.name)
                continue
            node.retry.good_since_s = 0.0
            self._advance(node, now_s)
            if not self._given_up(node):
                return

    def _advance(self, node: ManagedNode, now_s: float) -> None:
        step = (_UP if self._up else _DOWN).get(node.state or 0)
        if step is not None and not node.busy and node.retry.allowed(now_s):
            node.ask(step)

    def _given_up(self, node: ManagedNode) -> bool:
        spent = node.retry.used >= node.retry.limit
        if spent and node.name not in self._told:
            self._told.add(node.name)
            self.get_logger().fatal(
                f"{node.name}: stays down after {node.retry.limit} tries; mend it, then call ~/start"
            )
        return spent


def make() -> tuple[Supervisor]:
    """The supervisor alone."""
    return (Supervisor(),)
