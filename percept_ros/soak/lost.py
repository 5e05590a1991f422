"""Track ids that changed over a fault although the object went on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from percept_ros.soak.array_reader import SeenTrack
from percept_ros.soak.records import Seen, Struck
from percept_ros.types import TrackState

SETTLED_S = 1.0
LOOK_NS = 1_000_000_000
NEAR_M = 2.0


def lost_tracks(good: Sequence[Seen], struck: Struck, until_ns: int) -> int:
    """How many tracks confirmed before the fault go on under another id.

    Such a track is at least ``SETTLED_S`` old and measured in the last array before the fault, is gone from the array a
    second after the condition ended, and a track born since lies within ``NEAR_M`` of where it should be.
    """
    before = next((seen for seen in reversed(good) if seen.at_ns < struck.begin_ns), None)
    after = next((seen for seen in good if struck.end_ns + LOOK_NS <= seen.at_ns < until_ns), None)
    if before is None or after is None:
        return 0
    old = {t.id: t for t in before.tracks if t.state == TrackState.CONFIRMED and t.age_s >= SETTLED_S}
    here = {t.id for t in after.tracks}
    dt_s = (after.stamp_ns - before.stamp_ns) / 1e9
    born = [t for t in after.tracks if t.age_s < dt_s and t.state != TrackState.TENTATIVE]
    return sum(_goes_on(track, born, dt_s) for name, track in old.items() if name not in here)


def _goes_on(track: SeenTrack, born: Sequence[SeenTrack], dt_s: float) -> bool:
    x_m, y_m = track.x_m + track.vx_mps * dt_s, track.y_m + track.vy_mps * dt_s
    return any(np.hypot(new.x_m - x_m, new.y_m - y_m) < NEAR_M for new in born)
