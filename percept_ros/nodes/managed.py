"""One lifecycle node as the supervisor sees it: its state, its sign of life, and the next transition towards a goal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import Empty

from percept_ros.nodes.heartbeat import HEARTBEAT_QOS, LEASE_S

_CALL_LIMIT_S = 20.0
_STABLE_S = 30.0
_LOOK_LIMIT_S = 0.25
"""A question for the state that is not answered by then is asked anew: the process may be another one by now."""
_DOUBT_S = 0.5
"""A node that says, this long after a transition was asked for, that it rests in a state did not take the request."""
_UNCONFIGURED, _INACTIVE, _ACTIVE = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
)
LABELS = {None: "absent", _UNCONFIGURED: "unconfigured", _INACTIVE: "inactive", _ACTIVE: "active"}
"""Names of the states in which a node rests."""


class Goal(Enum):
    """Where a node should be: value = lifecycle state."""

    ACTIVE = _ACTIVE
    PAUSED = _INACTIVE
    DOWN = _UNCONFIGURED


_STEPS: dict[Goal, dict[int, int]] = {
    Goal.ACTIVE: {_UNCONFIGURED: Transition.TRANSITION_CONFIGURE, _INACTIVE: Transition.TRANSITION_ACTIVATE},
    Goal.PAUSED: {_UNCONFIGURED: Transition.TRANSITION_CONFIGURE, _ACTIVE: Transition.TRANSITION_DEACTIVATE},
    Goal.DOWN: {_ACTIVE: Transition.TRANSITION_DEACTIVATE, _INACTIVE: Transition.TRANSITION_CLEANUP},
}
"""Next transition from each state towards each goal."""


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
    """State and retries of one node. Nothing here blocks: every call is asynchronous with a time limit.

    recovering: it is being taken through deactivate, cleanup, configure, activate. recoveries, failures: so far.
    """

    def __init__(self, owner: Node, name: str, retries: int, on_change: Callable[[], None]) -> None:
        self.name, self.retry, self._on_change = name, Retry(retries), on_change
        self.state: int | None = None
        self.recovering = False
        self.recoveries = self.failures = 0
        self._owner = owner
        self._asked_s: float | None = None
        self._asked: int | None = None
        self._request: Any = None
        self._looked: tuple[float, Any] | None = None
        self._doubted_s: float | None = None
        self._silent_since_s: float | None = None
        self._change: Any = owner.create_client(ChangeState, f"{name}/change_state")
        self._get: Any = owner.create_client(GetState, f"{name}/get_state")
        owner.create_subscription(TransitionEvent, f"{name}/transition_event", self._on_event, QoSProfile(depth=10))
        events = SubscriptionEventCallbacks(liveliness=self._on_liveliness, incompatible_qos=lambda _: None)
        owner.create_subscription(
            Empty, f"{name}/heartbeat", lambda _: self._heard(), HEARTBEAT_QOS, event_callbacks=events
        )

    @property
    def label(self) -> str:
        """Name of its state."""
        return LABELS.get(self.state, "in transition")

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited (for at most the time limit)."""
        return self._asked_s is not None and time.monotonic() - self._asked_s < _CALL_LIMIT_S

    @property
    def spent(self) -> bool:
        """Whether all tries are used."""
        return self.retry.used >= self.retry.limit

    def silent_s(self, now_s: float) -> float:
        """For how long an active node has given no sign of life; a transition may take its time."""
        if self._silent_since_s is None or self.busy or self.state != _ACTIVE:
            return 0.0
        return now_s - self._silent_since_s

    def excuse(self) -> None:
        """Count silence from now on only."""
        if self._silent_since_s is not None:
            self._silent_since_s = time.monotonic()

    def recover(self) -> None:
        """Take it through deactivate and cleanup before it goes up again; this uses up a try."""
        self.recovering, self._silent_since_s = True, None
        self.recoveries += 1
        self.retry.failed(time.monotonic())

    def replaced(self) -> None:
        """Its process is another one now: what was known of it, and what was asked of it, is void."""
        self.state = self._asked_s = self._doubted_s = self._silent_since_s = None
        self.recovering = False

    def look(self) -> None:
        """Ask for the state; an absent node has state None."""
        now_s = time.monotonic()
        if not self._get.service_is_ready():
            self.state = self._asked_s = None
        elif self._asked_s is not None and now_s - self._asked_s < _DOUBT_S:
            return
        elif self._looked is None or now_s - self._looked[0] > _LOOK_LIMIT_S:
            self._look_away()
            future = self._get.call_async(GetState.Request())
            self._looked = (now_s, future)
            future.add_done_callback(self._on_state)

    def _look_away(self) -> None:
        """Await no answer about the state any more."""
        if self._looked is not None:
            self._get.remove_pending_request(self._looked[1])
            self._looked = None

    def step(self, goal: Goal, now_s: float) -> bool:
        """Ask for the next transition towards ``goal`` if one is due; returns whether the node is there."""
        if self.recovering and self.state == _UNCONFIGURED:
            self.recovering = False
        aim = Goal.DOWN if self.recovering else goal
        if self.state == aim.value:
            self.retry.good(now_s)
            return True
        self.retry.good_since_s = 0.0
        step = _STEPS[aim].get(self.state or 0)
        if step is not None and not self.busy and self.retry.allowed(now_s):
            self._ask(step)
        return False

    def _ask(self, transition: int) -> None:
        self._asked_s, self._asked, self._doubted_s = time.monotonic(), transition, None
        request = ChangeState.Request(transition=Transition(id=transition))
        if self._request is not None:
            self._change.remove_pending_request(self._request)
        self._request = self._change.call_async(request)
        self._request.add_done_callback(self._on_changed)

    def _on_state(self, future: Any) -> None:
        if self._looked is None or self._looked[1] is not future:
            return  # it was given up
        looked_s, self._looked = self._looked[0], None
        if future.exception() is not None or future.result() is None:
            return
        state = future.result().current_state.id
        if self.busy and not self._is_lost(state, looked_s):
            return
        before, self.state = self.state, state
        if before != self.state:
            self._expect()
            self._on_change()

    def _is_lost(self, state: int, looked_s: float) -> bool:
        """Whether the request that is awaited never arrived: the node says twice, well after it, that it rests.

        A node answers one question after the other, or names the state of transition: one that works on the request
        could not say so. It was sent to a process that had ended.
        """
        if self._asked_s is None or looked_s - self._asked_s < _DOUBT_S or state not in LABELS:
            self._doubted_s = None
            return False
        if self._doubted_s is None:
            self._doubted_s = looked_s
            return False
        if looked_s - self._doubted_s < _LOOK_LIMIT_S / 2:
            return False
        self._change.remove_pending_request(self._request)
        self._asked_s = self._doubted_s = None
        return True

    def _on_changed(self, future: Any) -> None:
        if future is not self._request:
            return  # it was given up
        self._asked_s = None
        self.state = State.PRIMARY_STATE_UNKNOWN  # what it was is no longer true; the look below says what it is
        done = future.exception() is None and future.result() is not None and future.result().success
        if not done:
            self._failed()
        self._look_away()
        self.look()

    def _failed(self) -> None:
        self.failures += 1
        if self._asked == Transition.TRANSITION_ACTIVATE:
            self.recover()  # what it acquired may be what is wrong
        else:
            self.retry.failed(time.monotonic())
        left = self.retry.limit - self.retry.used
        self._owner.get_logger().error(f"{self.name}: a transition failed; {left} more tries (its own log says why)")

    def _on_event(self, event: TransitionEvent) -> None:
        self.state = event.goal_state.id
        self._expect()
        if self.state == _UNCONFIGURED and event.start_state.id == State.TRANSITION_STATE_ERRORPROCESSING:
            self.failures += 1
            self.retry.failed(time.monotonic())
        self._on_change()

    def _on_liveliness(self, status: Any) -> None:
        if status.alive_count > 0:
            self._heard()
        elif self._silent_since_s is None:
            self._silent_since_s = time.monotonic()

    def _expect(self) -> None:
        """A node that became active owes a sign of life; DDS says nothing of one that hangs before its first."""
        if self.state == _ACTIVE:
            self._silent_since_s = time.monotonic() + LEASE_S

    def _heard(self) -> None:
        self._silent_since_s = None
