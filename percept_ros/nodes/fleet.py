"""The node processes of one machine, started and ended together (tests, replay in real time, soak)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from percept_ros.config import Config
from percept_ros.nodes.names import CAMERA_PREFIX as PREFIX
from percept_ros.nodes.names import FUSION, STANDBY
from percept_ros.nodes.spare import Spare, can_become
from percept_ros.nodes.spin import PRIORITY_VARIABLE
from percept_ros.runtime.lease import lease_name, remove_lease
from percept_ros.settings import to_dict
from percept_ros.share import share

_STOP_S = 8.0
PROFILE_VARIABLE = "FASTRTPS_DEFAULT_PROFILES_FILE"
_SMALL_PROFILE = "config/fastdds_small.xml"
_RANGE_VARIABLE = "ROS_AUTOMATIC_DISCOVERY_RANGE"
_SMALL = ("fusion", "standby", "supervisor")
"""Executables that exchange only small messages when frames lie in rings."""
_MAIN = [sys.executable, "-m", "percept_ros.nodes.main"]
_LOOK_S = 0.02
_START_PRIORITY = 1
"""Of a process that starts in a fleet with real-time priority: it has to be back soon, but runs behind the active ones."""
_LONGEST_BACK_OFF_S = 5.0
_STABLE_S = 4.0
_MOST_QUICK = 8
_SPARE_AFTER_S = 4.0
"""A spare process is loaded this long after the last start, to leave that one alone."""


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """One process to start. name: node name ("" = named by the executable itself)."""

    executable: str
    name: str = ""
    parameters: Mapping[str, Any] | None = None


def node_plan(config: Config, *, composed: bool = False) -> tuple[NodeProcess, ...]:
    """The processes that a configuration needs: one a node, or everything in one."""
    if composed:
        return (NodeProcess("container"),)
    names = [f"{PREFIX}{camera}" for camera in config.camera_order] if config.fusion.inputs == "ring" else []
    sensors = [NodeProcess("camera", name) for name in names]
    if config.fusion.inputs == "ring":
        sensors.append(NodeProcess("lidar", "lidar"))
        names.append("lidar")
    fusion = [NodeProcess("fusion", FUSION)]
    if config.fusion.standby:
        fusion.append(NodeProcess("standby", STANDBY))
    managed = {"nodes": [*names, *(item.name for item in fusion)]}
    return (*sensors, *fusion, NodeProcess("supervisor", "supervisor", managed))


def parameter_file(config: Config, path: Path) -> Path:
    """Write ``config`` as a ROS parameter file for all nodes; empty lists are left out (they have no ROS type)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tree = {"/**": {"ros__parameters": _without_empty(to_dict(config))}}
    path.write_text(yaml.safe_dump(tree, sort_keys=True), encoding="utf-8")
    return path


