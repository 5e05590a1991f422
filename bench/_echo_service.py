"""A worker service that sends back what it gets (for the kill benchmark and others)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


class Echo:
    """See percept_ros.runtime.hosted.Service."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def load(self) -> bytes:
        return b"echo"

    def context(self, context: bytes) -> None:
        pass

    def handle(
        self, meta: bytes, arrays: Sequence[np.ndarray], deadline_ns: int | None
    ) -> tuple[bytes, Sequence[np.ndarray]]:
        return meta, arrays

    def close(self) -> None:
        pass
