"""PointPillars as others export it: OpenPCDet and NVIDIA, by manifest.

Preprocessing ``pillars`` gives gathered returns (``features`` 4: OpenPCDet's raw form; 10: NVIDIA's, decorated), ``points``
the sweep itself (NVIDIA TAO, whose engine makes the pillars). Postprocessing ``anchors`` decodes dense heads, ``boxes`` takes
rows of boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.core.anchors import AnchorHead, BoxRows, decode_anchors, decode_rows
from percept_ros.core.pillars import PillarGrid, Pillariser
from percept_ros.detectors.lidar_model import Found, LidarModelDetector
from percept_ros.errors import InputError, ManifestError, TensorMismatch
from percept_ros.inference.engine import InferenceEngine, Tensors, TensorSpec
from percept_ros.inference.manifest import Manifest
from percept_ros.settings import setting
from percept_ros.types import F64, PointCloud


@dataclass(frozen=True, slots=True)
class PillarInputs:
    """Names of the network's inputs; an empty name = the network has none."""

    grid: PillarGrid = setting(PillarGrid(), "grid and features")
    pillars: str = setting("voxels", "(pillars, points, features) returns")
    cells: str = setting("voxel_coords", "(pillars, 4) batch, z, row y, column x")
    counts: str = setting("voxel_num_points", "(pillars,) returns of each pillar")
    number: str = setting("", "(1,) number of valid pillars")


@dataclass(frozen=True, slots=True)
class PointInputs:
    """Inputs of networks that take the sweep itself."""

    points: str = setting("points", "(1, points, 4) x y z intensity")
    number: str = setting("num_points", "(1,) number of valid points")
    fourth: str = setting("intensity", "fourth value of a return", choices=("intensity", "time", "zero"))
    sensor_height_m: float = setting(1.73, "height of the training sensor above the road", low=-10.0, high=10.0)


class PointPillarsDetector(LidarModelDetector):
    """Satisfies ``detectors.detector.Detector``; see the module."""

    def prepare(self, manifest: Manifest) -> None:
        """Read pre- and post-processing and make buffers. Raises ManifestError."""
        kind = manifest.preprocess.kind
        self._pillars = manifest.preprocess.read(PillarInputs) if kind == "pillars" else None
        self._points = manifest.preprocess.read(PointInputs) if kind == "points" else None
        if self._pillars is None and self._points is None:
            raise ManifestError(f"model '{manifest.name}': preprocessing '{kind}', expected 'pillars' or 'points'")
        after = manifest.postprocess
        self._anchors = after.read(AnchorHead) if after.kind == "anchors" else None
        self._rows = after.read(BoxRows) if after.kind == "boxes" else None
        if self._rows is None and (self._anchors is None or self._pillars is None):
            raise ManifestError(
                f"model '{manifest.name}': postprocessing '{after.kind}', expected 'anchors' or 'boxes'"
            )
        self._pillariser = Pillariser(self._pillars.grid) if self._pillars else None
        self._own_classes = len(manifest.classes)

    @property
    def sensor_height_m(self) -> float:
        """Height of the model's frame above the base frame."""
        return (
            self._pillars.grid.sensor_height_m
            if self._pillars
            else self._points.sensor_height_m
            if self._points
            else 0.0
        )

    def run(self, cloud: PointCloud, base_SE3_lidar: F64, deadline_ns: int | None) -> Found:
        """One sweep through the network."""
        engine = self.engines[""]
        outputs = engine.infer(self._inputs(engine, cloud, base_SE3_lidar), deadline_ns=deadline_ns)
        boxes, scores = self._decode(outputs)
        return boxes, scores, np.full((len(boxes), 2), np.nan)

    def _inputs(self, engine: InferenceEngine, cloud: PointCloud, base_SE3_lidar: F64) -> Tensors:
        specs = {spec.name: spec for spec in engine.inputs}
        if self._pillars is None or self._pillariser is None:
            assert self._points is not None
            return point_inputs(specs, self._points, cloud, base_SE3_lidar)
        found = self._pillariser.fill(cloud, base_SE3_lidar)
        names = self._pillars
        rows = _rows_for(specs, names.pillars, found, self._pillars.grid.max_pillars)
        cells = np.zeros((rows, 4), np.int32)
        cells[:, 2:] = self._pillariser.cells[:rows]
        given = {
            names.pillars: self._pillariser.pillars[:rows],
            names.cells: cells,
            names.counts: self._pillariser.counts[:rows],
            names.number: np.array([found], np.int32),
        }
        return {name: given[name].astype(specs[name].dtype, copy=False) for name in specs if name in given}

    def _decode(self, outputs: Tensors) -> tuple[F64, F64]:
        if self._anchors is not None and self._pillars is not None:
            head = self._anchors
            bins = _named(outputs, head.directions_output)[0] if head.directions_output else None
            maps = (_named(outputs, head.classes_output)[0], _named(outputs, head.boxes_output)[0], bins)
            return decode_anchors(*maps, head, self._pillars.grid.range_m)
        assert self._rows is not None
        rows = _flat(_named(outputs, self._rows.boxes_output))
        scores = _flat(_named(outputs, self._rows.scores_output)) if self._rows.scores_output else None
        if self._rows.number_output:
            valid = int(np.clip(_named(outputs, self._rows.number_output).ravel()[0], 0, len(rows)))
            rows, scores = rows[:valid], None if scores is None else scores[:valid]
        return decode_rows(rows, scores, self._rows, self._own_classes)


