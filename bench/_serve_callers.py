"""Closed-loop callers of the serve benchmark: each sends its next request when the last was answered or refused."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np

from percept_ros.errors import ResourceExhausted


@dataclass
class Load:
    """What callers of one level saw. refused: by policy (429); broken: connections that failed."""

    callers: int
    seconds: float = 0.0
    late_ms: list[float] = field(default_factory=list)
    refused: int = 0
    broken: int = 0
    unanswered: int = 0

    def figures(self) -> dict[str, float]:
        late_ms = np.array(self.late_ms or [-1.0])
        p50, p99, p999 = (float(np.percentile(late_ms, q)) for q in (50, 99, 99.9))
        kept = {"qps": len(self.late_ms) / self.seconds, "p50_ms": p50, "p99_ms": p99, "p999_ms": p999}
        counts = {"answered": len(self.late_ms), "refused": self.refused, "broken": self.broken}
        return {**kept, **counts, "unanswered": self.unanswered}


Call = Callable[[], Awaitable[None]]


async def drive(
    make_call: Callable[[int], Awaitable[Call]], callers: int, seconds: float, warm_s: float, *, keep: bool = True
) -> Load:
    """Let ``callers`` callers work for ``seconds`` after ``warm_s``. keep: how long each call took (32 bytes a call)."""
    load = Load(callers, seconds)
    begin = time.perf_counter() + warm_s
    end = begin + seconds

    async def caller(index: int) -> None:
        call = await make_call(index)
        while (start := time.perf_counter()) < end:
            try:
                await call()
            except ResourceExhausted as exc:
                load.refused += start >= begin
                await asyncio.sleep(exc.retry_after_s)
            except (OSError, ValueError):
                load.broken += start >= begin
            else:
                if keep and start >= begin:
                    load.late_ms.append((time.perf_counter() - start) * 1e3)

    tasks = [asyncio.create_task(caller(index)) for index in range(callers)]
    done, left = await asyncio.wait(tasks, timeout=warm_s + seconds + 30.0)
    load.unanswered = len(left)
    for task in left:
        task.cancel()
    for task in done:
        task.result()
    return load


def http_call(port: int, body: bytes) -> Callable[[int], Awaitable[Call]]:
    """Callers that post ``body`` to the peer, one connection a request (its server closes each)."""
    head = f"POST /infer HTTP/1.0\r\nHost: peer\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def connect(index: int) -> Call:
        async def call() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head + body)
                answer = await reader.read()
                json.loads(answer.partition(b"\r\n\r\n")[2])
            finally:
                writer.close()

        return call

    return connect


def allow_connections(count: int) -> None:
    """Raise the limit of open files for this process and its children."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
