"""Where sensors are mounted: from configuration, else from TF. Never the identity by default."""

from __future__ import annotations

import numpy as np

from percept_ros.config import Config
from percept_ros.core.geometry import check_rigid
from percept_ros.errors import TransformError
from percept_ros.nodes.transforms import Transforms
from percept_ros.types import F64


class Extrinsics:
    """Looks up ``base_SE3_sensor``; configured ones are checked at once."""

    def __init__(self, config: Config, transforms: Transforms | None) -> None:
        self._base, self._transforms = config.frames.base, transforms
        given = {"lidar": config.lidar.extrinsic, **{n: c.extrinsic for n, c in config.cameras.items()}}
        self._configured: dict[str, F64] = {
            name: check_rigid(np.array(values), f"extrinsic of '{name}'") for name, values in given.items() if values
        }

    def of(self, sensor: str, frame_id: str, stamp_ns: int) -> F64:
        """(4, 4) base_SE3_sensor. Raises TransformError when neither configuration nor TF knows it."""
        if (configured := self._configured.get(sensor)) is not None:
            return configured
        if self._transforms is None:
            raise TransformError(
                f"no extrinsic for sensor '{sensor}' (frame '{frame_id}'): TF is not available here; set"
                f" {'lidar' if sensor == 'lidar' else 'cameras.' + sensor}.extrinsic to 16 numbers"
            )
        return self._transforms.lookup(self._base, frame_id, stamp_ns)
