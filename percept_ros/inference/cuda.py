"""A CUDA device through PyCUDA, owned by one thread.

Context, memory, streams and events live and die in the thread that made them; other threads hand it calls. The primary
context is retained (shared with other libraries of the process), never created anew, and pycuda.autoinit is never used.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout  # not the builtin one before Python 3.11
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from percept_ros.errors import DeadlineExceeded, EngineClosed, EngineUnavailable, InferenceError

T = TypeVar("T")

Bytes = npt.NDArray[np.uint8]


class Device(Protocol):
    """What an engine needs of a device. All methods belong to the device's thread."""

    def allocate(self, nbytes: int) -> int:
        """Address of device memory. Raises InferenceError when there is not enough."""
        ...

    def free(self, address: int) -> None:
        """Give device memory back."""
        ...

    def pinned(self, nbytes: int) -> Bytes:
        """(nbytes,) uint8 of page-locked host memory, freed by ``unpin``."""
        ...

    def unpin(self, memory: Bytes) -> None:
        """Give page-locked memory back."""
        ...

    def stream(self) -> Any:
        """A new stream that does not wait for the default stream."""
        ...

    def handle(self, stream: Any) -> int:
        """The driver's handle of a stream."""
        ...

    def copy_in(self, address: int, array: npt.NDArray[Any], stream: Any) -> None:
        """Start a copy from page-locked memory to the device."""
        ...

    def copy_out(self, array: npt.NDArray[Any], address: int, stream: Any) -> None:
        """Start a copy from the device to page-locked memory."""
        ...

    def follow(self, stream: Any, leader: Any) -> None:
        """What is put on ``stream`` from now on waits for what is on ``leader``."""
        ...

    def wait(self, stream: Any) -> None:
        """Block until the stream is done. Raises InferenceError for errors on the device."""
        ...

    def close(self) -> None:
        """Release the context."""
        ...


class PyCudaDevice:
    """``Device`` over PyCUDA."""

    def __init__(self, index: int) -> None:
        self._driver = _import()
        self._allocations: dict[int, Any] = {}
        try:
            self._driver.init()
            self._context = self._driver.Device(index).retain_primary_context()
            self._context.push()
        except self._driver.Error as exc:
            raise EngineUnavailable(f"CUDA device {index} cannot be opened: {exc}") from exc

    def allocate(self, nbytes: int) -> int:
        """See ``Device``."""
        held = self._call(self._driver.mem_alloc, max(nbytes, 1))
        self._allocations[int(held)] = held
        return int(held)

    def free(self, address: int) -> None:
        """See ``Device``."""
        self._call(self._allocations.pop(address).free)

    def pinned(self, nbytes: int) -> Bytes:
        """See ``Device``."""
        memory: Bytes = self._call(self._driver.pagelocked_empty, max(nbytes, 1), np.uint8)
        return memory

    def unpin(self, memory: Bytes) -> None:
        """See ``Device``."""
        base: Any = memory.base
        self._call(base.free)

    def stream(self) -> Any:
        """See ``Device``."""
        return self._call(self._driver.Stream, 1)  # non-blocking

    def handle(self, stream: Any) -> int:
        """See ``Device``."""
        return int(stream.handle)

    def copy_in(self, address: int, array: npt.NDArray[Any], stream: Any) -> None:
        """See ``Device``."""
        self._call(self._driver.memcpy_htod_async, address, array, stream)

    def copy_out(self, array: npt.NDArray[Any], address: int, stream: Any) -> None:
        """See ``Device``."""
        self._call(self._driver.memcpy_dtoh_async, array, address, stream)

    def follow(self, stream: Any, leader: Any) -> None:
        """See ``Device``."""
        event = self._call(self._driver.Event, self._driver.event_flags.DISABLE_TIMING)
        self._call(event.record, leader)
        self._call(stream.wait_for_event, event)

    def wait(self, stream: Any) -> None:
        """See ``Device``."""
        self._call(stream.synchronize)

    def close(self) -> None:
        """See ``Device``."""
        self._context.pop()
        self._context.detach()

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        except self._driver.Error as exc:
            raise InferenceError(f"CUDA: {exc}") from exc


class DeviceThread:
    """Runs calls one after the other on one thread that owns a device."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T], deadline_ns: int | None = None) -> T:
        """Run ``function`` there and wait for its answer.

        Past ``deadline_ns`` (monotonic) DeadlineExceeded is raised; the call itself goes on and later calls queue
        behind it.
        """
        if self._ended:
            raise EngineClosed("the device thread has ended")
        future: Future[T] = Future()
        self._calls.put((function, future))
        try:
            return future.result(_left_s(deadline_ns))
        except FutureTimeout as exc:
            future.cancel()
            raise DeadlineExceeded("the GPU did not answer by the deadline") from exc

    def end(self) -> None:
        """Let the thread finish what was handed to it and join it. Safe to call twice."""
        if not self._ended:
            self._ended = True
            self._calls.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            function, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as exc:  # handed to the caller, who raises it
                future.set_exception(exc)
            del function, future, item


def _left_s(deadline_ns: int | None) -> float | None:
    return None if deadline_ns is None else max(0.0, (deadline_ns - time.monotonic_ns()) * 1e-9)


def _import() -> Any:
    try:
        import pycuda.driver
    except ImportError as exc:
        raise EngineUnavailable(f"PyCUDA cannot be used: {exc} (pip install pycuda; needs the NVIDIA driver)") from exc
    return pycuda.driver
