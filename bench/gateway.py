"""The HTTP gateway at twice its capacity: does every call get 200, 429 or 504, and does memory stay flat?

The server is ``percept gateway`` in a process of its own. First a caller for each worker, one call after the other, tells its
capacity; then calls come at random at twice that rate, whatever happened to those before. At last calls made up
from the OpenAPI document and damaged bodies look for server errors (schemathesis, a development requirement).
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import yaml

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))

from percept_ros.errors import SetupError  # noqa: E402
from percept_ros.gateway.drive import body_of  # noqa: E402
from percept_ros.simulate.drive import SimulateConfig, simulate_drive  # noqa: E402

ALLOWED = (200, 429, 504)
PATIENCE_S = 30.0


def run(
    *,
    seconds: float = 30.0,
    load: float = 2.0,
    workers: int = 1,
    queue: int = 8,
    deadline_ms: float = 500.0,
    beams: int = 32,
    model: str = "geometric",
    warm_calls: int = 700,
    fuzz_calls: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """load: arrivals over capacity. beams: of the simulated sweep that is sent. warm_calls: before memory is looked at: the
    telemetry keeps the last 600 frames. fuzz_calls: 0 = no made-up calls.
    """
    frame = next(simulate_drive(SimulateConfig(seconds=0.1, cameras=0, beams=beams), seed)).sensors
    body = body_of(frame)
    settings = {
        "gateway": {"port": 0, "workers": workers, "queue": queue},
        "detector": {"chain": [model], "isolation": "thread"},
        "budget": {"detect_ms": 5000.0},
    }
    with served(settings) as (url, process):
        host, port = urlsplit(url).hostname or "", urlsplit(url).port or 0
        caller = Caller(host, port, body, deadline_ms)
        asyncio.run(fill(caller, workers, warm_calls))
        capacity = asyncio.run(closed_loop(caller, workers, max(4.0, seconds / 5)))
        pressed = asyncio.run(open_loop(caller, load * capacity, seconds, process, seed))
        made_up = fuzzed(url, fuzz_calls, body, seed)
        metrics = read(url, "/metrics").decode()
    return report(capacity, pressed, made_up, len(body), "percept_gateway_entered 0.0" in metrics)


@dataclass
class Pressed:
    """What an open loop saw. late_ms: of calls that got 200. rss: calls answered so far, and resident kB then."""

    seconds: float
    offered: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    without_retry: int = 0
    without_fallback: int = 0
    rss: list[tuple[int, float]] = field(default_factory=list)


class Caller:
    """Posts one body over connections that are kept and used again."""

    def __init__(self, host: str, port: int, body: bytes, deadline_ms: float) -> None:
        self._host, self._port = host, port
        head = f"POST /v1/perceive HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/msgpack\r\n"
        head += f"X-Deadline-Ms: {deadline_ms}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer."""
        reader, writer = await self._connection()
        try:
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            answer = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            writer.close()
            raise
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head[0].split()[1]), headers, answer

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port, limit=1 << 24)

    def close(self) -> None:
        """Close what is kept."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def fill(caller: Caller, callers: int, calls: int) -> None:
    """Make ``calls`` calls, for a minute at most."""
    left, until = calls, time.perf_counter() + 60.0

    async def one() -> None:
        nonlocal left
        while left > 0 and time.perf_counter() < until:
            left -= 1
            await caller.call()

    await asyncio.gather(*(one() for _ in range(callers)))
    caller.close()


async def closed_loop(caller: Caller, callers: int, seconds: float) -> float:
    """Answers a second, in the best second, when each caller sends its next call after the last answer."""
    begin = time.perf_counter()
    answered: Counter[int] = Counter()

    async def one() -> None:
        while (now := time.perf_counter()) < begin + seconds:
            answered[int(now - begin)] += (await caller.call())[0] == 200

    await asyncio.gather(*(one() for _ in range(callers)))
    caller.close()
    return float(max(answered.values()))


async def open_loop(caller: Caller, rate_hz: float, seconds: float, process: psutil.Process, seed: int) -> Pressed:
    """Calls at random times, at ``rate_hz`` on average, and the memory of the server."""
    pressed, chance, tasks = Pressed(seconds), np.random.default_rng(seed), set()
    begin = time.perf_counter()
    due, next_look = begin, begin
    while (now := time.perf_counter()) < begin + seconds:
        if now >= next_look:
            pressed.rss.append((sum(pressed.statuses.values()), resident_kb(process)))
            next_look = now + seconds / 120
        while due <= now:
            task = asyncio.create_task(_count(caller, pressed))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            pressed.offered += 1
            due += float(chance.exponential(1.0 / rate_hz))
        await asyncio.sleep(max(0.0, min(due, next_look) - time.perf_counter()))
    if tasks:
        _, left = await asyncio.wait(tasks, timeout=PATIENCE_S)
        pressed.broken += ["no answer"] * len(left)
    caller.close()
    return pressed


async def _count(caller: Caller, pressed: Pressed) -> None:
    begin = time.perf_counter()
    try:
        status, headers, answer = await caller.call()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, KeyError) as exc:
        pressed.broken.append(type(exc).__name__)
        return
    spent_ms = (time.perf_counter() - begin) * 1e3
    pressed.statuses[status] += 1
    if status == 200:
        pressed.late_ms.append(spent_ms)
    elif status == 429:
        pressed.refused_ms.append(spent_ms)
        pressed.without_retry += "retry-after" not in headers
    elif status == 504:
        pressed.without_fallback += not json.loads(answer).get("fallback", {}).get("fallback")


def resident_kb(process: psutil.Process) -> float:
    """Resident memory of the server and its workers."""
    return float(sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))) / 1000


@contextmanager
def served(settings: dict[str, Any]) -> Iterator[tuple[str, psutil.Process]]:
    """``percept gateway`` in a process of its own, ready; gives its address."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.yaml"
        config.write_text(yaml.safe_dump(settings), encoding="utf-8")
        command = [sys.executable, "-m", "percept_ros.cli.main", "gateway", "--config", str(config), "--json"]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            _await_ready(url)
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(20)


