"""Runs a soak: the real processes, a drive that is played into them, an observer outside, and the faults of a plan."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from percept_ros.config import Config, load_config
from percept_ros.detectors.drill import CALLS
from percept_ros.errors import SetupError
from percept_ros.inference.manifest import FILE_NAME, find_model
from percept_ros.nodes.fleet import Fleet, node_plan, small_messages
from percept_ros.nodes.realtime import NAMESPACE, isolate_dds
from percept_ros.nodes.soak_chaos import Chaos, Grounds
from percept_ros.nodes.soak_watch import ResourceWatch
from percept_ros.replay.bag_reader import BagReader
from percept_ros.replay.discovery import BagTopics, discover
from percept_ros.replay.simulated import record_drive
from percept_ros.simulate.drive import SimulateConfig
from percept_ros.soak.plan import LIDAR, Fault, Plan, make_plan
from percept_ros.soak.records import Records, Restart, last_caller, read_answers, read_seen, read_sent
from percept_ros.soak.sandbox import enter_sandbox

_FULL_WITHIN_S = 60.0
_SETTLE_S = 2.0
_TAIL_S = 1.0
_END_S = 10.0
_OUTSIDE = 5
"""Priority of drive and observer over the nodes: they stand for sensors and for a consumer on other machines."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, how much is done, and how much there is."""


@dataclass(frozen=True, slots=True)
class SoakJob:
    """What to run. kinds: of faults, none = no faults. loop_s: length of the simulated drive. priority: of SCHED_FIFO for all
    processes of the run, 0 = ordinary scheduling."""

    out: Path
    seconds: float = 600.0
    seed: int = 1
    kinds: tuple[str, ...] = ()
    cameras: int = 2
    beams: int = 32
    loop_s: float = 30.0
    spacing_s: float = 5.0
    priority: int = 0
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class SoakRun:
    """Records of a finished run. resources: see ResourceWatch. notes: what could not be done, for people."""

    records: Records
    plan: Plan
    cameras: tuple[str, ...]
    resources: dict[str, Any]
    notes: tuple[str, ...]


def run_soak(job: SoakJob, progress: Progress) -> SoakRun:
    """Run ``job``. Call it from the main thread of a process that does nothing else: it enters a mount namespace.

    Raises SetupError when the nodes do not come up, ConfigError for a plan that has no room.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a run that is told to end takes its processes with it
    job.out.mkdir(parents=True, exist_ok=True)
    bag = job.out / "drive.mcap"
    _record(bag, job, progress)
    isolate_dds()
    logs = job.out / "nodes"
    box = enter_sandbox(logs)
    notes = [] if box.private else [f"{box.refusal}: faults of disk and shared memory are skipped"]
    with BagReader(bag) as reader:
        topics = discover(reader.topics, load_config(job.config))
    config = _configured(job, topics)
    cameras = tuple(config.camera_order)
    plan = make_plan(job.seconds, job.seed, cameras, kinds=job.kinds, loop_s=job.loop_s, spacing_s=job.spacing_s)
    plan.save(job.out / "plan.json")
    with ExitStack() as stack:
        stack.callback(_keep_logs, logs, job.out / "logs")
        fleet = stack.enter_context(Fleet(node_plan(config), config, logs, NAMESPACE, respawn=True))
        observer = stack.enter_context(_Helper("soak_observer", _observer_job(job), job.out, small_messages()))
        drive = stack.enter_context(_Helper("soak_drive", _drive_job(job, bag, topics), job.out))
        for helper in (observer, drive):
            helper.expect("ready", 30.0)
        observer.expect("mode 0", _FULL_WITHIN_S)
        threading.Event().wait(_SETTLE_S)
        start_ns = int(drive.ask("go", "start", 5.0))
        watch = stack.enter_context(ResourceWatch(fleet))
        stop = threading.Event()
        calls = job.out / "drilled" / CALLS
        chaos = Chaos(plan, fleet, Grounds(job.out / "drilled", logs, box.private), lambda: last_caller(calls))
        _play(chaos, plan, start_ns, stop, progress)
        threading.Event().wait(_TAIL_S)
    records = _records(job, start_ns, int(plan.seconds * 1e9), chaos, fleet)
    return SoakRun(records, plan, cameras, watch.summary(), tuple(notes))


def _play(chaos: Chaos, plan: Plan, start_ns: int, stop: threading.Event, progress: Progress) -> None:
    total = round(plan.seconds)

    def tell(fault: Fault) -> None:
        progress(f"{fault.kind} on {fault.target}", round(fault.at_s), total)

    chaos.run(start_ns, stop, tell)
    while (left_s := plan.seconds - (time.monotonic_ns() - start_ns) * 1e-9) > 0:
        progress("no more faults", round(plan.seconds - left_s), total)
        stop.wait(min(left_s, 5.0))


def _record(bag: Path, job: SoakJob, progress: Progress) -> None:
    """Simulate the drive, once a folder."""
    made = bag.with_suffix(".json")
    wanted = {"seconds": job.loop_s, "cameras": job.cameras, "beams": job.beams, "seed": job.seed}
    if bag.exists() and made.exists() and json.loads(made.read_text()) == wanted:
        return
    bag.unlink(missing_ok=True)
    shape = SimulateConfig(
        seconds=job.loop_s, cameras=job.cameras, beams=job.beams, width_px=320, height_px=180, density=0.5
    )
    record_drive(bag, shape, job.seed, lambda done, total: progress("simulate the drive", done, total), raw=True)
    made.write_text(json.dumps(wanted), encoding="utf-8")


def _configured(job: SoakJob, topics: BagTopics) -> Config:
    """The configuration of the run: the drive's topics, the drilled model before the geometric one."""
    config = topics.configured(load_config(job.config))
    first, *rest = config.detector.chain
    folder = _drilled_model(job.out / "drilled", first)
    detector = dataclasses.replace(config.detector, chain=(str(folder), *rest), worker_memory_mb=600.0)
    budget = dataclasses.replace(config.budget, detect_ms=80.0)
    fusion = dataclasses.replace(config.fusion, standby=True)
    health = dataclasses.replace(config.health, pulse_ms=130.0, coast_limit_ms=3000.0)
    tracking = dataclasses.replace(config.tracking, max_coast_s=3.0)
    realtime = dataclasses.replace(config.realtime, priority=job.priority)
    return dataclasses.replace(
        config, detector=detector, budget=budget, realtime=realtime, fusion=fusion, health=health, tracking=tracking
    )


