"""The degradation ladder: on which rung a frame stands."""

from __future__ import annotations

from percept_ros.types import Mode, SensorSet

GEOMETRIC_MODEL = "geometric"


def rung_of(sensors: SensorSet, model: str, rank: int, *, detected: bool) -> Mode:
    """The rung that one frame earns by itself.

    rank: position of the answering model in the chain. detected: False when nothing was detected anew.
    """
    if not detected:
        return Mode.COASTING
    if rank > 0:
        return Mode.GEOMETRIC if model == GEOMETRIC_MODEL else Mode.FALLBACK_MODEL
    if sensors.cloud is None:
        return Mode.CAMERA_ONLY
    if not sensors.absent:
        return Mode.FULL
    return Mode.REDUCED if sensors.cameras else Mode.LIDAR_ONLY
