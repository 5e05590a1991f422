"""Adapters for models of others: PointPillars (OpenPCDet, NVIDIA), CenterPoint (Autoware), against slow references."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from foreign_models import centerpoint, pointpillars, recorded_boxes
from small_scene import BASE_SE3_LIDAR, scan, sensors

from percept_ros.core.anchors import AnchorHead, BoxRows, decode_anchors, decode_rows
from percept_ros.core.centre_maps import CentreMaps, decode_maps
from percept_ros.core.decode import bev_iou
from percept_ros.core.decode2d import Yolov8Params
from percept_ros.core.pillars import PillarGrid, Pillariser
from percept_ros.detectors.centerpoint import CenterPointDetector
from percept_ros.detectors.geometric import GeometricDetector
from percept_ros.detectors.image import Letterbox
from percept_ros.detectors.open import DETECTORS, open_detector
from percept_ros.detectors.pointpillars import PointPillarsDetector
from percept_ros.errors import CloudError, ConfigError, EngineClosed, InputError, ManifestError
from percept_ros.inference.manifest import parse_manifest
from percept_ros.types import ObjectClass, PointCloud

DATA = Path(os.environ.get("PERCEPT_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
RANGE = (0.0, -39.68, -3.0, 69.12, 39.68, 1.0)
SMALL = PillarGrid(range_m=(0, -4, -3, 8, 4, 1), pillar_m=(0.5, 0.5, 4.0), max_points=4, max_pillars=60, features=10)


def cloud(points: np.ndarray, intensity: np.ndarray | None = None) -> PointCloud:
    return PointCloud("lidar", 5, "lidar", points, intensity)


def slow_pillars(points: np.ndarray, w: np.ndarray, grid: PillarGrid) -> dict[tuple[int, int], np.ndarray]:
    """Cell (row, column) -> (points, features), point by point."""
    low, high, size = np.array(grid.range_m[:3]), np.array(grid.range_m[3:]), np.array(grid.pillar_m)
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    for p, v in zip(points.astype(np.float64), w, strict=True):
        if np.isfinite(p).all() and (p >= low).all() and (p < high).all():
            x, y, _ = np.floor((p - low) / size).astype(int)
            if (y, x) in found or len(found) < grid.max_pillars:
                found.setdefault((y, x), []).append(np.array([*p, v]))
    out = {}
    for (y, x), rows in found.items():
        kept = np.array(rows[: grid.max_points])
        middle = low + (np.array([x, y, 0]) + 0.5) * size
        out[y, x] = np.hstack([kept, kept[:, :3] - kept[:, :3].mean(axis=0), kept[:, :3] - middle])[:, : grid.features]
    return out


@pytest.mark.parametrize("features", [4, 9, 10])
def test_pillars_equal_the_slow_reference(features: int) -> None:
    grid = PillarGrid(
        **{**{f: getattr(SMALL, f) for f in SMALL.__dataclass_fields__}, "features": features, "sensor_height_m": 0.0}
    )
    rng, maker = np.random.default_rng(1), Pillariser(grid)
    for count in (900, 40, 0, 300):  # fewer pillars after more: nothing may stay behind
        points = rng.uniform((-1, -5, -4), (9, 5, 2), (count, 3)).astype(np.float32)
        points[::50] = np.nan
        w = rng.random(count).astype(np.float32)
        used = maker.fill(cloud(points, w), np.eye(4))
        expected = slow_pillars(points, w, grid)
        assert used == len(expected)
        for i in range(used):
            rows = expected[tuple(maker.cells[i].tolist())]
            assert maker.counts[i] == len(rows)
            np.testing.assert_allclose(maker.pillars[i, : len(rows)], rows, atol=2e-5)
            assert not maker.pillars[i, len(rows) :].any()
        assert not maker.pillars[used:].any()


def test_pillars_stand_in_the_frame_of_the_training_sensor() -> None:
    maker = Pillariser(PillarGrid(range_m=(0, -4, -3, 8, 4, 1), pillar_m=(0.5, 0.5, 4.0), sensor_height_m=1.7))
    maker.fill(cloud(np.array([[2.0, 1.0, -1.8]], np.float32)), BASE_SE3_LIDAR)
    np.testing.assert_allclose(maker.pillars[0, 0], [2.0, 1.0, -1.8 + 1.8 - 1.7, 0.0], atol=1e-6)


def test_pillars_refuse_nonsense() -> None:
    with pytest.raises(ConfigError, match="features"):
        PillarGrid(features=7)
    with pytest.raises(CloudError, match="extrinsic"):
        Pillariser(SMALL).fill(cloud(np.zeros((3, 3), np.float32)), np.full((4, 4), np.nan))


def encoded(box: np.ndarray, own: int, turn: int, head: AnchorHead, direction: int) -> tuple[np.ndarray, ...]:
    """Anchor-head maps (one sweep) that say ``box`` at its nearest cell, by the inverse of the coding."""
    ny, nx = 248, 216
    column = round((box[0] - RANGE[0]) / (RANGE[3] - RANGE[0]) * (nx - 1))
    row = round((box[1] - RANGE[1]) / (RANGE[4] - RANGE[1]) * (ny - 1))
    length, width, height = head.sizes_m[own]
    x = RANGE[0] + column * (RANGE[3] - RANGE[0]) / (nx - 1)
    y = RANGE[1] + row * (RANGE[4] - RANGE[1]) / (ny - 1)
    z, diagonal = head.bottoms_m[own] + height / 2, np.hypot(length, width)
    code = [(box[0] - x) / diagonal, (box[1] - y) / diagonal, (box[2] - z) / height]
    code += [
        np.log(box[3] / length),
        np.log(box[4] / width),
        np.log(box[5] / height),
        box[6] - head.rotations_rad[turn],
    ]
    anchor = own * 2 + turn
    classes, boxes, bins = np.full((ny, nx, 18), -9.0), np.zeros((ny, nx, 42)), np.zeros((ny, nx, 12))
    classes[row, column, anchor * 3 + own] = 2.0
    boxes[row, column, anchor * 7 : anchor * 7 + 7] = code
    bins[row, column, anchor * 2 + direction] = 3.0
    return classes, boxes, bins


@pytest.mark.parametrize(
    ("yaw", "turn", "direction"), [(0.2, 0, 1), (0.9, 0, 0), (1.4, 1, 0), (0.2 - np.pi, 0, 0), (-1.7, 1, 1)]
)
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_anchor_head_gives_back_the_box_it_codes(yaw: float, turn: int, direction: int, layout: str) -> None:
    head = AnchorHead(layout=layout)
    box = np.array([20.3, -5.1, -0.9, 4.2, 1.7, 1.5, yaw])
    # OpenPCDet's rule: the angle is folded into [offset, offset + pi), and the bin says which half turn it is.
    folded = head.direction_offset_rad + np.mod(yaw - head.direction_offset_rad, np.pi)
    expected_yaw = np.mod(folded + np.pi * direction + np.pi, 2 * np.pi) - np.pi
    maps = encoded(box, 0, turn, head, direction)
    if layout == "nchw":
        maps = tuple(np.moveaxis(m, -1, 0) for m in maps)
    boxes, scores = decode_anchors(*maps, head, RANGE)
    assert boxes.shape == (1, 7)
    np.testing.assert_allclose(boxes[0, :6], box[:6], atol=1e-9)
    assert boxes[0, 6] == pytest.approx(expected_yaw)
    np.testing.assert_allclose(scores[0], [1 / (1 + np.exp(-2.0)), *[1 / (1 + np.exp(9.0))] * 2])


def test_anchor_head_refuses_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="anchors"):
        decode_anchors(np.zeros((4, 4, 17)), np.zeros((4, 4, 42)), None, AnchorHead(), RANGE)
    with pytest.raises(InputError, match="3 axes"):
        decode_anchors(np.zeros((4, 18)), np.zeros((4, 4, 42)), None, AnchorHead(), RANGE)
    with pytest.raises(ConfigError, match="bottom"):
        AnchorHead(bottoms_m=(0.0,))


def test_rows_with_own_scores_and_suppression() -> None:
    rows = np.array([[10.0, 0, 0, 4, 2, 1.5, 0], [10.2, 0, 0, 4, 2, 1.5, 0], [30, 5, 0, 4, 2, 1.5, 4.0]])
    scores = np.array([[0.2, 2.0], [1.0, -1.0], [-8.0, -8.0]])
    boxes, shares = decode_rows(rows, scores, BoxRows(logits=True, nms_iou=0.2), 2)
    np.testing.assert_array_equal(boxes, rows[:1])
    assert shares[0].argmax() == 1
    with pytest.raises(InputError, match="class and score"):
        decode_rows(rows, None, BoxRows(), 2)


@pytest.mark.parametrize("form", ["openpcdet", "nvidia"])
def test_pointpillars_of_each_export_runs_by_manifest_alone(form: str, tmp_path: Path) -> None:
    detector = open_detector(pointpillars(tmp_path, form))
    assert isinstance(detector, PointPillarsDetector)
    detector.load()
    assert detector.model == f"pointpillars_{form}@fp32"
    assert len(detector.artefact_sha256) == 64
    points = scan([[15, 3, 0.95, 4.4, 1.8, 1.5, 0.1]], columns=700)
    found = detector.detect(sensors(points))
    again = detector.detect(sensors(points))
    assert len(found) > 0
    np.testing.assert_array_equal(found.boxes, again.boxes)
    np.testing.assert_allclose(found.class_probabilities.sum(axis=1), 1.0)
    assert set(found.class_ids) <= {ObjectClass.CAR, ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE}
    # The same maps through the graph, decoded cell by cell.
    engine = detector.engines[""]
    maps = engine.infer(detector._inputs(engine, sensors(points).cloud, BASE_SE3_LIDAR))
    assert detector._anchors is not None
    boxes, scores = slow_anchors(maps, detector._anchors)
    order = np.argsort(-scores, kind="stable")[: detector._anchors.max_boxes]
    kept: list[int] = []
    for i in order:
        if not kept or bev_iou(boxes[[i]], boxes[kept]).max() <= 0.01:
            kept.append(int(i))
    np.testing.assert_allclose(found.boxes - [0, 0, 1.73, 0, 0, 0, 0], boxes[kept], atol=1e-4)
    detector.close()
    detector.close()
    with pytest.raises(EngineClosed):
        detector.detect(sensors(points))


def slow_anchors(maps: dict[str, np.ndarray], head: AnchorHead) -> tuple[np.ndarray, np.ndarray]:
    """Every anchor above the threshold, one at a time."""
    classes, codes, bins = (maps[k][0].astype(np.float64) for k in ("cls_preds", "box_preds", "dir_cls_preds"))
    ny, nx, _ = classes.shape
    boxes, scores = [], []
    for row, column in zip(*np.nonzero(1 / (1 + np.exp(-classes.max(axis=2))) > head.score_threshold), strict=True):
        for anchor in range(6):
            score = 1 / (1 + np.exp(-classes[row, column, anchor * 3 : anchor * 3 + 3].max()))
            if score <= head.score_threshold:
                continue
            length, w, h = head.sizes_m[anchor // 2]
            t = codes[row, column, anchor * 7 : anchor * 7 + 7]
            x, y = row_column_middle(row, column, ny, nx)
            z = head.bottoms_m[anchor // 2] + h / 2
            d = np.sqrt(length * length + w * w)
            yaw = t[6] + head.rotations_rad[anchor % 2] - head.direction_offset_rad
            yaw = yaw - np.floor(yaw / np.pi) * np.pi + head.direction_offset_rad
            yaw += np.pi * np.argmax(bins[row, column, anchor * 2 : anchor * 2 + 2])
            yaw = np.arctan2(np.sin(yaw), np.cos(yaw))
            boxes.append([t[0] * d + x, t[1] * d + y, t[2] * h + z, *(np.exp(t[3:6]) * (length, w, h)), yaw])
            scores.append(score)
    return np.array(boxes).reshape(-1, 7), np.array(scores)


def row_column_middle(row: int, column: int, ny: int, nx: int) -> tuple[float, float]:
    return RANGE[0] + column * 69.12 / (nx - 1), RANGE[1] + row * 79.36 / (ny - 1)


def test_centre_maps_give_back_the_box_they_hold() -> None:
    maps = {
        name: np.zeros((size, 20, 30)) for name, size in (("reg", 2), ("height", 1), ("dim", 3), ("rot", 2), ("vel", 2))
    }
    maps["heatmap"] = np.full((2, 20, 30), -8.0)
    maps["heatmap"][1, 4, 7] = 1.5
    yaw = 0.6
    angle = -yaw - np.pi / 2  # as mmdet3d counts it
    maps["reg"][:, 4, 7] = 0.25, 0.75
    maps["height"][0, 4, 7] = 0.9
    maps["dim"][:, 4, 7] = np.log([1.8, 4.5, 1.6])
    maps["rot"][:, 4, 7] = np.sin(angle), np.cos(angle)
    maps["vel"][:, 4, 7] = 3.0, -1.0
    boxes, scores, velocity = decode_maps(maps, CentreMaps(), (-10.0, -5.0), (0.5, 0.5))
    np.testing.assert_allclose(boxes, [[0.5 * 7.25 - 10, 0.5 * 4.75 - 5, 0.9, 4.5, 1.8, 1.6, yaw]])
    np.testing.assert_allclose(velocity, [[3.0, -1.0]])
    np.testing.assert_allclose(scores[0], 1 / (1 + np.exp([8.0, -1.5])))
    assert len(decode_maps(maps, CentreMaps(heading_thresholds=(0.0, 1.1)), (-10.0, -5.0), (0.5, 0.5))[0]) == 0
    with pytest.raises(InputError, match="centre maps"):
        decode_maps({**maps, "dim": maps["reg"]}, CentreMaps(), (0.0, 0.0), (1.0, 1.0))


def test_centerpoint_of_autoware_runs_by_manifest_alone(tmp_path: Path) -> None:
    detector = open_detector(centerpoint(tmp_path))
    assert isinstance(detector, CenterPointDetector)
    detector.load()
    assert detector.model == "centerpoint@fp32"
    found = detector.detect(sensors(scan([[15, 3, 0.95, 4.4, 1.8, 1.5, 0.1]], columns=700)))
    assert len(found) > 0
    assert np.isfinite(found.velocity_mps).all()
    assert np.isfinite(found.boxes).all()
    gaps = np.hypot(*(found.boxes[:, None, :2] - found.boxes[None, :, :2]).transpose(2, 0, 1))
    assert gaps[~np.eye(len(gaps), dtype=bool)].min(initial=9.0) > 0.5
    detector.close()


@pytest.mark.data
def test_recorded_boxes_of_nvidia_come_out_as_they_were(tmp_path: Path) -> None:
    root = DATA / "pointpillars_recorded"
    files = sorted(root.glob("boxes_velo/*.txt"))
    if not files:
        pytest.skip(f"no recorded boxes at {root}: set PERCEPT_DATA")
    frames = [np.loadtxt(f, ndmin=2) for f in files]
    detector = open_detector(recorded_boxes(tmp_path, frames))
    detector.load()
    kinds = (ObjectClass.CAR, ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE)
    for file, frame in zip(files, frames, strict=True):
        points = np.fromfile(root / "velodyne" / f"{file.stem}.bin", np.float32).reshape(-1, 4)
        found = detector.detect(sensors(points[:, :3]))
        frame = frame[frame[:, 8] >= 0.1]
        frame = frame[np.argsort(-frame[:, 8].astype(np.float32), kind="stable")]
        np.testing.assert_allclose(found.boxes[:, :6], frame[:, :6] + [0, 0, 1.73, 0, 0, 0], atol=1e-4)
        np.testing.assert_allclose(np.cos(found.boxes[:, 6] - frame[:, 6]), 1.0, atol=1e-6)
        np.testing.assert_array_equal(found.class_ids, [kinds[int(k)] for k in frame[:, 7]])
        np.testing.assert_allclose(found.scores, frame[:, 8], atol=1e-6)


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    assert isinstance(open_detector("geometric"), GeometricDetector)
    folder = pointpillars(tmp_path, "openpcdet")
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    (folder / "model.yaml").write_text(text.replace("kind: pillars", "kind: smoke"), encoding="utf-8")
    with pytest.raises(ManifestError, match="smoke"):
        open_detector(folder)
    (folder / "model.yaml").write_text(text.replace("kind: anchors", "kind: smoke"), encoding="utf-8")
    with pytest.raises(ManifestError, match="smoke"):
        open_detector(folder).load()
    (folder / "model.yaml").write_text(text.replace("kind: detector3d", "kind: predictor"), encoding="utf-8")
    with pytest.raises(ManifestError, match="predictor"):
        open_detector(folder)


def test_manifests_of_the_manual_are_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "detectors.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        tree = yaml.safe_load(block.replace("SHA256", "a" * 64))
        manifest = parse_manifest(tree, Path("nowhere"), tree["name"])
        assert None not in manifest.object_classes or manifest.kind == "detector2d"
        if manifest.kind == "detector3d":
            module, _, cls = DETECTORS[manifest.preprocess.kind].partition(":")
            getattr(importlib.import_module(module), cls)("nowhere").prepare(manifest)
        else:
            manifest.preprocess.read(Letterbox)
            manifest.postprocess.read(Yolov8Params)
