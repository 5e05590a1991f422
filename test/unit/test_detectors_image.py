"""2D detection: letterbox, decoding by hand, suppression, a seeded graph with dynamic batch, real YOLOX weights."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from foreign_models import FLOAT, random_weights, write, write_model
from onnx import helper
from small_scene import BASE_SE3_CAMERA

from percept_ros.core.decode2d import Yolov8Params, YoloxParams, decode_yolov8, decode_yolox, suppress
from percept_ros.detectors.image import ImageDetector, Letterbox
from percept_ros.errors import EngineClosed, InputError, ManifestError
from percept_ros.types import CameraCalibration, CameraFrame, ObjectClass, SensorSet

DATA = Path(os.environ.get("PERCEPT_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def set_of(*images: np.ndarray, **frame: object) -> SensorSet:
    cameras = {
        f"camera_{i}": CameraFrame(f"camera_{i}", 10 + i, "optical", image, **frame)  # type: ignore[arg-type]
        for i, image in enumerate(images)
    }
    return SensorSet(10, None, cameras, {}, tuple(cameras), dict.fromkeys(cameras, BASE_SE3_CAMERA))


@pytest.mark.parametrize(("anchor", "left", "top"), [("top_left", 0, 0), ("centre", 0, 24)])
def test_letterbox_keeps_the_aspect_and_pads(anchor: str, left: int, top: int) -> None:
    box = Letterbox(width_px=64, height_px=80, anchor=anchor)
    image = np.zeros((50, 100, 3), np.uint8)
    image[:, :, 0], image[:, :, 2] = 10, 200
    out = np.empty((3, 80, 64), np.float32)
    box.fill(image, out)
    assert box.placement(100, 50) == (pytest.approx(0.64), left, top)
    inside = out[:, top : top + 32, left : left + 64]
    np.testing.assert_array_equal(inside, np.broadcast_to(np.float32([10, 0, 200])[:, None, None], inside.shape))
    outside = np.ones((80, 64), bool)
    outside[top : top + 32, left : left + 64] = False
    assert (out[:, outside] == 114.0).all()


def test_letterbox_channels_scale_mean_and_deviation() -> None:
    box = Letterbox(
        width_px=32, height_px=32, channels="rgb", scale=1 / 255, mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 2.0)
    )
    out = np.empty((3, 32, 32), np.float32)
    box.fill(np.full((32, 32, 3), (0, 51, 255), np.uint8), out)
    np.testing.assert_allclose(out[:, 3, 3], [(1.0 - 0.5) / 0.5, (0.2 - 0.25) / 0.5, 0.0], atol=1e-6)


def test_yolox_by_hand() -> None:
    raw = np.zeros((64 * 64 // 64 + 16 + 4, 7), np.float32)  # 64 x 64 input: 8 x 8, 4 x 4 and 2 x 2 cells
    raw[64 + 5] = [0.5, -0.25, np.log(2.0), np.log(3.0), 0.9, 0.1, 0.8]  # stride 16, row 1, column 1
    raw[3] = [0, 0, 0, 0, 0.9, 0.2, 0.1]  # 0.9 * 0.2 is too weak
    boxes, scores, own = decode_yolox(raw, YoloxParams(score_threshold=0.3), 64, 64)
    np.testing.assert_allclose(boxes, [[24 - 16, 12 - 24, 24 + 16, 12 + 24]], atol=1e-4)
    np.testing.assert_allclose(scores, [0.72], atol=1e-6)
    assert own.tolist() == [1]
    with pytest.raises(InputError, match="YOLOX output"):
        decode_yolox(raw[:-1], YoloxParams(), 64, 64)


@pytest.mark.parametrize("transposed", [False, True])
def test_yolov8_by_hand(transposed: bool) -> None:
    raw = np.zeros((6, 50), np.float32)
    raw[:, 7] = [30, 20, 10, 8, 0.2, 0.6]
    boxes, scores, own = decode_yolov8(raw.T if transposed else raw, Yolov8Params())
    np.testing.assert_allclose(boxes, [[25, 16, 35, 24]])
    np.testing.assert_allclose(scores, [0.6], atol=1e-6)
    assert own.tolist() == [1]


def test_suppression_is_per_class_and_equals_a_slow_one() -> None:
    rng = np.random.default_rng(4)
    low = rng.uniform(0, 60, (80, 2))
    boxes = np.hstack([low, low + rng.uniform(10, 40, (80, 2))])
    scores, classes = rng.permutation(80) / 80 + 0.001, rng.integers(0, 3, 80)
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(classes[i] != classes[j] or overlap(boxes[i], boxes[j]) <= 0.4 for j in kept):
            kept.append(int(i))
    assert suppress(boxes, scores, classes, 0.4, 100).tolist() == kept
    assert suppress(boxes, scores, classes, 0.4, 5).tolist() == kept[:5]
    assert len(suppress(boxes[:0], scores[:0], classes[:0], 0.4, 5)) == 0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


def yolov8_model(folder: Path) -> Path:
    """A graph of YOLOv8's shapes, batch dynamic: one convolution of stride 8 as the whole network."""
    make, rng = helper.make_node, np.random.default_rng(2)
    weights = {
        "w": random_weights(rng, 7, 3, 8, 8),
        "low": np.float32([0, 0, 6, 6, 0, 0, 0]),
        "s": np.int64([0, 7, -1]),
    }
    nodes = [
        make("Conv", ["images", "w"], ["c"], strides=[8, 8]),
        make("Reshape", ["c", "s"], ["r"]),
        make("Transpose", ["r"], ["t"], perm=[0, 2, 1]),
        make("Sigmoid", ["t"], ["p"]),
        make("Mul", ["p", "scale"], ["q"]),
        make("Add", ["q", "low"], ["u"]),
        make("Transpose", ["u"], ["output0"], perm=[0, 2, 1]),
    ]
    weights["scale"] = np.float32([96, 64, 20, 20, 1, 1, 1])
    shapes = {"images": (FLOAT, ["B", 3, 64, 96])}
    write(folder / "y.onnx", nodes, weights, shapes, {"output0": (FLOAT, ["B", 7, 96])})
    box = {"width_px": 96, "height_px": 64, "channels": "rgb", "scale": 1 / 255, "anchor": "centre"}
    return write_model(
        folder,
        {
            "name": "yolov8_small",
            "kind": "detector2d",
            "classes": ["person", "zebra", "car"],
            "class_map": {"person": "pedestrian", "car": "car"},
            "preprocess": {"kind": "letterbox", "params": box},
            "postprocess": {"kind": "yolov8", "params": {"score_threshold": 0.5}},
            "artefacts": [{"file": "y.onnx"}],
        },
    )


