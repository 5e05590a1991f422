"""A detector over an ordered chain of detectors: the next one answers when one fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from percept_ros.detectors.detector import Detector
from percept_ros.errors import InferenceError, ModelError, WorkerDied
from percept_ros.types import Detections, SensorSet


class DetectorChain:
    """Satisfies Detector. ``rank`` is the position in the chain of the detector that answered last (0 = the first).

    A member that cannot be loaded is left out, with its reason in ``refused``; loading fails when none is left.
    """

    def __init__(self, members: Sequence[Detector]) -> None:
        self._members = list(members)
        self._usable: list[tuple[int, Detector]] = []
        self._last: tuple[int, Detector] | None = None
        self.refused: list[str] = []
        self.faults: Counter[str] = Counter()

    @property
    def model(self) -> str:
        """Model that answered last."""
        return self._last[1].model if self._last else ""

    @property
    def artefact_sha256(self) -> str:
        """Hash of what answered last."""
        return self._last[1].artefact_sha256 if self._last else ""

    @property
    def rank(self) -> int:
        """Position in the chain of the detector that answered last."""
        return self._last[0] if self._last else 0

    def load(self) -> None:
        """Load every member. Raises ModelError when none can be used."""
        self._usable = []
        for rank, member in enumerate(self._members):
            try:
                member.load()
            except (ModelError, WorkerDied) as exc:
                self.refused.append(str(exc))
            else:
                self._usable.append((rank, member))
        if not self._usable:
            raise ModelError(f"no detector of the chain can be used: {'; '.join(self.refused) or 'the chain is empty'}")
        self._last = self._usable[0]

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """The answer of the first member that gives one. Raises the last member's error when all fail."""
        error: Exception = InferenceError("detector chain is used before load or after close")
        for rank, member in self._usable:
            try:
                found = member.detect(sensors, deadline_ns=deadline_ns)
            except (InferenceError, ModelError, WorkerDied) as exc:
                self.faults[f"{member.model}/{type(exc).__name__}"] += 1
                error = exc
            else:
                self._last = (rank, member)
                return found
        raise error

    def close(self) -> None:
        """Close every member."""
        for _, member in reversed(self._usable):
            member.close()
        self._usable = []
