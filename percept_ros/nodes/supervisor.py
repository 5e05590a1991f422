"""Brings lifecycle nodes up in order, brings failed ones back with bounded, backed-off retries, takes them down in reverse.

Each managed node has a goal state; the supervisor compares what a node says (its transition events, GetState, heartbeat)
with the goal and asks for the next transition. A node that hangs is taken through deactivate, cleanup, configure, activate.
With parameter ``spawn`` the supervisor also starts the processes, and starts again those that end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import Any

from rclpy.node import Node
from std_srvs.srv import Trigger

from percept_ros.errors import PerceptError
from percept_ros.health.probes import Probe, ProbeState
from percept_ros.health.systemd import Notifier, watchdog_ns
from percept_ros.nodes.diagnostics import ERROR, OK, WARN, Diagnostics, Finding
from percept_ros.nodes.fleet import Fleet
from percept_ros.nodes.managed import Goal, ManagedNode
from percept_ros.nodes.names import FUSION
from percept_ros.nodes.probe_report import ProbeReport
from percept_ros.nodes.spawning import open_fleet
from percept_ros.nodes.steer import SteerServer, ask, mode_of
from percept_ros.nodes.supervisor_state import SupervisorState
from percept_ros.runtime.one_processor import one_processor
from percept_ros.srv import Steer

_POLL_S = 0.1
_LAST_WORDS_S = 0.5
"""What a hanging process gets to end by itself."""
_HUNG_S = 2.5
"""Silence beyond the lease of the heartbeat after which a node is recovered."""
_LATE_S = 1.0
"""A supervisor that comes round this late could not hear anybody; silence until then says nothing."""
_STEER_LIMIT_S = 30.0


class Supervisor(Node):
    """Keeps the nodes named by parameter ``nodes`` active.

    Services: ``~/steer`` (pause, resume, set-mode, reload-model), ``~/start`` and ``~/stop``. Topic ``~/state``.
    """

    def __init__(self, **options: Any) -> None:
        with one_processor():
            super().__init__("supervisor", **options)
        names = list(self.declare_parameter("nodes", ["lidar", "camera", "fusion"]).value)
        retries = int(self.declare_parameter("retries", 10).value)
        self._goal = Goal.ACTIVE if self.declare_parameter("autostart", True).value else Goal.DOWN
        self.fleet: Fleet | None = open_fleet(self)
        if self.fleet is not None:
            names = self.fleet.managed
        self._told: set[str] = set()
        self._polled_s = time.monotonic()
        self._pids: dict[str, int] = {}
        self.managed = [ManagedNode(self, name, retries, self._step) for name in names]
        self._settled = threading.Condition()
        self.last_order = ""
        self._notifier = Notifier()
        self._was_ready = False
        self._fusion: Any = self.create_client(Steer, f"{FUSION}/steer")
        self.create_timer(_POLL_S, self._poll)
        self.create_service(Trigger, "~/start", lambda request, response: self._aim(Goal.ACTIVE, response))
        self.create_service(Trigger, "~/stop", lambda request, response: self._aim(Goal.DOWN, response))
        self._state = SupervisorState(self)
        self._diagnostics = Diagnostics(self)
        self._diagnostics.add("nodes", self._finding)
        self._diagnostics.start_for_good()
        self._probes = ProbeReport(self, self._probe_state)
        self._steer = SteerServer(self, self.steer)
        if period_ns := watchdog_ns():
            self.create_timer(period_ns * 0.4e-9, self._notifier.watchdog)

    @property
    def goal(self) -> Goal:
        """Where the nodes should be."""
        return self._goal

    @property
    def all_there(self) -> bool:
        """Whether every managed node is where it should be."""
        return all(node.state == self._goal.value and not node.recovering for node in self.managed)

    def steer(self, command: str, argument: str) -> str:
        """Carry out a Steer request and wait for it. Called from the thread of the Steer service. Raises PerceptError."""
        if command == Steer.Request.SET_MODE:
            mode_of(argument)
        self.last_order = f"{command} {argument}".strip()
        if command in (Steer.Request.SET_MODE, Steer.Request.RELOAD_MODEL):
            return ask(self._fusion, command, argument, _STEER_LIMIT_S)
        goal = Goal.PAUSED if command == Steer.Request.PAUSE else Goal.ACTIVE
        self._set_goal(goal)
        return self._wait_there(goal)

    def close(self) -> None:
        """Stop steering; end the processes that were started here."""
        self._notifier.stopping()
        self._steer.close()
        self._probes.close()
        if self.fleet is not None:
            self.fleet.__exit__(None, None, None)
        self._notifier.close()

    def _wait_there(self, goal: Goal) -> str:
        with self._settled:
            if not self._settled.wait_for(lambda: self.all_there, _STEER_LIMIT_S):
                late = ", ".join(f"{n.name} {n.label}" for n in self.managed if n.state != goal.value)
                raise PerceptError(f"not yet {goal.name.lower()} after {_STEER_LIMIT_S:.0f} s: {late}")
        return f"{goal.name.lower()}: {', '.join(node.name for node in self.managed)}"

    def _set_goal(self, goal: Goal) -> None:
        self._goal = goal
        self._told.clear()
        if self.fleet is not None:
            self.fleet.forgive()
        for node in self.managed:
            node.retry.used = 0

    def _aim(self, goal: Goal, response: Any) -> Any:
        self._set_goal(goal)
        self._step()
        response.success = True
        response.message = "bringing nodes up" if goal is Goal.ACTIVE else "taking nodes down"
        return response

    def _poll(self) -> None:
        now_s = time.monotonic()
        if now_s - self._polled_s > _LATE_S:
            for node in self.managed:
                node.excuse()
        self._polled_s = now_s
        for node in self.managed:
            self._meet(node)
            node.look()
            if node.silent_s(now_s) > _HUNG_S:
                self._revive(node)
            if self._is_lost(node.name) and node.name not in self._told:
                self._told.add(node.name)
                self.get_logger().fatal(f"{node.name}: its process ends again and again and stays down (see its log)")
        self._step()

    def _meet(self, node: ManagedNode) -> None:
        """A process of ours that was started again owes nothing of what the one before it was asked."""
        process = self.fleet.processes.get(node.name) if self.fleet is not None else None
        if process is not None and self._pids.setdefault(node.name, process.pid) != process.pid:
            self._pids[node.name] = process.pid
            node.replaced()

    def _revive(self, node: ManagedNode) -> None:
        """A node that exists but gives no sign of life: end its process where it is ours, else recover it in place."""
        process = self.fleet.processes.get(node.name) if self.fleet is not None else None
        if process is not None and process.poll() is None:
            self.get_logger().error(f"{node.name}: hangs; process {process.pid} is ended and started again")
            for order in (signal.SIGTERM, signal.SIGCONT):  # one that was only stopped leaves DDS in good order
                os.killpg(process.pid, order)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WORDS_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            node.recover()
            return
        self.get_logger().error(f"{node.name}: hangs; recovering it")
        node.recover()

    def _step(self) -> None:
        """Move the first node that is not where it should be; later ones wait for it. A lost cause holds nobody up."""
        now_s = time.monotonic()
        for node in self.managed if self._goal is Goal.ACTIVE else reversed(self.managed):
            if node.step(self._goal, now_s):
                self._told.discard(node.name)
            elif not self._given_up(node) and not self._is_lost(node.name):
                break
        self._announce()

    def _announce(self) -> None:
        if self.all_there:
            with self._settled:
                self._settled.notify_all()
            if not self._was_ready and self._goal is Goal.ACTIVE:
                self._was_ready = True
                self._notifier.ready()
        self._notifier.status(", ".join(f"{node.name} {node.label}" for node in self.managed))
        self._state.publish_changes()

    def _given_up(self, node: ManagedNode) -> bool:
        if node.spent and node.name not in self._told:
            self._told.add(node.name)
            self.get_logger().fatal(
                f"{node.name}: stays down after {node.retry.limit} tries; mend it, then call ~/start"
            )
        return node.spent

    def _is_lost(self, name: str) -> bool:
        return self.fleet is not None and name in self.fleet.lost

    def _finding(self) -> Finding:
        wrong = [f"{n.name} {n.label}" for n in self.managed if n.state != self._goal.value]
        lost = any(node.spent or self._is_lost(node.name) for node in self.managed)
        values = {node.name: node.label for node in self.managed}
        text = ", ".join(wrong) or f"all {self._goal.name.lower()}"
        return Finding(ERROR if lost else WARN if wrong else OK, text, values)

    def _probe_state(self) -> ProbeState:
        wrong = ", ".join(f"{n.name} {n.label}" for n in self.managed if n.state != Goal.ACTIVE.value)
        ready = Probe(not wrong, wrong)
        return ProbeState("supervisor", Probe(True), ready, Probe(True), details={"goal": self._goal.name})


def make() -> tuple[Supervisor]:
    """The supervisor alone."""
    return (Supervisor(),)
