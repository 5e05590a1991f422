"""When there is time to spare: between an answered sensor set and the next one that is expected."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median

from percept_ros.detectors.shadow import ShadowTest, Subject

_SUSPECT_PERIOD_NS = 1_000_000_000


class ShadowSlack:
    """Runs the shadow test in slack, one engine at a time, each once in ``period_s``. One thread; monotonic time.

    An engine that answered wrongly is asked again every second, so that it is back soon after it is well.
    """

    def __init__(self, test: Callable[[], ShadowTest], period_s: float) -> None:
        self._get, self._period_ns = test, int(period_s * 1e9)
        self._gaps_ns: deque[int] = deque(maxlen=9)
        self._answered_ns = 0
        self._ran_ns = time.monotonic_ns()

    @property
    def _test(self) -> ShadowTest:
        return self._get()

    def answered(self) -> None:
        """A sensor set was answered just now."""
        now_ns = time.monotonic_ns()
        if self._answered_ns:
            self._gaps_ns.append(now_ns - self._answered_ns)
        self._answered_ns = now_ns

    def use(self) -> Subject | None:
        """Run one test if it is due and the time until the next set suffices; returns what was tested."""
        now_ns = time.monotonic_ns()
        if not self._is_due(now_ns):
            return None
        free_ns = self._free_ns(now_ns)
        if free_ns < self._test.need_ns:
            return None
        self._ran_ns = now_ns
        return self._test.run(now_ns + free_ns)

    def _is_due(self, now_ns: int) -> bool:
        if not self._period_ns or not self._test.subjects:
            return False
        period_ns = self._period_ns // len(self._test.subjects)
        return now_ns - self._ran_ns >= (min(period_ns, _SUSPECT_PERIOD_NS) if self._test.suspects else period_ns)

    def _free_ns(self, now_ns: int) -> int:
        """Time until the next set is expected; 0 while that is not known or it is late."""
        if len(self._gaps_ns) < 3:
            return 0
        return max(0, self._answered_ns + int(median(self._gaps_ns)) - now_ns)