def test_yolov8_by_manifest_in_one_batch_equals_single_images(tmp_path: Path) -> None:
    detector = ImageDetector(yolov8_model(tmp_path))
    with pytest.raises(EngineClosed):
        detector.detect(set_of())
    detector.load()
    assert detector.model == "yolov8_small@fp32"
    rng = np.random.default_rng(0)
    images = [cv2.resize(rng.integers(0, 255, (9, 12, 3), np.uint8), (200, 100)) for _ in range(3)]
    together = detector.detect(set_of(*images))
    assert sum(len(found.scores) for found in together.values()) > 0
    for i, image in enumerate(images):
        alone, batch = detector.detect(set_of(image))["camera_0"], together[f"camera_{i}"]
        np.testing.assert_allclose(alone.boxes_px, batch.boxes_px, atol=1e-3)
        assert batch.stamp_ns == 10 + i
        assert set(batch.class_ids) <= {ObjectClass.PEDESTRIAN, ObjectClass.CAR}
        assert ((batch.boxes_px >= 0) & (batch.boxes_px <= (200, 100, 200, 100))).all()
    assert detector.detect(set_of()) == {}
    detector.close()
    detector.close()


def test_boxes_of_a_raw_image_come_out_rectified(tmp_path: Path) -> None:
    detector = ImageDetector(yolov8_model(tmp_path))
    detector.load()
    image = cv2.resize(np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8), (200, 100))
    K = np.array([[150.0, 0, 100], [0, 150, 50], [0, 0, 1]])
    lens = CameraCalibration(200, 100, K, np.array([-0.2, 0.05, 0, 0, 0]))
    raw = detector.detect(set_of(image))["camera_0"].boxes_px
    rectified = detector.detect(set_of(image, calibration=lens, rectified=False))["camera_0"].boxes_px
    assert len(raw) == len(rectified) > 0
    corner = cv2.undistortPoints(raw[:1, None, :2], K, lens.D, P=K).ravel()
    assert (rectified[0, :2] <= corner + 1e-6).all()
    assert not np.allclose(raw, rectified)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = yolov8_model(tmp_path)
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    (folder / "model.yaml").write_text(text.replace("kind: yolov8", "kind: smoke"), encoding="utf-8")
    with pytest.raises(ManifestError, match="smoke"):
        ImageDetector(folder).load()
    (folder / "model.yaml").write_text(text.replace("kind: detector2d", "kind: detector3d"), encoding="utf-8")
    with pytest.raises(ManifestError, match="2D detector"):
        ImageDetector(folder).load()


@pytest.mark.data
def test_real_yolox_sees_the_cars_ahead() -> None:
    folder, file = DATA / "models" / "yolox_nano", DATA / "kitti_drive" / "image_02" / "0000000020.png"
    if not folder.exists() or not file.exists():
        pytest.skip(f"no YOLOX weights at {folder} or no image at {file}: set PERCEPT_DATA")
    detector = ImageDetector(folder)
    detector.load()
    assert detector.model == "yolox_nano@fp32"
    image = cv2.imread(str(file))
    assert image is not None
    found = detector.detect(set_of(image))["camera_0"]
    cars = found.boxes_px[(found.class_ids == ObjectClass.CAR) & (found.scores > 0.4)]
    ahead = np.array([552.0, 187, 722, 343])  # the estate car in the own lane, read off the image
    assert max(overlap(box, ahead) for box in cars) > 0.8
    assert (found.class_ids == ObjectClass.TRUCK).any()
