"""The Steer service: requests that may take a while are answered when they are done, beside the node's own executor."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from percept_ros.errors import ConfigError, PerceptError
from percept_ros.srv import Steer
from percept_ros.types import Mode

COMMANDS = (Steer.Request.PAUSE, Steer.Request.RESUME, Steer.Request.SET_MODE, Steer.Request.RELOAD_MODEL)
HOLDABLE = (Mode.REDUCED, Mode.LIDAR_ONLY, Mode.CAMERA_ONLY, Mode.FALLBACK_MODEL, Mode.GEOMETRIC)
"""Modes that set-mode can hold as the best one."""


def mode_of(argument: str) -> Mode:
    """The mode that set-mode names; ``auto`` is FULL. Raises ConfigError."""
    wanted = argument.strip().upper().replace("-", "_")
    if wanted in ("AUTO", "FULL"):
        return Mode.FULL
    if wanted not in {mode.name for mode in HOLDABLE}:
        names = ", ".join(mode.name for mode in HOLDABLE)
        raise ConfigError(f"mode '{argument}' cannot be held: expected auto, {names} (to stop output use pause)")
    return Mode[wanted]


class SteerServer:
    """Serves ``OWNER/steer``. ``handle(command, argument)`` returns what was done, or raises PerceptError saying why not.

    It runs in a thread of its own and may block; one request at a time.
    """

    def __init__(self, owner: Node, handle: Callable[[str, str], str]) -> None:
        self._handle = handle
        self._node = Node(
            f"steer_{owner.get_name()}",
            namespace=owner.get_namespace(),
            context=owner.context,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        name = f"{owner.get_fully_qualified_name()}/steer"
        self._node.create_service(Steer, name, self._answer)
        self._executor = SingleThreadedExecutor(context=owner.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="steer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving. Safe to call twice."""
        if self._thread.is_alive():
            self._executor.shutdown(timeout_sec=1.0)
            self._thread.join(5.0)
            self._node.destroy_node()

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _answer(self, request: Steer.Request, response: Steer.Response) -> Any:
        try:
            if request.command not in COMMANDS:
                raise ConfigError(f"command '{request.command}' is unknown: expected one of {', '.join(COMMANDS)}")
            response.message = self._handle(request.command, request.argument)
            response.accepted = True
        except PerceptError as exc:
            response.accepted, response.message = False, str(exc)
        return response


def ask(client: Any, command: str, argument: str, limit_s: float) -> str:
    """Forward a request and wait for its answer, from a thread that does not spin the client's executor.

    Raises PerceptError when it is refused or not answered in time.
    """
    if not client.service_is_ready():
        raise PerceptError(f"service {client.srv_name} is not there: is the node running?")
    done = threading.Event()
    future = client.call_async(Steer.Request(command=command, argument=argument))
    future.add_done_callback(lambda _: done.set())
    if not done.wait(limit_s):
        raise PerceptError(f"service {client.srv_name} gave no answer within {limit_s:.0f} s")
    answer = future.result()
    if not answer.accepted:
        raise PerceptError(answer.message)
    return str(answer.message)