def _without_empty(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {key: _without_empty(value) for key, value in tree.items() if value not in ({}, [], None)}


@dataclass(frozen=True, slots=True)
class Respawned:
    """A process that ended by itself and was started again. Times are monotonic; status: its exit status."""

    name: str
    ended_ns: int
    started_ns: int
    status: int


class Fleet:
    """Starts the processes on entry and ends them on exit: SIGINT first, SIGKILL for what does not end.

    respawn: start again, at once and then with growing pauses, whatever ends by itself; ``respawned`` tells. What ends young
    too many times in a row stays down: ``lost``, until ``forgive``. With ``health.spare_process`` a loaded process waits to
    become the next node that ends.
    """

    def __init__(
        self, plan: Sequence[NodeProcess], config: Config, folder: Path, namespace: str, *, respawn: bool = False
    ) -> None:
        self._plan, self._config, self._folder, self._namespace = plan, config, folder, namespace
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.respawned: list[Respawned] = []
        self.lost: dict[str, int] = {}
        """Processes that are not started any more -> last exit status."""
        self._quick: dict[str, int] = {}
        self._spare: Spare | None = None
        self._spare_due_s = float("inf")
        self._respawn, self._stopping = respawn, threading.Event()
        self._watch = threading.Thread(target=self._tend, name="fleet", daemon=True)
        self._stack = ExitStack()

    @property
    def managed(self) -> list[str]:
        """Names of the lifecycle nodes among its processes, in order of bring-up."""
        return [item.name for item in self._plan if item.name and item.executable != "supervisor"]

    def __enter__(self) -> Fleet:
        self._parameters = parameter_file(self._config, self._folder / "parameters.yaml")
        try:
            for item in self._plan:
                self.start(item)
        except BaseException:
            self._end()  # what did start
            raise
        if self._respawn:
            self._spare_soon()
            self._watch.start()
        return self

    def start(self, item: NodeProcess) -> subprocess.Popen[bytes]:
        """Start (or start again) one process; its log goes on in the folder."""
        key = item.name or item.executable
        words = command(item, self._parameters, self._namespace, self._folder)
        path, environment = self._folder / f"{key}.log", self._environment(item)
        process = self._take_spare(words, path, environment)
        if process is None:
            with path.open("ab") as log:
                process = subprocess.Popen(words, stdout=log, stderr=log, env=environment, start_new_session=True)
        if self._config.realtime.priority:
            _hurry(process.pid)
        self.processes[key] = process
        return process

    def _take_spare(
        self, words: list[str], log: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes] | None:
        """The spare process, on its way to be that node; None without one."""
        node_words = words[len(_MAIN) :]
        if self._spare is None or words[: len(_MAIN)] != _MAIN or not can_become(node_words):
            return None
        spare, self._spare = self._spare, None
        process = spare.become(node_words, log, environment)
        if process is None:
            spare.close()
        elif self._config.realtime.priority:
            _hurry_children(process.pid)
        return process

    def _spare_soon(self) -> None:
        if self._respawn and self._config.health.spare_process:
            self._spare_due_s = time.monotonic() + _SPARE_AFTER_S

    def _load_spare(self, now_s: float) -> None:
        """Start to load a spare if none is there and the last start is over."""
        if self._spare is not None or now_s < self._spare_due_s:
            return
        self._spare_due_s = float("inf")
        with contextlib.suppress(OSError), (self._folder / "spare.log").open("ab") as log:
            self._spare = Spare(log, {**os.environ, "PYTHONUNBUFFERED": "1"})

    def _environment(self, item: NodeProcess) -> dict[str, str]:
        """With the package's own DDS profile, processes of small messages get the one without shared memory."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self._config.realtime.priority:
            environment[PRIORITY_VARIABLE] = str(self._config.realtime.priority)
        small = item.executable in _SMALL and self._config.fusion.inputs == "ring"
        if small and environment.get(PROFILE_VARIABLE) == str(share("config/fastdds.xml")):
            environment.update(small_messages())
        return environment

    def _tend(self) -> None:
        """Start again what ended. Runs in a thread that lives as long as the fleet: it is the parent of what it starts."""
        due: dict[str, tuple[float, int]] = {}
        items = {item.name or item.executable: item for item in self._plan}
        while not self._stopping.wait(_LOOK_S):
            now_s = time.monotonic()
            self._load_spare(now_s)
            for name, item in items.items():
                status = self.processes[name].poll()
                if status is None or name in self.lost:
                    continue
                if name not in due:
                    due[name] = (now_s + self._pause_s(name, now_s), time.monotonic_ns())
                    if self._quick.get(name, 0) > _MOST_QUICK:
                        self.lost[name] = status
                        del due[name]
                        continue
                if now_s >= due[name][0] and self._started(item):
                    _, ended_ns = due.pop(name)
                    self.respawned.append(Respawned(name, ended_ns, time.monotonic_ns(), status))

    def _started(self, item: NodeProcess) -> bool:
        """Start a process again; False when the machine has no room for it now (disk, processes)."""
        try:
            self.start(item)
        except OSError:
            return False
        self._spare_soon()
        return True

    def _pause_s(self, name: str, now_s: float) -> float:
        """How long to wait before a process that ended just now is started again; counts quick ends."""
        quick = self._quick[name] = self._quick.get(name, -1) + 1 if self._died_young(name, now_s) else 0
        return min(_LONGEST_BACK_OFF_S, 0.1 * 2.0**quick) if quick else 0.0

    def forgive(self) -> None:
        """Give every lost process new tries."""
        self._quick.clear()
        self.lost.clear()

    def _died_young(self, name: str, now_s: float) -> bool:
        started = [item.started_ns for item in self.respawned if item.name == name]
        return bool(started) and now_s - started[-1] * 1e-9 < _STABLE_S

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._stopping.set()
        if self._watch.is_alive():
            self._watch.join()
        if self._spare is not None:
            self._spare.close()
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in self.processes.values():
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        remove_lease(lease_name(self._namespace))
        self._stack.close()


def small_messages() -> dict[str, str]:
    """Environment of a process that exchanges only small messages: no shared memory of DDS, and only this machine.

    The profile says so already; any narrower discovery range would have rmw add the transport again.
    """
    return {PROFILE_VARIABLE: str(share(_SMALL_PROFILE)), _RANGE_VARIABLE: "SYSTEM_DEFAULT"}


def _hurry(pid: int) -> None:
    """Put a starting process before ordinary ones; where that is not permitted it starts at ordinary speed."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(_START_PRIORITY))


def _hurry_children(pid: int) -> None:
    """The same for what it has started already (the blank worker of a spare)."""
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children():
            _hurry(child.pid)


def command(item: NodeProcess, parameters: Path, namespace: str, folder: Path) -> list[str]:
    """Command line of one node process."""
    words = [*_MAIN, item.executable, "--ros-args", "-r", f"__ns:={namespace}"]
    if item.name:
        words += ["-r", f"__node:={item.name}"]
    words += ["--params-file", str(parameters)]
    if item.parameters:
        own = folder / f"{item.name}.yaml"
        own.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(item.parameters)}}), encoding="utf-8")
        words += ["--params-file", str(own)]
    return words
