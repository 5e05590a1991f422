"""PointCloud2 decoding against a numpy reference, its refusals, point times and motion compensation."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from percept_ros.core.cloud_layout import CloudField, RawCloud
from percept_ros.core.geometry import from_yaw, inverse, transform_points
from percept_ros.core.point_times import offsets_s, unit_of
from percept_ros.core.points import CloudCrop, CloudDecoder, deskew
from percept_ros.core.trajectory import PoseHistory
from percept_ros.errors import CloudError
from percept_ros.types import PointCloud

CODES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
STAMP_NS = 1_700_000_000_000_000_000
XYZ = [("x", "f4"), ("y", "f4"), ("z", "f4")]


def make(
    columns: dict[str, np.ndarray], kinds: dict[str, str], *, big: bool = False, pad: int = 0, rows: int = 1
) -> RawCloud:
    """A cloud of the given columns, each stored as its kind, with ``pad`` bytes after each point and 5 x pad after each row."""
    count = len(next(iter(columns.values())))
    order, offsets, at = (">" if big else "<"), {}, 1 if pad else 0
    for name in columns:
        offsets[name] = at
        at += np.dtype(kinds[name]).itemsize
    step, width = at + pad, count // rows
    spec = {
        "names": list(columns),
        "formats": [order + kinds[n] for n in columns],
        "offsets": list(offsets.values()),
        "itemsize": step,
    }
    packed = np.zeros(count, np.dtype(spec))
    for name, values in columns.items():
        packed[name] = values
    row_step = width * step + 5 * pad
    data = b"".join(packed[r * width : (r + 1) * width].tobytes() + b"\xff" * (5 * pad) for r in range(rows))
    fields = [CloudField(n, offsets[n], CODES[kinds[n]]) for n in columns]
    return RawCloud(rows, width, fields, big, step, row_step, data)


def sweep(count: int = 600, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y, z = rng.normal(0, 20, (3, count)).astype(np.float32)
    x[::50], y[7::90], z[3::70] = np.nan, np.inf, -np.inf
    return {"x": x, "y": y, "z": z}


def reference(columns: dict[str, np.ndarray], crop: CloudCrop) -> tuple[np.ndarray, np.ndarray]:
    """Kept points and which they are, the slow way."""
    points = np.stack([columns[n] for n in "xyz"], axis=1).astype(np.float32)
    keep = np.isfinite(points).all(axis=1)
    finite = np.where(keep[:, None], points, 0.0).astype(np.float32)
    range_m = np.linalg.norm(finite, axis=1)
    keep &= (range_m >= crop.min_range_m) & (range_m <= crop.max_range_m)
    if crop.ego_box_m:
        low_x, high_x, low_y, high_y = crop.ego_box_m
        base = transform_points(crop.base_SE3_lidar, finite)
        keep &= ~((base[:, 0] >= low_x) & (base[:, 0] <= high_x) & (base[:, 1] >= low_y) & (base[:, 1] <= high_y))
    return points[keep], keep


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(("pad", "rows"), [(0, 1), (3, 1), (0, 6), (5, 4)])
def test_every_layout_gives_the_same_points(kind: str, big: bool, pad: int, rows: int) -> None:
    columns = sweep()
    crop = CloudCrop(2.0, 45.0, (-2.5, 4.0, -3.0, 3.0), from_yaw(0.4, [1.0, 0, 1.8]))
    decoder = CloudDecoder(crop)
    cloud = decoder.decode(
        make(columns, dict.fromkeys("xyz", kind), big=big, pad=pad, rows=rows), "lidar", STAMP_NS, "velo"
    )
    points, keep = reference(columns, crop)
    np.testing.assert_array_equal(cloud.points, points)
    assert cloud.points.dtype == np.float32
    assert (cloud.sensor, cloud.stamp_ns, cloud.frame_id) == ("lidar", STAMP_NS, "velo")
    assert sum(decoder.dropped.values()) == np.count_nonzero(~keep)
    assert decoder.dropped["not_finite"] == np.count_nonzero(~np.isfinite(np.stack(list(columns.values()))).all(axis=0))
    assert cloud.intensity is cloud.ring is cloud.time_offset_s is None


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "u4", "f4", "f8"])
@pytest.mark.parametrize("big", [False, True])
def test_optional_columns_of_any_type(kind: str, big: bool) -> None:
    columns = sweep() | {"Intensity": np.arange(600) % 100, "ring": np.arange(600) % 64}
    kinds = dict(XYZ) | {"Intensity": kind, "ring": kind}
    cloud = CloudDecoder().decode(make(columns, kinds, big=big, pad=1), "lidar", STAMP_NS, "velo")
    _, keep = reference(columns, CloudCrop())
    assert cloud.intensity is not None
    assert cloud.ring is not None
    np.testing.assert_allclose(cloud.intensity, columns["Intensity"][keep] / 255.0, rtol=1e-6)
    np.testing.assert_array_equal(cloud.ring, columns["ring"][keep])
    assert cloud.ring.dtype == np.uint16


@pytest.mark.parametrize(
    ("largest", "kind", "scale"), [(0.9, "f4", 1), (200, "f4", 255), (200, "u1", 255), (9000, "u2", 65535)]
)
def test_intensity_scale(largest: float, kind: str, scale: float) -> None:
    columns = {"x": np.ones(3), "y": np.ones(3), "z": np.ones(3), "intensity": np.array([0, largest, largest / 2])}
    cloud = CloudDecoder().decode(make(columns, dict(XYZ) | {"intensity": kind}), "l", 1, "f")
    assert cloud.intensity is not None
    assert cloud.intensity[1] == pytest.approx(largest / scale, rel=1e-6)


def test_intensity_scale_never_falls_back() -> None:
    decoder, kinds = CloudDecoder(), dict(XYZ) | {"intensity": "f4"}
    one = {"x": np.ones(1), "y": np.ones(1), "z": np.ones(1)}
    decoder.decode(make(one | {"intensity": np.array([100.0])}, kinds), "l", 1, "f")
    cloud = decoder.decode(make(one | {"intensity": np.array([1.0])}, kinds), "l", 2, "f")
    assert cloud.intensity is not None
    assert cloud.intensity[0] == pytest.approx(1 / 255)


def test_bare_finite_cloud_is_a_view() -> None:
    columns = {n: np.arange(4.0) for n in "xyz"}
    message = make(columns, dict(XYZ), pad=2)
    cloud = CloudDecoder().decode(message, "l", 1, "f")
    assert cloud.points.base is not None
    assert np.shares_memory(cloud.points, np.frombuffer(message.data, np.uint8))
    np.testing.assert_array_equal(cloud.points, np.stack(list(columns.values()), axis=1))


def test_all_points_dropped_gives_an_empty_cloud() -> None:
    cloud = CloudDecoder().decode(make({n: np.full(3, np.nan) for n in "xyz"}, dict(XYZ)), "l", 1, "f")
    assert cloud.points.shape == (0, 3)


def good() -> RawCloud:
    return make({n: np.ones(10) for n in "xyz"}, dict(XYZ))


def fields(**changes: dict[str, int]) -> list[CloudField]:
    return [dataclasses.replace(f, **changes.get(f.name, {})) for f in good().fields]


BAD = {
    "no_points": {"width": 0},
    "too_many_points": {"width": 10_000_000, "height": 1},
    "truncated": {"data": b"\0" * 119},
    "bad_step": {"point_step": 0},
    "bad_size": {"height": -1},
    "missing_field": {"fields": good().fields[:2]},
    "bad_offset": {"fields": fields(z={"offset": 9})},
    "bad_datatype": {"fields": fields(x={"datatype": 4})},
    "duplicate_field": {"fields": [*good().fields, CloudField("X", 0, 7)]},
}


@pytest.mark.parametrize("reason", BAD)
def test_impossible_clouds_are_refused(reason: str) -> None:
    message = dataclasses.replace(good(), **BAD[reason])
    with pytest.raises(CloudError) as caught:
        CloudDecoder().decode(message, "l", 1, "f")
    assert caught.value.reason == reason
    assert str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"height": 2, "width": 5, "row_step": 59}, "bad_step"),
        ({"height": 1 << 31, "width": 1 << 31}, "too_many_points"),
        ({"fields": fields(y={"offset": 2})}, "bad_offset"),
        ({"fields": fields(y={"offset": -4})}, "bad_offset"),
        ({"fields": [*good().fields, CloudField("intensity", 11, 4)]}, "bad_offset"),
        ({"fields": fields(y={"datatype": 8, "offset": 4})}, "bad_datatype"),
        ({"fields": fields(y={"datatype": 99})}, "bad_datatype"),
        ({"data": None}, "bad_size"),
        ({"fields": None}, "missing_field"),
        ({"width": 2.5}, "bad_size"),
    ],
)
def test_more_impossible_clouds(change: dict[str, object], reason: str) -> None:
    with pytest.raises(CloudError) as caught:
        CloudDecoder().decode(dataclasses.replace(good(), **change), "l", 1, "f")  # type: ignore[arg-type]
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("times", "kind", "stamp_ns"),
    [
        (np.linspace(0, 0.1, 2000), "f4", STAMP_NS),
        (np.linspace(-0.1, 0, 2000), "f4", STAMP_NS),
        (np.linspace(0, 1e8, 2000), "u4", STAMP_NS),
        (np.linspace(0, 1e5, 2000), "u4", STAMP_NS),
        (np.linspace(0, 1e5, 2000), "f4", STAMP_NS),
        (np.linspace(0, 100, 2000), "f4", STAMP_NS),
        (STAMP_NS * 1e-9 + np.linspace(0, 0.1, 2000), "f8", STAMP_NS),
        (STAMP_NS * 1e-3 + np.linspace(0, 1e5, 2000), "f8", STAMP_NS),
        (STAMP_NS * 1.0 + np.linspace(0, 1e8, 2000), "f8", STAMP_NS),
        (1_600_000_000 + np.linspace(0, 0.1, 2000), "f8", STAMP_NS),
        (100.0 + np.linspace(0, 0.1, 2000), "f8", 100_000_000_000),
    ],
    ids=["s", "negative_s", "ns", "us", "float_us", "ms", "epoch_s", "epoch_us", "epoch_ns", "other_clock", "sim_time"],
)
def test_point_times(times: np.ndarray, kind: str, stamp_ns: int) -> None:
    columns = {n: np.linspace(1, 2, 2000) for n in "xyz"} | {"timestamp": times}
    cloud = CloudDecoder().decode(make(columns, dict(XYZ) | {"timestamp": kind}), "l", stamp_ns, "f")
    assert cloud.time_offset_s is not None
    expected = np.linspace(0, 0.1, 2000) if times[0] >= 0 else times
    np.testing.assert_allclose(cloud.time_offset_s, expected, atol=2e-6)


def test_unit_stays_once_settled() -> None:
    decoder, kinds = CloudDecoder(), dict(XYZ) | {"t": "u4"}
    full = {n: np.ones(2000) for n in "xyz"} | {"t": np.linspace(0, 1e5, 2000)}
    decoder.decode(make(full, kinds), "l", STAMP_NS, "f")
    few = {n: np.ones(2) for n in "xyz"} | {"t": np.array([0, 50_000])}
    cloud = decoder.decode(make(few, kinds), "l", STAMP_NS, "f")
    assert cloud.time_offset_s is not None
    assert cloud.time_offset_s[1] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("low", "high", "datatype", "points", "unit"),
    [
        (0, 500, 6, 10, "ns"),
        (0, 0.05, 7, 10, "s"),
        (1e9, 1.7e9, 7, 1000, None),
        (math.nan, math.nan, 8, 100, None),
        (0, 0, 6, 100, "ns"),
    ],
)
def test_unit_of_few_or_useless_times(low: float, high: float, datatype: int, points: int, unit: str | None) -> None:
    assert unit_of(low, high, datatype, points) == unit


@pytest.mark.parametrize("wrong", [7e49, -1e12, 3e9])
def test_times_of_no_sweep_are_ignored(wrong: float) -> None:
    columns = {n: np.ones(2000) for n in "xyz"} | {"t": np.linspace(0, 0.1, 2000)}
    columns["t"][5] = wrong
    assert CloudDecoder().decode(make(columns, dict(XYZ) | {"t": "f8"}), "l", STAMP_NS, "f").time_offset_s is None


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_a_point_without_a_time_is_at_the_stamp(missing: float) -> None:
    columns = {n: np.ones(2000) for n in "xyz"} | {"t": np.linspace(0, 0.1, 2000)}
    columns["t"][5] = missing
    cloud = CloudDecoder().decode(make(columns, dict(XYZ) | {"t": "f4"}), "l", STAMP_NS, "f")
    assert cloud.time_offset_s is not None
    assert cloud.time_offset_s[5] == 0.0
    assert cloud.time_offset_s[-1] == pytest.approx(0.1)


def test_deskew_refuses_times_that_are_not_finite() -> None:
    cloud = PointCloud("l", 1, "f", np.ones((2, 3), np.float32), time_offset_s=np.array([0, np.nan], np.float32))
    with pytest.raises(CloudError, match="compensated"):
        deskew(cloud, lambda stamps: np.broadcast_to(np.eye(4), (len(stamps), 4, 4)))


def test_offsets_by_hand() -> None:
    np.testing.assert_allclose(offsets_s(np.array([0.0, 2e6]), 0, 2e6, "ns", STAMP_NS), [0, 0.002], rtol=1e-6)


class TestDeskew:
    """A vehicle drives 10 m/s along x and turns 1 rad/s; a wall of fixed points is seen point by point."""

    BASE = from_yaw(0.2, [1.0, 0.0, 1.8])

    def pose(self, stamps_ns: np.ndarray) -> np.ndarray:
        t = (np.asarray(stamps_ns) - STAMP_NS) * 1e-9
        return from_yaw(t, np.stack([10 * t, 0 * t, 0 * t], axis=-1))

    def test_fixed_points_come_together(self) -> None:
        rng = np.random.default_rng(1)
        fixed, t = rng.normal(0, 30, (500, 3)), np.linspace(-0.05, 0.1, 500)
        poses = self.pose(STAMP_NS + (t * 1e9).astype(np.int64)) @ self.BASE
        seen = np.einsum("pij,pj->pi", inverse(poses)[:, :3, :3], fixed) + inverse(poses)[:, :3, 3]
        cloud = PointCloud("l", STAMP_NS, "f", seen.astype(np.float32), time_offset_s=t.astype(np.float32))
        moved = deskew(cloud, self.pose, self.BASE)
        expected = transform_points(inverse(self.pose(np.array(STAMP_NS)) @ self.BASE), fixed)
        np.testing.assert_allclose(moved.points, expected, atol=1e-4)
        assert np.abs(seen - expected).max() > 1.0
        assert moved.time_offset_s is None

    def test_strided_points_and_pose_history(self) -> None:
        poses = PoseHistory()
        for i in range(3):
            poses.add(STAMP_NS + i * 100_000_000, from_yaw(0.0, [i, 0, 0]))
        wide = np.zeros((2, 5), np.float32)
        cloud = PointCloud("l", STAMP_NS, "f", wide[:, 1:4], time_offset_s=np.array([0, 0.1], np.float32))
        np.testing.assert_allclose(deskew(cloud, poses.at).points[:, 0], [0, 1], atol=1e-6)

    def test_other_reference(self) -> None:
        cloud = PointCloud("l", STAMP_NS, "f", np.zeros((1, 3), np.float32), time_offset_s=np.zeros(1, np.float32))
        moved = deskew(cloud, self.pose, reference_ns=STAMP_NS + 100_000_000)
        assert np.linalg.norm(moved.points) == pytest.approx(1.0, abs=1e-5)

    def test_nothing_to_do(self) -> None:
        cloud = PointCloud("l", STAMP_NS, "f", np.ones((2, 3), np.float32))
        assert deskew(cloud, self.pose) is cloud