def _drilled_model(folder: Path, model: str) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = find_model(model)
    manifest = yaml.safe_load((found / FILE_NAME).read_text(encoding="utf-8"))
    manifest["preprocess"] = {"kind": "drill", "params": {"model": str(found.resolve())}}
    (folder / FILE_NAME).write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return folder.resolve()


def _observer_job(job: SoakJob) -> dict[str, Any]:
    return {
        "tracks": f"{NAMESPACE}/fusion/tracks",
        "status": [f"{NAMESPACE}/fusion/status", f"{NAMESPACE}/fusion_standby/status"],
        "seen": str(job.out / "seen.jsonl"),
        "priority": job.priority + _OUTSIDE if job.priority else 0,
    }


def _drive_job(job: SoakJob, bag: Path, topics: BagTopics) -> dict[str, Any]:
    return {
        "bag": str(bag),
        "plan": str(job.out / "plan.json"),
        "evidence": str(job.out / "sent.jsonl"),
        "sensors": {topics.lidar: LIDAR, **{camera.image: camera.name for camera in topics.cameras}},
        "period_ns": int(job.loop_s * 1e9),
        "priority": job.priority + _OUTSIDE if job.priority else 0,
    }


def _records(job: SoakJob, start_ns: int, length_ns: int, chaos: Chaos, fleet: Fleet) -> Records:
    seen, said, stalls, broken = read_seen(job.out / "seen.jsonl")
    strokes = list(chaos.strokes)
    restarts = [Restart(item.name, item.ended_ns, item.started_ns) for item in fleet.respawned]
    events = {
        "start_ns": start_ns,
        "end_ns": start_ns + length_ns,
        "strokes": [dataclasses.asdict(s) for s in strokes],
        "restarts": [dataclasses.asdict(r) for r in restarts],
    }
    (job.out / "events.json").write_text(json.dumps(events, indent=1), encoding="utf-8")
    answers = read_answers(job.out / "drilled" / CALLS)
    sent = read_sent(job.out / "sent.jsonl")
    return Records(start_ns, start_ns + length_ns, seen, said, sent, answers, strokes, restarts, stalls, broken)


def _keep_logs(logs: Path, kept: Path) -> None:
    """Bring the logs out of the file system in memory."""
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for file in logs.glob("*.log"):
        shutil.copy(file, kept / file.name)


class _Helper:
    """A process of the run beside the nodes; it ends when its standard input is closed."""

    def __init__(self, module: str, job: dict[str, Any], out: Path, environment: dict[str, str] | None = None) -> None:
        self._module, self._out, self._environment = module, out, environment or {}
        self._job = out / f"{module}.json"
        self._job.write_text(json.dumps(job), encoding="utf-8")
        self._lines: list[str] = []
        self._more = threading.Condition()

    def __enter__(self) -> _Helper:
        self._log = (self._out / f"{self._module}.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"percept_ros.nodes.{self._module}", str(self._job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **self._environment},
            text=True,
            bufsize=1,
        )
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def expect(self, start: str, limit_s: float) -> str:
        """The first line that starts with ``start``. Raises SetupError when none comes in time."""
        with self._more:
            if not self._more.wait_for(lambda: self._find(start) is not None, limit_s):
                raise SetupError(
                    f"'{start}' did not come from {self._module} within {limit_s:.0f} s: see the logs in {self._out}"
                )
            return self._find(start) or ""

    def ask(self, line: str, answer: str, limit_s: float) -> str:
        """Send a line; returns what follows ``answer``."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.expect(answer, limit_s).split()[1]

    def _find(self, start: str) -> str | None:
        return next((line for line in self._lines if line.startswith(start)), None)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._more:
                self._lines.append(line.strip())
                del self._lines[:-1000]
                self._more.notify_all()