def _await_ready(url: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        try:
            read(url, "/healthz/readiness")
            return
        except OSError:
            time.sleep(0.1)
    raise SetupError(f"the gateway at {url} was not ready within {PATIENCE_S:g} s")


def read(url: str, path: str) -> bytes:
    """Body of a GET."""
    with urllib.request.urlopen(url + path, timeout=10.0) as answer:
        found: bytes = answer.read()
    return found


def fuzzed(url: str, calls: int, body: bytes, seed: int) -> dict[str, Any]:
    """Made-up calls, a fifth of them damaged bodies."""
    if not calls:
        return {"calls": 0, "server_errors": 0, "skipped": "not asked for"}
    try:
        from _gateway_fuzz import damage, fuzz, summary
    except ImportError as exc:
        return {"calls": 0, "server_errors": 0, "skipped": f"schemathesis is not installed: {exc}"}
    parts = [fuzz(url, calls, seed), damage(url, body, max(1, calls // 5), seed)]
    return {**summary(parts), "schemathesis_calls": parts[0].calls}


def report(
    capacity: float, pressed: Pressed, made_up: dict[str, Any], body_bytes: int, settled: bool
) -> dict[str, Any]:
    """The figures. memory: slope over the last two thirds of the run, and its share of what is held."""
    answered = sum(pressed.statuses.values())
    steady = np.array(pressed.rss[len(pressed.rss) // 3 :], np.float64)
    slope = float(np.polyfit(steady[:, 0] / 1000, steady[:, 1], 1)[0]) if len(steady) > 2 else 0.0
    growth = float(np.median(steady[-10:, 1]) / np.median(steady[:10, 1]) - 1.0)
    late_ms, refused_ms = np.array(pressed.late_ms or [-1.0]), np.array(pressed.refused_ms or [-1.0])
    others = {str(status): n for status, n in pressed.statuses.items() if status not in ALLOWED}
    result: dict[str, Any] = {
        "capacity_hz": capacity,
        "offered_hz": pressed.offered / pressed.seconds,
        "answered_200_hz": pressed.statuses[200] / pressed.seconds,
        "offered": pressed.offered,
        "answered": answered,
        **{f"status_{status}": pressed.statuses[status] for status in ALLOWED},
        "other_statuses": others,
        "broken": len(pressed.broken),
        "first_broken": sorted(set(pressed.broken))[:3],
        "without_retry_after": pressed.without_retry,
        "without_fallback": pressed.without_fallback,
        "p50_ms": float(np.percentile(late_ms, 50)),
        "p99_ms": float(np.percentile(late_ms, 99)),
        "refusal_p99_ms": float(np.percentile(refused_ms, 99)),
        "rss_mb": float(steady[-1, 1] / 1000),
        "rss_slope_kb_per_1000": slope,
        "rss_growth_share": growth,
        "body_kb": body_bytes / 1000,
        "settled": settled,
        "fuzz": made_up,
    }
    whole = answered == pressed.offered and not others and not pressed.without_retry and not pressed.without_fallback
    result["ok"] = bool(whole and settled and growth < 0.05 and not made_up["server_errors"])
    return result


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """One row a figure."""
    rows: list[list[object]] = [[key, value] for key, value in result.items() if key != "fuzz"]
    return ["figure", "value"], rows + [[f"fuzz.{key}", value] for key, value in result["fuzz"].items()]
