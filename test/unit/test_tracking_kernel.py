"""The tracker kernel against plain numpy and scipy."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from percept_ros.core.existence import FEATURES, ExistenceModel, Layer, load_existence, save_existence
from percept_ros.core.tracking_kernel import Frame, TrackerKernel
from percept_ros.core.tracking_parameters import TrackerParameters
from percept_ros.errors import InputError, ManifestError
from percept_ros.evaluate.mot import iou_3d
from percept_ros.native import bind, pointer
from percept_ros.types import NUM_CLASSES, ObjectClass


def corners(box: np.ndarray) -> np.ndarray:
    c, s = np.cos(box[6]), np.sin(box[6])
    local = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * box[3:5] / 2
    return local @ np.array([[c, s], [-s, c]]) + box[:2]


def cut(polygon: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Part of a convex polygon left of the line a -> b."""
    side = np.cross(b - a, polygon - a)
    kept = []
    for i, (p, d) in enumerate(zip(polygon, side, strict=True)):
        q, e = polygon[i - 1], side[i - 1]
        if d * e < 0:
            kept.append(q + (p - q) * e / (e - d))
        if d >= 0:
            kept.append(p)
    return np.array(kept).reshape(-1, 2)


def reference_iou(a: np.ndarray, b: np.ndarray) -> float:
    polygon, edges = corners(a), corners(b)
    for i in range(4):
        polygon = cut(polygon, edges[i], edges[(i + 1) % 4]) if len(polygon) else polygon
    x, y = polygon.T if len(polygon) else (np.zeros(0), np.zeros(0))
    area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    height = min(a[2] + a[5] / 2, b[2] + b[5] / 2) - max(a[2] - a[5] / 2, b[2] - b[5] / 2)
    common = area * max(0.0, height)
    return common / (a[3:6].prod() + b[3:6].prod() - common)


@pytest.mark.filterwarnings("ignore:Arrays of 2-dimensional vectors:DeprecationWarning")
def test_overlap_agrees_with_clipping_in_numpy():
    rng = np.random.default_rng(0)
    boxes = np.column_stack([rng.uniform(-3, 3, (40, 3)), rng.uniform(0.5, 5, (40, 3)), rng.uniform(-3.1, 3.1, 40)])
    fast = iou_3d(boxes[:20], boxes[20:])
    slow = [[reference_iou(a, b) for b in boxes[20:]] for a in boxes[:20]]
    assert np.allclose(fast, slow, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (9, 5), (30, 30)])
def test_assignment_agrees_with_scipy(shape):
    assign = bind(
        "percept_tracking_assign",
        [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p],
    )
    rng = np.random.default_rng(shape[0])
    for _ in range(20):
        cost = rng.random(shape)
        gated = np.where(cost < 0.6, cost, 1e6)
        found = np.zeros(shape[0], np.int64)
        matches = assign(pointer(gated), *shape, 1e3, pointer(found))
        rows, cols = linear_sum_assignment(gated)
        good = gated[rows, cols] < 1e3
        assert matches == good.sum() == (found >= 0).sum()
        taken = np.flatnonzero(found >= 0)
        assert gated[taken, found[taken]].sum() == pytest.approx(gated[rows, cols][good].sum())


def network(hidden: int, seed: int = 0) -> Layer:
    rng, width = np.random.default_rng(seed), len(FEATURES)
    units = rng.normal(0, 0.3, (hidden, width + 1))
    return Layer(rng.normal(0, 1, width), rng.uniform(0.5, 2, width), units, rng.normal(0, 0.5, (hidden or width) + 1))


@pytest.mark.parametrize("hidden", [0, 5])
def test_existence_in_the_kernel_agrees_with_numpy(hidden):
    layer = network(hidden)
    kernel = TrackerKernel(TrackerParameters(), ExistenceModel({(ObjectClass.CAR, False): layer}).flat(), 0)
    boxes = np.array([[10.0, 0, 0.7, 4, 1.8, 1.5, 0.1], [25.0, 8, 0.7, 4, 1.8, 1.5, 0.0]])
    held = [np.eye(4), boxes, np.array([0.9, 0.4]), np.eye(NUM_CLASSES)[[1, 1]], np.full((2, 2), np.nan)]
    held.append(np.ones(2, np.uint32))
    names = ("fixed_SE3_base", "boxes", "scores", "class_probs", "velocity", "sensors")
    for k in range(5):
        frame = Frame(stamp_ns=(k + 1) * 10**8, n=2 if k != 3 else 0, measured=1)
        for name, array in zip(names, held, strict=True):
            setattr(frame, name, pointer(array))
        kernel.step(ctypes.addressof(frame))
        _, _, features, _, existence = kernel.evidence()
        assert np.allclose(existence, layer.probability(features), atol=1e-12)


def test_model_files_survive_and_damaged_ones_are_refused(tmp_path):
    model = ExistenceModel({(ObjectClass.CAR, True): network(3)}, {"CAR": {"confirm": 0.4}}, "x", ("0000",))
    save_existence(model, tmp_path / "a.json")
    read = load_existence(tmp_path / "a.json")
    assert np.allclose(read.flat(), model.flat(), rtol=1e-5)
    assert (read.parameters, read.name, read.trained_on) == (model.parameters, "x", ("0000",))
    for damaged in ("{", "{}", (tmp_path / "a.json").read_text().replace('"hit"', '"hat"')):
        (tmp_path / "b.json").write_text(damaged)
        with pytest.raises(ManifestError):
            load_existence(tmp_path / "b.json")


def test_bad_arguments_are_refused():
    with pytest.raises(InputError, match="refused"):
        TrackerKernel(TrackerParameters(), np.zeros(3), 0)
    kernel = TrackerKernel(TrackerParameters(), None, 0)
    with pytest.raises(InputError, match="bad arguments"):
        kernel.step(ctypes.addressof(Frame(n=1)))
