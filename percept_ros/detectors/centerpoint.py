"""CenterPoint in Autoware's form, by manifest: a pillar encoder and a backbone with heads, two graphs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from percept_ros.core.centre_maps import MAPS, CentreMaps, decode_maps
from percept_ros.core.pillars import PillarGrid, Pillariser, scatter
from percept_ros.detectors.lidar_model import Found, LidarModelDetector
from percept_ros.errors import ManifestError, TensorMismatch
from percept_ros.inference.manifest import Manifest
from percept_ros.settings import setting
from percept_ros.types import F64, PointCloud

ENCODER, HEAD = "encoder", "head"


@dataclass(frozen=True, slots=True)
class CenterPointInputs:
    """Grid of the encoder. Autoware: features 9, fourth ``time``, sensor_height_m 0 (points in the base frame)."""

    grid: PillarGrid = setting(
        PillarGrid(
            range_m=(-89.6, -89.6, -3.0, 89.6, 89.6, 5.0),
            pillar_m=(0.32, 0.32, 8.0),
            features=9,
            fourth="time",
            sensor_height_m=0.0,
        ),
        "grid and features",
    )


class CenterPointDetector(LidarModelDetector):
    """Satisfies ``detectors.detector.Detector``; the manifest's artefacts have ``part: encoder`` and ``part: head``."""

    parts = (ENCODER, HEAD)

    def prepare(self, manifest: Manifest) -> None:
        """Read pre- and post-processing and make buffers. Raises ManifestError."""
        kinds = (manifest.preprocess.kind, manifest.postprocess.kind)
        if kinds != ("centerpoint", "centerpoint"):
            raise ManifestError(f"model '{manifest.name}': processing {kinds}, expected centerpoint and centerpoint")
        self._grid = manifest.preprocess.read(CenterPointInputs).grid
        self._rules = manifest.postprocess.read(CentreMaps)
        self._pillariser = Pillariser(self._grid)
        self._image = np.zeros((1, 0, self._grid.ny, self._grid.nx), np.float32)

    @property
    def sensor_height_m(self) -> float:
        """Height of the model's frame above the base frame."""
        return self._grid.sensor_height_m

    def run(self, cloud: PointCloud, base_SE3_lidar: F64, deadline_ns: int | None) -> Found:
        """One sweep: pillars, encoder, scatter, head, maps."""
        found = self._pillariser.fill(cloud, base_SE3_lidar)
        encoder, head = self.engines[ENCODER], self.engines[HEAD]
        (spec,) = encoder.inputs
        rows = spec.shape[0] if spec.shape[0] >= 0 else max(found, 1)
        if rows < found or rows > len(self._pillariser.pillars):
            raise TensorMismatch(
                f"input '{spec.name}' has {rows} pillars, max_pillars is {self._grid.max_pillars}: make them equal"
            )
        pillars = self._pillariser.pillars[:rows].astype(spec.dtype, copy=False)
        encoded = encoder.infer({spec.name: pillars}, deadline_ns=deadline_ns)[encoder.outputs[0].name]
        image = self._scattered(encoded.reshape(rows, -1)[:found].astype(np.float32, copy=False), found)
        (wanted,) = head.inputs
        outputs = head.infer({wanted.name: image.astype(wanted.dtype, copy=False)}, deadline_ns=deadline_ns)
        maps = {name: outputs[name][0] for name in (*MAPS, "vel") if name in outputs}
        low, cell = self._grid.range_m, self._grid.pillar_m
        return decode_maps(maps, self._rules, (low[0], low[1]), (cell[0], cell[1]))

    def _scattered(self, features: np.ndarray, found: int) -> np.ndarray:
        if self._image.shape[1] != features.shape[1]:
            self._image = np.zeros((1, features.shape[1], self._grid.ny, self._grid.nx), np.float32)
        scatter(features, self._pillariser.cells[:found], self._grid, self._image[0])
        return self._image
