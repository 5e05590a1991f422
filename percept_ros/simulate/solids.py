"""Convex solids that shapes are built of, and their placing in the world.

A shape is a list of frusta (two axis-parallel rectangles and what lies between) and prisms (eight-sided, tapering), each
with a material. Many shapes are placed at once: rows of parameters become planes and corners in a few array operations.

Axes of a row: ``0, 1, 2`` = the solid's long axis is x, y, z; its own coordinates (u, v, w) are then (y, z, x), (z, x, y) or
(x, y, z), w along the axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from percept_ros.types import F32, F64

MAX_PLANES = 12
MAX_VERTICES = 16
SIDES = 8
_ROUND = 1.03
_OUTER = _ROUND * float(np.cos(np.pi / SIDES))
SCENERY = -2
"""Object index of solids that belong to no labelled object (``PERCEPT_SCENERY``)."""

I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]

FRUSTUM_FACES = ((3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7))
"""Corners of each face of a frustum, counter-clockwise seen from outside."""
PRISM_FACES = (
    tuple(reversed(range(SIDES))),
    tuple(range(SIDES, 2 * SIDES)),
    *((i, (i + 1) % SIDES, SIDES + (i + 1) % SIDES, SIDES + i) for i in range(SIDES)),
)
"""Corners of each face of a prism: bottom, top, sides."""


class Material(IntEnum):
    """How a surface answers a laser; numbers as in kernels/percept_raycast.h."""

    SOLID = 0
    GLASS = 1
    FOLIAGE = 2
    FENCE = 3
    RETRO = 4


@dataclass(frozen=True, slots=True)
class Surface:
    """Look of a solid.

    reflectivity: at 905 nm, [0, 1]. parameter: gloss (solid), return probability (glass), mean free path in m (foliage),
    covered share (fence). colour: BGR, [0, 255].
    """

    material: Material = Material.SOLID
    reflectivity: float = 0.3
    parameter: float = 0.0
    colour: tuple[int, int, int] = (128, 128, 128)


@dataclass(slots=True)
class Shape:
    """A thing in its own frame: x forward, y left, z up, origin on the ground below the middle of its box.

    frusta: rows ``axis, u0, u1, v0, v1, w0, U0, U1, V0, V1, w1`` (rectangle at w0, rectangle at w1).
    prisms: rows ``axis, u, v, w, length, radius at w, radius at w + length``. outside: solids that the box leaves out.
    """

    frusta: list[tuple[float, ...]] = field(default_factory=list)
    frustum_surfaces: list[Surface] = field(default_factory=list)
    prisms: list[tuple[float, ...]] = field(default_factory=list)
    prism_surfaces: list[Surface] = field(default_factory=list)
    outside: set[int] = field(default_factory=set)

    def frustum(
        self, axis: int, low: Sequence[float], w0: float, high: Sequence[float], w1: float, look: Surface
    ) -> None:
        """Add what lies between rectangle ``low`` (u0, u1, v0, v1) at w0 and ``high`` at w1 > w0."""
        self.frusta.append((float(axis), *low, w0, *high, w1))
        self.frustum_surfaces.append(look)

    def box(self, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], look: Surface) -> None:
        """Add an axis-parallel box."""
        self.frustum(2, (*x, *y), z[0], (*x, *y), z[1], look)

    def limb(self, start: Sequence[float], end: Sequence[float], thick: float, look: Surface) -> None:
        """Add a slanted bar of square section from ``start`` up to ``end`` (x, y, z; end is higher)."""
        half = thick / 2
        low = (start[0] - half, start[0] + half, start[1] - half, start[1] + half)
        high = (end[0] - half, end[0] + half, end[1] - half, end[1] + half)
        self.frustum(2, low, start[2], high, max(end[2], start[2] + 0.02), look)

    def prism(self, axis: int, base: Sequence[float], length: float, radii: tuple[float, float], look: Surface) -> None:
        """Add an eight-sided prism that starts at ``base`` (x, y, z) and runs ``length`` along ``axis``."""
        u, v, w = (base[(axis + 1) % 3], base[(axis + 2) % 3], base[axis])
        self.prisms.append((float(axis), u, v, w, length, *radii))
        self.prism_surfaces.append(look)

    def leave_out(self) -> None:
        """The last added frustum does not count for the box (mirrors, aerials)."""
        self.outside.add(len(self.frusta) - 1)

    def extent(self) -> tuple[F64, F64]:
        """(3,) lowest and highest corner over the solids that count for the box."""
        low, high = [np.inf] * 3, [-np.inf] * 3
        for index, (axis, *r) in enumerate(self.frusta):
            if index not in self.outside:
                spans = ((r[0], r[1], r[5], r[6]), (r[2], r[3], r[7], r[8]), (r[4], r[9]))
                _stretch(low, high, int(axis), spans)
        for axis, u, v, w, length, first, second in self.prisms:
            r0 = max(first, second) * _OUTER
            _stretch(low, high, int(axis), ((u - r0, u + r0), (v - r0, v + r0), (w, w + length)))
        return np.array(low), np.array(high)


def _stretch(low: list[float], high: list[float], axis: int, spans: Sequence[Sequence[float]]) -> None:
    for offset, span in enumerate(spans, start=1):
        place_ = (axis + offset) % 3
        low[place_], high[place_] = min(low[place_], *span), max(high[place_], *span)


@dataclass(frozen=True, slots=True)
class Solids:
    """Placed solids as arrays, S rows.

    planes: (S, 12, 4) float32 outward unit normal and offset, inside is n . x <= d. vertices: (S, 16, 3) float32.
    prism: (S,) bool, which face table holds. object: (S,) int32, ``SCENERY`` for none. velocity: (S, 3) float32 m/s.
    """

    planes: F32
    plane_count: U8
    vertices: F32
    vertex_count: U8
    prism: npt.NDArray[np.bool_]
    material: U8
    reflectivity: F32
    parameter: F32
    colour: U8
    object: I32
    velocity: F32

    def __len__(self) -> int:
        return int(self.planes.shape[0])

    def take(self, rows: npt.NDArray[np.generic]) -> Solids:
        """The chosen rows (mask or indices)."""
        return Solids(*(getattr(self, name)[rows] for name in self.__slots__))

    def moved(self, shift: F64, yaw: F64 | None = None) -> Solids:
        """The same solids turned by (S,) ``yaw`` about the origin, then shifted by (3,) or (S, 3) ``shift``."""
        planes, vertices = self.planes.copy(), self.vertices.copy()
        if yaw is not None:
            cos, sin = np.cos(yaw).astype(np.float32)[:, None], np.sin(yaw).astype(np.float32)[:, None]
            for rows, given in ((planes, self.planes), (vertices, self.vertices)):
                rows[:, :, 0] = cos * given[:, :, 0] - sin * given[:, :, 1]
                rows[:, :, 1] = sin * given[:, :, 0] + cos * given[:, :, 1]
        by = np.broadcast_to(np.asarray(shift, np.float32), (len(self), 3))
        planes[:, :, 3] += np.einsum("spk,sk->sp", planes[:, :, :3], by)
        vertices += by[:, None]
        return replace(self, planes=planes, vertices=vertices)

    @staticmethod
    def join(parts: Sequence[Solids]) -> Solids:
        """All rows of several."""
        return Solids(*(np.concatenate([getattr(p, name) for p in parts]) for name in Solids.__slots__))


def frustum_corners(rows: npt.NDArray[np.floating]) -> F64:
    """(n, 8, 3) corners of (n, 11) frustum rows."""
    u0, u1, v0, v1, w0, x0, x1, y0, y1, w1 = rows[:, 1:].T
    own = np.empty((len(rows), 8, 3))
    own[:, :, 0] = np.stack([u0, u1, u1, u0, x0, x1, x1, x0], 1)
    own[:, :, 1] = np.stack([v0, v0, v1, v1, y0, y0, y1, y1], 1)
    own[:, :4, 2], own[:, 4:, 2] = w0[:, None], w1[:, None]
    return _unpermute(own, rows[:, 0])


def prism_corners(rows: npt.NDArray[np.floating]) -> F64:
    """(n, 16, 3) corners of (n, 7) prism rows; the octagon has about the area of the circle."""
    angle = (np.arange(SIDES) + 0.5) * 2 * np.pi / SIDES
    ring = np.stack([np.cos(angle), np.sin(angle)], 1) * _ROUND
    own = np.empty((len(rows), 2 * SIDES, 3))
    own[:, :SIDES, :2] = rows[:, None, 1:3] + rows[:, None, 5:6] * ring
    own[:, SIDES:, :2] = rows[:, None, 1:3] + rows[:, None, 6:7] * ring
    own[:, :SIDES, 2], own[:, SIDES:, 2] = rows[:, 3:4], (rows[:, 3] + rows[:, 4])[:, None]
    return _unpermute(own, rows[:, 0])


def _unpermute(own: F64, axis: npt.NDArray[np.floating]) -> F64:
    xyz = own.copy()
    for a, order in ((0, (2, 0, 1)), (1, (1, 2, 0))):
        rows = axis == a
        xyz[rows] = own[rows][:, :, order]
    return xyz


def _planes(corners: F64, sides: int) -> F64:
    """(n, sides + 2, 4) planes of corners given as two rings of ``sides``."""
    low, high = corners[:, :sides], corners[:, sides:]
    edge = np.roll(low, -1, 1) - low + np.roll(high, -1, 1) - high
    middle = (np.roll(low, -1, 1) + low + np.roll(high, -1, 1) + high) / 4
    rise = (np.roll(high, -1, 1) + high - np.roll(low, -1, 1) - low) / 2
    normal = np.empty((len(corners), sides + 2, 3))
    normal[:, 2:] = np.cross(edge, rise)
    spread = np.cross(low[:, 1] + high[:, 1] - low[:, 0] - high[:, 0], low[:, 2] + high[:, 2] - low[:, 0] - high[:, 0])
    normal[:, 1], normal[:, 0] = spread, -spread
    normal /= np.maximum(np.linalg.norm(normal, axis=2, keepdims=True), 1e-12)
    on = np.concatenate([low.mean(1)[:, None], high.mean(1)[:, None], middle], 1)
    return np.concatenate([normal, np.sum(normal * on, 2, keepdims=True)], 2)


def place(shapes: Sequence[Shape], poses: F64, objects: Sequence[int], velocities: F64 | None = None) -> Solids:
    """Put every shape at its pose.

    poses: (n, 4) x, y, z, yaw in the target frame. objects: object index of each, or ``SCENERY``.
    velocities: (n, 2) m/s, or None = all stand.
    """
    poses = np.asarray(poses, np.float64).reshape(-1, 4)
    velocity = np.zeros((len(shapes), 2)) if velocities is None else np.asarray(velocities)
    frusta = _placed(shapes, poses, objects, velocity, prism=False)
    prisms = _placed(shapes, poses, objects, velocity, prism=True)
    return Solids.join([frusta, prisms])


def _placed(shapes: Sequence[Shape], poses: F64, objects: Sequence[int], velocity: F64, *, prism: bool) -> Solids:
    lists = [s.prisms if prism else s.frusta for s in shapes]
    looks = [look for s in shapes for look in (s.prism_surfaces if prism else s.frustum_surfaces)]
    owner = np.repeat(np.arange(len(shapes)), [len(rows) for rows in lists])
    width, sides = (7, SIDES) if prism else (11, 4)
    rows = np.array([row for part in lists for row in part], np.float64).reshape(-1, width)
    corners = prism_corners(rows) if prism else frustum_corners(rows)
    planes = _planes(corners, sides)
    pose = poses[owner]
    cos, sin = np.cos(pose[:, 3])[:, None], np.sin(pose[:, 3])[:, None]
    count = len(rows)
    out_planes = np.zeros((count, MAX_PLANES, 4), np.float32)
    out_vertices = np.zeros((count, MAX_VERTICES, 3), np.float32)
    out_vertices[:, : 2 * sides, 0] = cos * corners[:, :, 0] - sin * corners[:, :, 1] + pose[:, 0:1]
    out_vertices[:, : 2 * sides, 1] = sin * corners[:, :, 0] + cos * corners[:, :, 1] + pose[:, 1:2]
    out_vertices[:, : 2 * sides, 2] = corners[:, :, 2] + pose[:, 2:3]
    turned = np.stack([cos * planes[:, :, 0] - sin * planes[:, :, 1], sin * planes[:, :, 0] + cos * planes[:, :, 1]], 2)
    normal = np.concatenate([turned, planes[:, :, 2:3]], 2)
    out_planes[:, : sides + 2, :3] = normal
    out_planes[:, : sides + 2, 3] = planes[:, :, 3] + np.einsum("npk,nk->np", normal, pose[:, :3])
    speed = np.zeros((count, 3), np.float32)
    speed[:, :2] = velocity[owner]
    return Solids(
        out_planes,
        np.full(count, sides + 2, np.uint8),
        out_vertices,
        np.full(count, 2 * sides, np.uint8),
        np.full(count, prism),
        np.array([look.material for look in looks], np.uint8),
        np.array([look.reflectivity for look in looks], np.float32),
        np.array([look.parameter for look in looks], np.float32),
        np.array([look.colour for look in looks], np.uint8).reshape(-1, 3),
        np.asarray(objects, np.int32).reshape(-1)[owner].astype(np.int32),
        speed,
    )
