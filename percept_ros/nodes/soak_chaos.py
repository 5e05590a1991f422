"""Plays the faults of a plan that strike processes, engines and the machine. Sensor faults are played by the drive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from percept_ros.detectors.drill import COMMAND
from percept_ros.nodes.fleet import Fleet
from percept_ros.nodes.names import CAMERA_PREFIX, LIDAR
from percept_ros.soak.plan import BY_NAME, ENGINE, SENSOR, Fault, Plan
from percept_ros.soak.records import Struck
from percept_ros.soak.sandbox import SHARED_MEMORY, Filler

_HOSTED = "percept_ros.runtime.hosted"
_BURNERS_A_CORE = 2


@dataclass(frozen=True, slots=True)
class Grounds:
    """Where faults strike. drill: folder of the drilled model. logs: folder to fill. private: see Sandbox."""

    drill: Path
    logs: Path
    private: bool


class Chaos:
    """Plays faults at their time, one after the other, in the calling thread."""

    def __init__(self, plan: Plan, fleet: Fleet, grounds: Grounds, calls: Callable[[], int]) -> None:
        self._plan, self._fleet, self._grounds, self._worker_pid = plan, fleet, grounds, calls
        self.strokes: list[Struck] = []

    def run(self, start_ns: int, stop: threading.Event, progress: Callable[[Fault], None]) -> None:
        """Play everything; returns after the last fault."""
        for fault in self._plan.faults:
            if stop.wait(max(0.0, fault.at_s - (time.monotonic_ns() - start_ns) * 1e-9)):
                return
            progress(fault)
            self.strokes.append(self._strike(fault, start_ns, stop))

    def _strike(self, fault: Fault, start_ns: int, stop: threading.Event) -> Struck:
        place, begin_ns = BY_NAME[fault.kind].place, time.monotonic_ns()
        if place == SENSOR:
            at_ns = start_ns + int(fault.at_s * 1e9)
            return Struck(fault.number, fault.kind, fault.target, at_ns, at_ns + int(fault.seconds * 1e9))
        pid, skipped = 0, ""
        if fault.kind.startswith("kill_"):
            pid = self._kill(fault)
            skipped = "" if pid else "no such process"
        elif place == ENGINE:
            self._command(fault)
            stop.wait(fault.seconds)
        else:
            skipped = self._trouble(fault, stop)
        return Struck(fault.number, fault.kind, fault.target, begin_ns, time.monotonic_ns(), pid, skipped)

    def _kill(self, fault: Fault) -> int:
        pid = self._worker_pid() if fault.target == "worker" else self._node_pid(fault.target)
        try:
            if pid:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return 0
        return pid

    def _node_pid(self, target: str) -> int:
        name = target if target in ("fusion", LIDAR) else CAMERA_PREFIX + target
        process = self._fleet.processes.get(name)
        return process.pid if process is not None and process.poll() is None else 0

    def _command(self, fault: Fault) -> None:
        until_ns = 0 if fault.kind == "engine_hang" else time.monotonic_ns() + int(fault.seconds * 1e9)
        part = self._grounds.drill / f"{COMMAND}.part"
        part.write_text(f"{fault.kind.removeprefix('engine_')} {until_ns}")
        part.replace(self._grounds.drill / COMMAND)

    def _trouble(self, fault: Fault, stop: threading.Event) -> str:
        """Trouble of the machine for the fault's time; returns why it could not be made."""
        with ExitStack() as stack:
            if fault.kind == "cpu_starvation":
                for _ in range(_BURNERS_A_CORE * (os.cpu_count() or 1)):
                    stack.enter_context(_Burner())
            elif not self._grounds.private:
                return "no private file systems (CAP_SYS_ADMIN): a real disk is not filled up"
            else:
                full = SHARED_MEMORY if fault.kind == "shared_memory_full" else self._grounds.logs
                stack.enter_context(Filler(full))
            stop.wait(fault.seconds)
        return ""


class _Burner:
    """A process that only burns CPU time, at ordinary priority."""

    def __enter__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"], stdin=subprocess.DEVNULL)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def tree_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A node process and its workers."""
    try:
        root = psutil.Process(process.pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []
