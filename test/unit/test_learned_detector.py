"""LearnedDetector over a network small enough to write by hand: heat is high where the highest point is about 1.5 m up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from percept_ros.core.bev import BevGrid
from percept_ros.detectors.learned import LearnedDetector, class_probabilities, read_manifest
from percept_ros.errors import EngineClosed, InferenceError, ManifestError
from percept_ros.inference.manifest import Artefact, Manifest, Step, Tensor, load_manifest, sha256_of, write_manifest
from percept_ros.settings import to_dict
from percept_ros.types import ObjectClass, PointCloud, SensorSet

GRID = BevGrid(half_m=12.8, cell_m=0.4)
SIDE = GRID.size // 4
HEADS = {"origin_m": -12.8, "cell_m": 1.6, "score_threshold": 0.2, "suppression": "peaks"}


def write_network(file: Path) -> None:
    """``heat`` class 0 = the largest "highest point" channel in each 4 x 4 block, the other classes half; box = constants."""
    box = np.zeros((10, SIDE, SIDE), np.float32)
    box[2], box[3:6] = 0.7, np.log(np.array((4.0, 1.8, 1.5), np.float32))[:, None, None]
    box[6], box[8] = 1.0, 1.0
    shares = np.array([1.0, 0.5, 0.0, 0.0], np.float32).reshape(1, 4, 1, 1)
    constants = {
        "box_value": box[None],
        "shares": shares,
        "from": np.array([10]),
        "to": np.array([11]),
        "axis": np.array([1]),
    }
    nodes = [
        helper.make_node("Slice", ["bev", "from", "to", "axis"], ["high"]),
        helper.make_node("MaxPool", ["high"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Mul", ["pooled", "shares"], ["heat"]),
        helper.make_node("Identity", ["box_value"], ["box"]),
    ]
    graph = helper.make_graph(
        nodes,
        "hand",
        [helper.make_tensor_value_info("bev", TensorProto.FLOAT, [1, GRID.channels, GRID.size, GRID.size])],
        [
            helper.make_tensor_value_info("heat", TensorProto.FLOAT, [1, 4, SIDE, SIDE]),
            helper.make_tensor_value_info("box", TensorProto.FLOAT, [1, 10, SIDE, SIDE]),
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(file))


def write_model(folder: Path, **changes: object) -> Path:
    """A model folder around that network."""
    write_network(folder / "model.onnx")
    fields: dict[str, object] = {
        "name": "by_hand",
        "kind": "detector3d",
        "classes": ("car", "truck", "pedestrian", "bicycle"),
        "inputs": (Tensor("bev", (1, GRID.channels, GRID.size, GRID.size), "float32"),),
        "outputs": (Tensor("heat", (1, 4, SIDE, SIDE), "float32"), Tensor("box", (1, 10, SIDE, SIDE), "float32")),
        "preprocess": Step("bev_raster", to_dict(GRID)),
        "postprocess": Step("centre_heads", HEADS),
        "artefacts": (Artefact("model.onnx", "onnx", "fp32", sha256_of(folder / "model.onnx")),),
    }
    write_manifest(Manifest(**{**fields, **changes}), folder)  # type: ignore[arg-type]
    return folder


def street(block_top_m: float | None) -> np.ndarray:
    """Road 1.7 m below the sensor, and a block at (5, -3)."""
    rng = np.random.default_rng(0)
    road = np.column_stack([rng.uniform(-12, 12, (20000, 2)), rng.normal(-1.7, 0.02, 20000)])
    if block_top_m is None:
        return road.astype(np.float32)
    block = rng.uniform((4.6, -3.3, -1.6), (5.4, -2.7, block_top_m - 1.7), (400, 3))
    return np.concatenate([road, block]).astype(np.float32)


def sensors(points: np.ndarray, height_m: float = 1.7) -> SensorSet:
    pose = np.eye(4)
    pose[2, 3] = height_m
    return SensorSet(7, PointCloud("lidar", 7, "lidar", points), {}, {}, (), {"lidar": pose})


@pytest.fixture
def detector(tmp_path: Path) -> LearnedDetector:
    made = LearnedDetector(write_model(tmp_path))
    made.load()
    return made


@pytest.mark.parametrize("mounting_error_m", [-0.4, 0.0, 0.4])
def test_a_block_is_found_where_it_stands_whatever_the_mounting_height(
    detector: LearnedDetector, mounting_error_m: float
) -> None:
    found = detector.detect(sensors(street(1.5), 1.7 + mounting_error_m))
    assert found.stamp_ns == 7
    assert len(found) == 1
    np.testing.assert_allclose(found.boxes[0, :2], (5.0, -3.0), atol=1.2)
    np.testing.assert_allclose(found.boxes[0, 3:], (4.0, 1.8, 1.5, 0.0), atol=1e-5)
    assert found.boxes[0, 2] == pytest.approx(0.7 + mounting_error_m, abs=0.05)
    assert found.class_ids[0] == ObjectClass.CAR
    assert found.class_probabilities.sum() == pytest.approx(1.0)
    assert found.scores[0] == pytest.approx(1.5 / 4.0, abs=0.03)
    assert found.sensors[0] == 1
    assert np.isnan(found.velocity_mps).all()


def test_the_image_of_the_last_sweep_is_gone_in_the_next(detector: LearnedDetector) -> None:
    assert len(detector.detect(sensors(street(1.5)))) == 1
    assert len(detector.detect(sensors(street(None)))) == 0


def test_no_sweep_gives_nothing_and_no_extrinsic_is_an_error(detector: LearnedDetector) -> None:
    seen = sensors(street(None))
    assert len(detector.detect(SensorSet(7, None, {}, {}, (), {}))) == 0
    with pytest.raises(InferenceError, match="no extrinsic"):
        detector.detect(SensorSet(7, seen.cloud, {}, {}, (), {}))


def test_life(detector: LearnedDetector) -> None:
    assert detector.model == "by_hand@fp32"
    assert len(detector.artefact_sha256) == 64
    detector.close()
    detector.close()
    with pytest.raises(EngineClosed):
        detector.detect(sensors(street(None)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"preprocess": Step("letterbox", {})}, "expected a detector3d"),
        ({"postprocess": Step("centre_heads", {"suppression": "magic"})}, "magic"),
        ({"postprocess": Step("centre_heads", {"iuo": 0.2})}, "iou"),
        ({"classes": ("car", "truck", "pedestrian", "dragon")}, "dragon"),
        ({"outputs": (Tensor("heat", (1, 3, SIDE, SIDE), "float32"),)}, "output 'heat'"),
    ],
)
def test_wrong_manifests_are_refused(tmp_path: Path, change: dict[str, object], text: str) -> None:
    with pytest.raises(ManifestError, match=text):
        read_manifest(load_manifest(write_model(tmp_path, **change)))


def test_class_probabilities_leave_room_for_later_evidence() -> None:
    rows = class_probabilities(np.array([[0.8, 0.0], [0.0, 0.0]]), np.array([1, 7]))
    np.testing.assert_allclose(rows.sum(axis=1), 1.0)
    assert rows[0, 7] > 0.0
    assert rows[1, 1] == rows[1, 7] == 0.5
