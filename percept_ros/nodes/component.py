"""Lifecycle base of every node: acquire in configure, start in activate, release in reverse order."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from rclpy._rclpy_pybind11 import RCLError
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from percept_ros.config import Config
from percept_ros.nodes import parameters
from percept_ros.nodes.heartbeat import Bond, Heartbeat
from percept_ros.runtime import realtime
from percept_ros.runtime.gc_control import collect_in_slack
from percept_ros.runtime.one_processor import one_processor

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)


class Component(LifecycleNode):
    """A node whose resources live in two stacks: one held while configured, one while active.

    Sub-classes write ``acquire`` and ``start``; each pushes the release of what it takes. Every exception of a
    transition is logged with its trace; a failed configure leaves nothing behind.
    """

    above = 0
    """What its threads have above ``realtime.priority`` while it is active."""

    def __init__(self, name: str, **options: Any) -> None:
        with one_processor():
            super().__init__(name, automatically_declare_parameters_from_overrides=True, **options)
        self._held = ExitStack()
        self._running = ExitStack()
        self._configured = False
        self._fault: Exception | None = None
        self.active = False
        self.config = Config()
        self.slack: Callable[[int], int] = lambda available_ns: 0
        """Tells the collector that nothing is due for some nanoseconds; returns its pause. Called by workers."""
        parameters.declare(self)
        self._heartbeat = Heartbeat(self, self.is_well)
        self._bond = Bond(self, self.is_well)
        self._guard_transitions()
        self.add_on_set_parameters_callback(self._on_set)
        self.add_post_set_parameters_callback(self._after_set)

    def acquire(self, held: ExitStack) -> None:
        """Take what the node needs: publishers, models, rings. Push every release onto ``held``."""

    def start(self, running: ExitStack) -> None:
        """Open the flow: subscriptions, timers, threads. Push every stop onto ``running``."""

    @property
    def configured(self) -> bool:
        """Whether its resources are held."""
        return self._configured

    def is_well(self) -> bool:
        """Whether its sign of life may be given; sub-classes also look at their worker."""
        return True

    def apply(self, config: Config) -> None:
        """Take over live settings of ``config`` (called while configured)."""

    def _guard_transitions(self) -> None:
        """Answer a transition that the state does not allow with success = false; rclpy would end the executor."""
        for service in self.services:
            if service.srv_name.endswith("/change_state"):
                service.callback = partial(self._change_state, service.callback)

    def _change_state(self, change: Callable[[Any, Any], Any], request: Any, response: Any) -> Any:
        try:
            return change(request, response)
        except RCLError as exc:
            asked = request.transition.label or request.transition.id
            self.get_logger().warning(f"{self.get_name()}: transition '{asked}' refused: {exc}")
            response.success = False
            return response

    def fault(self, exc: Exception) -> None:
        """Report a fault that no mode covers, from any thread: the node goes through on_error to unconfigured."""
        self._fault = exc
        executor = self.executor
        if executor is not None:
            executor.create_task(self._raise_fault)

    def _raise_fault(self) -> None:
        if self._fault is not None and self.active:
            self.trigger_deactivate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the parameters, then acquire."""
        try:
            self.config = parameters.read(self)
            with ExitStack() as stack, realtime.behind(self.config.realtime.priority):
                self.acquire(stack)
                self._held = stack.pop_all()
        except Exception as exc:
            return self._failed("configure", exc)
        self._configured = True
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start the flow."""
        try:
            outcome = super().on_activate(state)
            with ExitStack() as stack:
                if self.config.realtime.collect_in_slack:
                    self.slack = stack.enter_context(collect_in_slack())
                self.start(stack)
                self._running = stack.pop_all()
        except Exception as exc:
            return self._failed("activate", exc)
        self.active = True
        self._bond.start()
        realtime.pin_process(self.config.realtime.processors, self.config.realtime.lock_memory)
        if self.config.realtime.priority:
            realtime.raise_process(self.config.realtime.priority, above=self.above)
        return outcome

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the flow."""
        self.active = False
        self._bond.stop()
        try:
            self._running.close()
            if (fault := self._fault) is not None:
                self._fault = None
                raise fault
            return super().on_deactivate(state)
        except Exception as exc:
            return self._failed("deactivate", exc)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        return self._release("cleanup")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release everything."""
        return self._release("shutdown")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything; the node is then unconfigured and can be configured again."""
        self.get_logger().error(f"{self.get_name()}: error in state '{state.label}', going to unconfigured")
        return self._release("error handling")

    def close(self) -> None:
        """Release what is held, whatever the state (at process exit)."""
        self._release("exit")

    def _release(self, step: str) -> TransitionCallbackReturn:
        self.active = self._configured = False
        self._bond.stop()
        outcome = SUCCESS
        for stack in (self._running, self._held):
            try:
                stack.close()
            except Exception as exc:
                outcome = self._failed(step, exc)
        self._running, self._held = ExitStack(), ExitStack()
        self._forget_entities()
        return outcome

    def _forget_entities(self) -> None:
        """rclpy's callback groups keep a weak reference to everything that was ever made, also when it is gone."""
        entities = self.default_callback_group.entities
        entities.difference_update([entity for entity in list(entities) if entity() is None])

    def _failed(self, step: str, exc: Exception) -> TransitionCallbackReturn:
        self.get_logger().error(f"{self.get_name()}: {step} failed: {exc}\n{traceback.format_exc()}")
        return FAILURE if step == "configure" else ERROR

    def _on_set(self, changed: list[Parameter]) -> Any:
        return parameters.check_change(self, changed, configured=self._configured)

    def _after_set(self, changed: list[Parameter]) -> None:
        if self._configured:
            self.config = parameters.read(self)
            self.apply(self.config)
