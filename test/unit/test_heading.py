"""Profiles of cars against plain numpy, the judge's symmetry, and files that hold no judge."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_learned_detector import HEADS, street, write_model

from percept_ros.core.heading import BINS, FEATURES, HeadingJudge, profiles, read_heading_judge, turned
from percept_ros.detectors.learned import LearnedDetector
from percept_ros.errors import ArtefactRefused, InputError, ManifestError
from percept_ros.inference.manifest import Step, load_manifest, sha256_of, write_manifest
from percept_ros.inference.pull import pull
from percept_ros.types import PointCloud, SensorSet

RNG = np.random.default_rng(3)
JUDGE = HeadingJudge(
    (
        (RNG.normal(0, 0.3, (8, FEATURES)).astype(np.float32).astype(float), np.zeros(8)),
        (np.ones((1, 8)), np.zeros(1)),
    ),
    -0.5,
)


def cars(count: int) -> np.ndarray:
    boxes = np.zeros((count, 7))
    boxes[:, :2] = RNG.uniform(-40, 40, (count, 2))
    boxes[:, 2] = RNG.uniform(0.5, 1.0, count)
    boxes[:, 3:6] = RNG.uniform((3.5, 1.5, 1.3), (5.0, 2.1, 2.0), (count, 3))
    boxes[:, 6] = RNG.uniform(-np.pi, np.pi, count)
    return boxes


def around(boxes: np.ndarray, each: int) -> np.ndarray:
    spread = RNG.uniform(-3.0, 3.0, (len(boxes), each, 3)) * (1.0, 1.0, 0.5)
    return (boxes[:, None, :3] + spread).reshape(-1, 3).astype(np.float32)


def reference(points: np.ndarray, box: np.ndarray) -> np.ndarray:
    """One row of ``profiles``."""
    c, s = np.cos(box[6]), np.sin(box[6])
    dx, dy, up = points[:, 0] - box[0], points[:, 1] - box[1], points[:, 2] - (box[2] - box[5] / 2)
    along, left = dx * c + dy * s, dy * c - dx * s
    half = box[3] / 2 + 0.3
    use = (abs(along) < half) & (abs(left) < box[4] / 2 + 0.3) & (up > 0.05) & (up < box[5] + 0.4)
    bins, up = np.clip(((along[use] / (2 * half) + 0.5) * BINS).astype(int), 0, BINS - 1), up[use]
    rows = np.zeros((4, BINS))
    for k in np.unique(bins):
        own = up[bins == k]
        rows[:, k] = own.max(), np.median(own), own.min(), np.log1p(len(own)) / np.log1p(len(up))
    range_m = np.hypot(*box[:2])
    seen = -(box[0] * c + box[1] * s) / range_m, (box[0] * s - box[1] * c) / range_m
    return np.r_[rows.ravel(), seen, range_m / 50, box[3] / 5, box[4] / 2, box[5] / 2, np.log(max(1, len(up))) / 7]


def test_profiles_are_those_of_numpy_wherever_the_sensor_is() -> None:
    boxes = cars(150)
    points = np.vstack([around(boxes, 150), [[np.nan, 0, 0], [0, np.inf, 0], [1e30, 0, 0]]]).astype(np.float32)
    features, inside = profiles(points, boxes)
    assert (inside > 10).all()
    np.testing.assert_allclose(features, [reference(points[:-3].astype(float), box) for box in boxes], atol=1e-9)
    pose = np.eye(4)
    pose[:2, :2], pose[:3, 3] = [[0, -1], [1, 0]], (1.0, 2.0, 1.7)
    moved = ((points[:-3] - pose[:3, 3]) @ pose[:3, :3]).astype(np.float32)
    table = np.hstack([moved, np.zeros((len(moved), 2), np.float32)])
    np.testing.assert_allclose(profiles(table[:, :3], boxes, pose)[0], features, atol=1e-4)


def test_nothing_and_nonsense_are_no_trouble() -> None:
    none = np.zeros((0, 3), np.float32)
    assert profiles(none, np.zeros((0, 7)))[0].shape == (0, FEATURES)
    features, inside = profiles(none, cars(2))
    assert (inside == 0).all()
    assert not features[:, : 4 * BINS].any()
    assert (JUDGE.log_odds(none, cars(2)) == 0.0).all()
    with pytest.raises(InputError, match="finite"):
        profiles(none, np.full((1, 7), np.nan))


def test_turning_a_box_turns_its_profile_and_the_verdict() -> None:
    boxes = cars(12)
    points = around(boxes, 150)
    back = boxes.copy()
    back[:, 6] += np.pi
    np.testing.assert_allclose(profiles(points, back)[0], turned(profiles(points, boxes)[0]), atol=1e-9)
    odds = JUDGE.log_odds(points, boxes)
    np.testing.assert_allclose(JUDGE.log_odds(points, back), -odds, atol=1e-9)
    right = JUDGE.turn(points, boxes)
    flips = np.abs(np.abs(right[:, 6] - boxes[:, 6]) - np.pi) < 1e-9
    np.testing.assert_array_equal(flips, odds < JUDGE.threshold)
    assert flips.any()
    assert not flips.all()
    assert (np.abs(right[:, 6]) <= np.pi).all()


def test_a_judge_is_written_and_read() -> None:
    boxes = cars(5)
    points = around(boxes, 100)
    again = read_heading_judge(JUDGE.pack())
    np.testing.assert_array_equal(again.log_odds(points, boxes), JUDGE.log_odds(points, boxes))
    assert again.threshold == -0.5


def _npz(**arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no npz",
        JUDGE.pack()[:200],
        _npz(threshold=np.float64(0)),
        _npz(w0=np.ones((1, 5)), b0=np.ones(1), threshold=np.float64(0)),
        _npz(w0=np.full((1, FEATURES), np.nan), b0=np.ones(1), threshold=np.float64(0)),
        _npz(w0=np.ones((1, FEATURES)), b0=np.ones(1)),
    ],
)
def test_bytes_that_hold_no_judge_are_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match="no heading judge"):
        read_heading_judge(raw)


def judged_model(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    turns = HeadingJudge(JUDGE.layers, np.inf)  # turns every car around
    (folder / "heading.npz").write_bytes(turns.pack())
    attached = f"heading.npz:{sha256_of(folder / 'heading.npz')}"
    return write_model(
        folder, postprocess=Step("centre_heads", {**HEADS, "heading": "heading.npz"}), attachments=(attached,)
    )


def test_a_detector_turns_its_cars_as_the_judge_says(tmp_path: Path) -> None:
    headings = []
    for folder in (judged_model(tmp_path / "judged"), tmp_path / "plain"):
        folder.mkdir(exist_ok=True)
        detector = LearnedDetector(folder if folder.name == "judged" else write_model(folder))
        detector.load()
        cloud = PointCloud("lidar", 1, "lidar", street(1.5))
        pose = np.eye(4)
        pose[2, 3] = 1.7
        found = detector.detect(SensorSet(1, cloud, {}, {}, (), {"lidar": pose}))
        detector.close()
        headings.append(found.boxes[found.class_ids == 1, 6])
    assert len(headings[0])
    np.testing.assert_allclose(np.abs(headings[0] - headings[1]), np.pi)


def test_a_judge_that_is_absent_changed_or_not_listed_is_refused(tmp_path: Path) -> None:
    folder = judged_model(tmp_path / "model")
    manifest = load_manifest(folder)
    assert [name for name, _, _ in (a.rpartition(":") for a in manifest.attachments)] == ["heading.npz"]
    pulled = pull(folder.as_uri(), tmp_path / "pulled", lambda *_: None)
    assert (pulled.folder / "heading.npz").is_file()
    write_manifest(replace(manifest, attachments=()), folder)
    with pytest.raises(ManifestError, match="none of its attachments"):
        LearnedDetector(folder).load()
    write_manifest(manifest, folder)
    (folder / "heading.npz").write_bytes(b"something else")
    with pytest.raises(ArtefactRefused, match="changed or damaged"):
        LearnedDetector(folder).load()
    (folder / "heading.npz").unlink()
    with pytest.raises(ArtefactRefused, match="does not exist"):
        LearnedDetector(folder).load()
    write_manifest(replace(manifest, attachments=("heading.npz:short",)), folder)
    with pytest.raises(ManifestError, match="attachment"):
        load_manifest(folder)
