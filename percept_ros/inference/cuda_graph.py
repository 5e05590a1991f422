"""CUDA graphs through cuda-bindings: a captured call is replayed with one launch. PyCUDA itself cannot capture."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from percept_ros.errors import InferenceError

LOG = logging.getLogger("percept_ros.tensorrt")
LIMIT = 8


class GraphCache:
    """Captured graphs by key, the least recently used dropped beyond ``LIMIT``. Belongs to the device's thread."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._graphs: OrderedDict[Hashable, Any] = OrderedDict()
        self._refused: set[Hashable] = set()

    def replay(self, key: Hashable, stream: int) -> bool:
        """Launch the graph of ``key`` on ``stream``; False when there is none."""
        if (graph := self._graphs.get(key)) is None:
            return False
        self._graphs.move_to_end(key)
        self._check("cuGraphLaunch", graph, self._driver.CUstream(stream))
        return True

    def capture(self, key: Hashable, stream: int, work: Callable[[], None]) -> None:
        """Capture what ``work`` puts on ``stream`` (it does not run). A shape that cannot be captured is not tried again."""
        if key in self._refused:
            return
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        handle = self._driver.CUstream(stream)
        self._check("cuStreamBeginCapture", handle, mode)
        try:
            work()
        except InferenceError as exc:
            self._driver.cuStreamEndCapture(handle)
            self._refuse(key, exc)
            return
        try:
            graph = self._check("cuStreamEndCapture", handle)
            self._graphs[key] = self._check("cuGraphInstantiate", graph, 0)
            self._check("cuGraphDestroy", graph)
        except InferenceError as exc:
            self._refuse(key, exc)
            return
        while len(self._graphs) > LIMIT:
            self._destroy(self._graphs.popitem(last=False)[1])

    def clear(self) -> None:
        """Drop all graphs: the addresses they hold are no longer valid."""
        while self._graphs:
            self._destroy(self._graphs.popitem()[1])

    def __len__(self) -> int:
        return len(self._graphs)

    def _refuse(self, key: Hashable, exc: InferenceError) -> None:
        self._refused.add(key)
        LOG.info("no CUDA graph for %s, calls are enqueued one by one: %s", key, exc)

    def _destroy(self, graph: Any) -> None:
        self._check("cuGraphExecDestroy", graph)

    def _check(self, name: str, *args: Any) -> Any:
        status, *values = getattr(self._driver, name)(*args)
        if int(status) != 0:
            raise InferenceError(f"CUDA: {name} failed with {status}")
        return values[0] if values else None


def open_graphs() -> GraphCache | None:
    """A cache where cuda-bindings is installed, else None."""
    try:
        from cuda.bindings import driver
    except ImportError:
        return None
    return GraphCache(driver)
