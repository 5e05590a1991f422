"""Whether content that comes again under new stamps is that of a sensor that hangs, or of a simulator without noise at rest.

A real sensor has noise: identical bytes again and again mean that it hangs. A simulator without noise sends identical bytes
whenever nothing moves. What tells them apart: the vehicle moves while the content does not (it hangs, whatever it is); most
of the content stays the same to the bit while the rest changes (no noise); it repeats before anything else was ever seen
of it (nothing speaks for noise). Noise seen while the vehicle stands takes the benefit of doubt away again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from percept_ros.config import SemanticConfig
from percept_ros.health.look import Look
from percept_ros.types import F32, F64, U8

_ALIKE = 0.8
"""Share of a sample that is the same to the bit, while the rest changed, from which a sensor has no noise."""
_FIRST = 3
"""What repeats before that many changes were seen of it is taken for a sensor without noise."""
_KNOWN = 10
"""Changes in a row after which it is known how a sensor behaves."""
_MOVED_M, _TURNED_RAD = 0.1, 0.02
_STANDS_M, _STANDS_RAD = 0.005, 0.001


@dataclass(slots=True)
class Repeats:
    """Of one sensor. times: sets in a row with new stamps and old content. exact: whether it seems to have no noise.

    sample: of the content seen last.
    """

    times: int = 0
    exact: bool = False
    sample: U8 | F32 | None = None
    _stamp_ns: int = 0
    _count: int = 0
    _changes: int = 0
    _noise_at_rest: int = 0
    _pose: F64 | None = None
    _first_pose: F64 | None = None

    def see(self, stamp_ns: int, look: Look, count: int, pose: F64 | None) -> None:
        """Take in a look at one message, compared with ``sample``; the same one in two sets (same stamp) says nothing.

        pose: fixed_SE3_base about then, None when not known. count: points, or pixels of the sample.
        """
        if stamp_ns == self._stamp_ns:
            return
        if look.same and count == self._count:
            self.times += 1
        else:
            if self.sample is not None:
                self._changed(look.alike, pose)
            self.times, self._first_pose = 0, pose
        if self._first_pose is None:
            self._first_pose = pose
        self._stamp_ns, self.sample, self._count, self._pose = stamp_ns, look.sample, count, pose

    def hangs(self, config: SemanticConfig, pose: F64 | None) -> bool:
        """Whether the sensor must be taken for one that hangs."""
        if self.times < config.frozen_frames or config.frozen == "never":
            return False
        if config.frozen == "always" or _beyond(self._first_pose, pose, _MOVED_M, _TURNED_RAD):
            return True
        if self._changes < _FIRST:
            self.exact = True
        return not self.exact

    def _changed(self, alike: float, pose: F64 | None) -> None:
        self._changes += 1
        if alike >= _ALIKE:
            self.exact, self._noise_at_rest = True, 0
        elif self._pose is not None and not _beyond(self._pose, pose, _STANDS_M, _STANDS_RAD):
            self._noise_at_rest += pose is not None
            self.exact = self.exact and self._noise_at_rest < _KNOWN


def _beyond(first: F64 | None, now: F64 | None, metres: float, radians: float) -> bool:
    """Whether two poses are known and farther apart than that."""
    if first is None or now is None:
        return False
    turned = np.arccos(np.clip((np.trace(first[:3, :3].T @ now[:3, :3]) - 1.0) / 2.0, -1.0, 1.0))
    return bool(np.linalg.norm(now[:3, 3] - first[:3, 3]) > metres or turned > radians)