def _named(outputs: Tensors, name: str) -> npt.NDArray[Any]:
    if name not in outputs:
        raise TensorMismatch(
            f"the network has no output '{name}', but {', '.join(outputs)}: name it in postprocess.params"
        )
    return outputs[name]


def point_inputs(specs: dict[str, TensorSpec], names: PointInputs, cloud: PointCloud, base_SE3_lidar: F64) -> Tensors:
    """The sweep in the model's frame, cut or filled with zeros to the size of the input where that is fixed."""
    spec = specs.get(names.points)
    if spec is None or len(spec.shape) != 3 or spec.shape[2] != 4:
        raise TensorMismatch(f"input '{names.points}' must be (1, points, 4), the network has {list(specs.values())}")
    pose = base_SE3_lidar.astype(np.float32)
    moved = cloud.points @ pose[:3, :3].T + pose[:3, 3] - np.array([0, 0, names.sensor_height_m], np.float32)
    fourth = {"intensity": cloud.intensity, "time": cloud.time_offset_s}.get(names.fourth)
    size = len(moved) if spec.shape[1] < 0 else spec.shape[1]
    count = min(size, len(moved))
    points = np.zeros((1, size, 4), np.float32)
    points[0, :count, :3] = moved[:count]
    points[0, :count, 3] = 0.0 if fourth is None else fourth[:count]
    given = {names.points: points, names.number: np.array([count], np.int32)}
    return {name: given[name].astype(s.dtype, copy=False) for name, s in specs.items() if name in given}


def _rows_for(specs: dict[str, TensorSpec], name: str, found: int, most: int) -> int:
    """Rows of the pillar inputs: those found, at least one, or what the network was exported with."""
    if name not in specs:
        raise TensorMismatch(f"the network has no input '{name}', but {', '.join(specs)}: name it in preprocess.params")
    fixed = specs[name].shape[0]
    if fixed > most:
        raise TensorMismatch(f"input '{name}' has {fixed} pillars, max_pillars is {most}: they must be equal")
    if 0 <= fixed < found:
        raise TensorMismatch(f"input '{name}' has {fixed} pillars, the sweep {found}: set max_pillars to {fixed}")
    return max(found, 1) if fixed < 0 else fixed


def _flat(output: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if output.ndim < 2:
        raise InputError(f"rows of boxes have shape {list(output.shape)}, expected (1, rows, numbers)", "shape")
    return output.reshape(-1, output.shape[-1])
