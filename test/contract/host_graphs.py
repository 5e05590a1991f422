"""A stand-in for ``cuda.bindings.driver`` that captures and replays what host_tensorrt enqueues."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

recording: list[Callable[[], bool]] | None = None
launches = 0
Work = list[Callable[[], bool]]


class CUstream(int):
    pass


class CUstreamCaptureMode(Enum):
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


def cuStreamBeginCapture(stream: CUstream, mode: CUstreamCaptureMode) -> tuple[int]:
    global recording
    recording = []
    return (0,)


def cuStreamEndCapture(stream: CUstream) -> tuple[int, Work]:
    global recording
    work, recording = recording or [], None
    return (0, work)


def cuGraphInstantiate(graph: Work, flags: int) -> tuple[int, Work]:
    return (0, graph)


def cuGraphDestroy(graph: Work) -> tuple[int]:
    return (0,)


def cuGraphExecDestroy(graph: Work) -> tuple[int]:
    return (0,)


def cuGraphLaunch(graph: Work, stream: CUstream) -> tuple[int]:
    global launches
    launches += 1
    return (0 if all(work() for work in graph) else 700,)
