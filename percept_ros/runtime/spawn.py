"""Starts the interpreters of workers. Imports little, so that a program can start one before anything else.

``prepare`` starts a blank worker (interpreter and numpy, no service yet) that loads while the program still imports; the
next Worker then takes it over.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache

Child = tuple["subprocess.Popen[bytes]", socket.socket]
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_blank: deque[Future[Child]] = deque()


def prepare(count: int = 1, modules: Sequence[str] = ()) -> None:
    """Start ``count`` blank workers in the background. modules: what they import while they wait."""
    _blank.extend(_spawner().submit(_spawn, modules) for _ in range(count))


def prepared() -> bool:
    """Whether a blank worker was started and not taken yet."""
    return bool(_blank)


def discard() -> None:
    """End the blank workers: this process needs none."""
    while _blank:
        process, ours = _blank.popleft().result()
        ours.close()
        process.kill()
        process.wait()


def ready() -> bool:
    """Whether ``take`` would return at once; if not, a blank worker is prepared, so that it soon will."""
    if not _blank:
        prepare()
    return _blank[0].done()


def take() -> Child:
    """A blank worker: one that was prepared, else a new one."""
    try:
        return _blank.popleft().result()
    except IndexError:
        return _spawner().submit(_spawn).result()


@cache
def _spawner() -> ThreadPoolExecutor:
    """The one thread that starts children: the kernel kills them when the thread that started them ends."""
    return ThreadPoolExecutor(1, "percept-spawner")


def _spawn(modules: Sequence[str] = ()) -> Child:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "percept_ros.runtime.hosted", str(theirs.fileno()), str(os.getpid()), *modules]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=(theirs.fileno(),),
            env={**_ONE_THREAD, **os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
    return process, ours
