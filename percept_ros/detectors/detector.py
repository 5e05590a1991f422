"""A detector turns a sensor set into 3D detections: preprocess, infer, decode over buffers made once."""

from __future__ import annotations

from typing import Protocol

from percept_ros.types import Detections, Detections2D, SensorSet


class Detector(Protocol):
    """One model in use. All calls come from one thread; ``close`` may be called twice."""

    @property
    def model(self) -> str:
        """Id of the model, for example ``lidar_pillars@int8``."""
        ...

    @property
    def artefact_sha256(self) -> str:
        """Hash of the artefact that runs, "" when the model has none (geometric)."""
        ...

    def load(self) -> None:
        """Verify, open and warm. Raises ModelError."""
        ...

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        """3D boxes in the base frame. ``deadline_ns`` is on the monotonic clock. Raises InferenceError."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class ImageDetector(Protocol):
    """A 2D detector on single images, same life as ``Detector``."""

    @property
    def model(self) -> str: ...

    def load(self) -> None: ...

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> dict[str, Detections2D]:
        """Camera name -> boxes in that camera's rectified image."""
        ...

    def close(self) -> None: ...
