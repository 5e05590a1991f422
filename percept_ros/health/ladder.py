"""The degradation ladder: a pure state machine that says on which rung perception stands, and why.

Each frame (or silence) earns a rung by itself: ``earned``. The published mode is never better than that rung: it goes
down at once, and up only when N of the last M frames earned the better rung, the frame at hand among them, and the
minimum dwell on the present rung is over. The dwell doubles each time an upgrade did not last, so nothing flaps.
No clock is read: ``now_ns`` is passed in. docs/ladder.md is generated from ``LADDER``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from percept_ros.config import HealthConfig
from percept_ros.types import Mode, SensorSet

GEOMETRIC_MODEL = "geometric"
_MS = 1_000_000
_LONGEST_DWELL_NS = 5_000 * _MS


@dataclass(frozen=True, slots=True)
class Rung:
    """One row of the table. up_n of the last up_m frames, and dwell_ms on this rung, are needed to leave it upward."""

    mode: Mode
    enters: str
    up_n: int
    up_m: int
    dwell_ms: int


LADDER: tuple[Rung, ...] = (
    Rung(Mode.FULL, "every sensor is used and the first model of the chain answered", 1, 1, 0),
    Rung(Mode.REDUCED, "some cameras absent, or semantic health under its threshold", 4, 5, 300),
    Rung(Mode.LIDAR_ONLY, "no camera used", 4, 5, 300),
    Rung(Mode.CAMERA_ONLY, "no sweep, cameras used", 4, 5, 300),
    Rung(Mode.FALLBACK_MODEL, "a later model of the chain answered", 4, 5, 300),
    Rung(Mode.GEOMETRIC, "no network answered: clusters, as a fallback", 4, 5, 300),
    Rung(Mode.COASTING, "nothing detected anew: poses are predictions", 2, 3, 100),
    Rung(Mode.STALE, "nothing fresh within the coasting limit: the array is empty", 1, 1, 0),
)
"""The declared table, best rung first; a rung is entered downward by a single frame that earns it."""

_LONGEST_M = max(rung.up_m for rung in LADDER)


@dataclass(frozen=True, slots=True)
class Observation:
    """What one frame showed.

    cameras_used, cameras_total: of the configured ones. rank: position in the chain of the model that answered.
    detected: False when nothing was detected anew. health: semantic score, 0 to 1; concerns: what lowers it.
    remarks: what is absent or was cut.
    """

    lidar: bool
    cameras_used: int
    cameras_total: int
    rank: int = 0
    model: str = ""
    detected: bool = True
    health: float = 1.0
    remarks: str = ""
    concerns: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """State of the ladder: all that the next step depends on.

    since_ns: when ``mode`` was entered. recent: rungs earned lately, oldest first. fresh_ns: when something was last
    detected anew. raised_ns: last step up. flaps: steps up in a row that did not last.
    """

    mode: Mode = Mode.STALE
    cause: str = "no frame yet"
    since_ns: int | None = None
    recent: tuple[Mode, ...] = ()
    fresh_ns: int | None = None
    raised_ns: int | None = None
    flaps: int = 0


def earned(seen: Observation, unhealthy_below: float = 0.7) -> Mode:
    """The rung that one frame earns by itself."""
    rung = _rung_of_inputs(seen)
    if seen.health < unhealthy_below and rung < Mode.COASTING:
        return Mode(rung + 1)
    return rung


def _rung_of_inputs(seen: Observation) -> Mode:
    if not seen.detected:
        return Mode.COASTING
    if seen.rank > 0:
        return Mode.GEOMETRIC if seen.model == GEOMETRIC_MODEL else Mode.FALLBACK_MODEL
    if not seen.lidar:
        return Mode.CAMERA_ONLY if seen.cameras_used else Mode.COASTING
    if seen.cameras_used == seen.cameras_total:
        return Mode.FULL
    return Mode.REDUCED if seen.cameras_used else Mode.LIDAR_ONLY


def advance(state: Standing, rung: Mode, cause: str, now_ns: int, probation_ns: int = 2_000 * _MS) -> Standing:
    """The next state after a frame that earned ``rung``."""
    recent = (*state.recent, rung)[-_LONGEST_M:]
    if state.since_ns is not None and now_ns < state.since_ns:  # the clock went back
        state = replace(state, since_ns=now_ns, raised_ns=None)
    if rung > state.mode:
        return _lowered(replace(state, recent=recent), rung, cause, now_ns, probation_ns)
    target = _reachable(state, recent)
    if target >= state.mode or now_ns - _since(state, now_ns) < dwell_ns(state):
        return replace(state, recent=recent)
    return replace(state, mode=target, cause=cause, since_ns=now_ns, recent=recent, raised_ns=now_ns)


def dwell_ns(state: Standing) -> int:
    """Least time on the present rung before a step up."""
    return min(LADDER[state.mode].dwell_ms * _MS << min(state.flaps, 8), _LONGEST_DWELL_NS)


def _since(state: Standing, now_ns: int) -> int:
    return now_ns if state.since_ns is None else state.since_ns


def _lowered(state: Standing, rung: Mode, cause: str, now_ns: int, probation_ns: int) -> Standing:
    lasted = state.raised_ns is None or now_ns - state.raised_ns >= probation_ns
    flaps = 0 if lasted else state.flaps + 1
    return replace(state, mode=rung, cause=cause, since_ns=now_ns, raised_ns=None, flaps=flaps)


def _reachable(state: Standing, recent: tuple[Mode, ...]) -> Mode:
    """The best rung that N of the last M frames earned and the newest frame earned too."""
    need = LADDER[state.mode]
    window = sorted(recent[-need.up_m :])
    if len(window) < need.up_n:
        return state.mode
    return max(recent[-1], window[need.up_n - 1])


class Ladder:
    """Holds the state. Thread-safe: frames come from the pipeline, silences from the pulse."""

    def __init__(self, config: HealthConfig | None = None) -> None:
        self._config = config or HealthConfig()
        self._lock = threading.Lock()
        self._state = Standing()
        self._floor = Mode.FULL

    @property
    def standing(self) -> Standing:
        """Where the ladder stands now."""
        return self._state

    def hold(self, best: Mode) -> None:
        """Never publish a mode better than ``best`` (FULL = free)."""
        self._floor = best

    def reset(self) -> None:
        """Start afresh (time jump)."""
        with self._lock:
            self._state = Standing()

    def inherit(self, fresh_ns: int | None) -> None:
        """Go on where another process saw something fresh at ``fresh_ns``: coasting is allowed from there."""
        with self._lock:
            mine_ns = self._state.fresh_ns
            newest_ns = fresh_ns if mine_ns is None or fresh_ns is None else max(mine_ns, fresh_ns)
            self._state = replace(self._state, fresh_ns=newest_ns)

    def frame(self, seen: Observation, now_ns: int) -> Standing:
        """Take in one frame; returns the state whose mode and cause are to be published with it."""
        rung = earned(seen, self._config.unhealthy_below)
        with self._lock:
            if rung < Mode.COASTING:
                self._state = replace(self._state, fresh_ns=now_ns)
            elif self._limit_passed(now_ns):
                rung = Mode.STALE
            return self._advance(rung, describe(seen, rung, self._config.unhealthy_below), now_ns)

    def silence(self, silent_ns: int, now_ns: int) -> Standing:
        """No frame came for ``silent_ns``."""
        with self._lock:
            rung = Mode.STALE if self._limit_passed(now_ns) else Mode.COASTING
            return self._advance(rung, f"no sensor set for {silent_ns / _MS:.0f} ms", now_ns)

    def _limit_passed(self, now_ns: int) -> bool:
        fresh_ns = self._state.fresh_ns
        return fresh_ns is None or not 0 <= now_ns - fresh_ns <= self._config.coast_limit_ms * _MS

    def _advance(self, rung: Mode, cause: str, now_ns: int) -> Standing:
        if rung < self._floor:
            rung, cause = self._floor, f"held at {self._floor.name} by set-mode"
        self._state = advance(self._state, rung, cause, now_ns, int(self._config.probation_ms * _MS))
        return self._state


def describe(seen: Observation, rung: Mode, unhealthy_below: float) -> str:
    """Why a frame earned its rung, for people."""
    parts = [seen.remarks] if seen.remarks else []
    if not seen.detected:
        parts.append("nothing detected anew")
    elif seen.rank > 0:
        parts.append(f"model {seen.rank + 1} of the chain answered ({seen.model})")
    if seen.health < unhealthy_below:
        parts.append(f"health {seen.health:.2f}" + (f": {seen.concerns}" if seen.concerns else ""))
    if rung is Mode.STALE:
        parts.append("the coasting limit has passed")
    return "; ".join(parts) or "all sensors present"


def observe(
    sensors: SensorSet,
    model: str,
    rank: int,
    *,
    detected: bool,
    images_failed: bool = False,
    health: float = 1.0,
    concerns: tuple[str, ...] = (),
) -> Observation:
    """What one processed sensor set showed. images_failed: the camera model gave no answer, so no camera was used."""
    remarks = [f"{name} {reason.name.lower()}" for name, reason in sensors.absent.items()]
    if images_failed:
        remarks.append("the camera model failed or was cut")
    used = 0 if images_failed else len(sensors.cameras)
    lidar = sensors.cloud is not None
    said = "; ".join(remarks)
    return Observation(lidar, used, len(sensors.camera_order), rank, model, detected, health, said, ", ".join(concerns))
