"""The whole tracker step once more, in plain numpy: slow, matrix by matrix, to compare the kernel with.

Written from the description of the tracker, not translated: Kalman updates are joint, assignment is scipy's, overlaps come
from clipping polygons, evidence is kept as histories and averaged when asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from percept_ros.core.tracking_parameters import BayesParameters, ClassParameters, TrackerParameters
from percept_ros.types import CameraView, Detections, Detections2D, ObjectClass

VERY_LARGE = 1e6


def wrap(a: float) -> float:
    return -((np.pi - a) % (2 * np.pi) - np.pi)


def logit(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)
    return float(np.log(p / (1 - p)))


def sigmoid(a: float) -> float:
    return float(1 / (1 + np.exp(-a)))


def outline(box) -> np.ndarray:
    c, s = np.cos(box[6]), np.sin(box[6])
    return np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * box[3:5] / 2 @ np.array([[c, s], [-s, c]]) + box[:2]


def polygon_area(p) -> float:
    return (
        0.5 * abs(float(np.dot(p[:, 0], np.roll(p[:, 1], -1)) - np.dot(p[:, 1], np.roll(p[:, 0], -1))))
        if len(p) > 2
        else 0.0
    )


def cut(polygon, a, b) -> np.ndarray:
    """Part of a convex polygon left of a -> b."""
    side = (b[0] - a[0]) * (polygon[:, 1] - a[1]) - (b[1] - a[1]) * (polygon[:, 0] - a[0])
    kept = []
    for i in range(len(polygon)):
        if side[i] * side[i - 1] < 0:
            kept.append(polygon[i - 1] + (polygon[i] - polygon[i - 1]) * side[i - 1] / (side[i - 1] - side[i]))
        if side[i] >= 0:
            kept.append(polygon[i])
    return np.array(kept).reshape(-1, 2)


def common_area(a, b) -> float:
    polygon, edges = outline(a), outline(b)
    for i in range(4):
        if len(polygon):
            polygon = cut(polygon, edges[i], edges[(i + 1) % 4])
    return polygon_area(polygon)


def hull_area(points) -> float:
    """Area of the convex hull: the largest-turn walk around it."""
    order = points[np.lexsort((points[:, 1], points[:, 0]))]
    around = []
    for half in (order, order[::-1]):
        chain: list[np.ndarray] = []
        for p in half:
            while len(chain) > 1:
                u, v = chain[-1] - chain[-2], p - chain[-2]
                if u[0] * v[1] - u[1] * v[0] > 0:
                    break
                chain.pop()
            chain.append(p)
        around += chain[:-1]
    return polygon_area(np.array(around))


def iou_bev(a, b) -> float:
    shared = common_area(a, b)
    return shared / (a[3] * a[4] + b[3] * b[4] - shared)


def giou_3d(a, b) -> float:
    low, high = np.array([a[2] - a[5] / 2, b[2] - b[5] / 2]), np.array([a[2] + a[5] / 2, b[2] + b[5] / 2])
    shared = common_area(a, b) * max(0.0, high.min() - low.max())
    joined = a[3:6].prod() + b[3:6].prod() - shared
    hull = hull_area(np.vstack([outline(a), outline(b)])) * (high.max() - low.min())
    return shared / joined - (hull - joined) / hull


def iou_pixels(a, b) -> float:
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


def best_pairs(cost: np.ndarray) -> list[tuple[int, int]]:
    """As many allowed pairs as possible, then least cost; inf is not allowed."""
    if not np.isfinite(cost).any():
        return []
    rows, columns = linear_sum_assignment(np.where(np.isfinite(cost), cost, VERY_LARGE))
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if np.isfinite(cost[r, c])]


@dataclass
class Seen:
    """A measured box in the fixed frame with its noise."""

    box: np.ndarray
    score: float
    probs: np.ndarray
    sensors: int
    kind: int
    R: np.ndarray
    yaw_var: float
    height_var: float
    size_var: float
    range_m: float
    track: object = None


@dataclass
class Track:
    """State x: turning x, y, yaw, v, turn rate, acceleration; straight x, y, vx, vy, 0, 0."""

    number: int
    kind: int
    probs: np.ndarray
    birth_ns: int
    x: np.ndarray = field(default_factory=lambda: np.zeros(6))
    P: np.ndarray = field(default_factory=lambda: np.zeros((6, 6)))
    yaw: float = 0.0
    yaw_var: float = 0.0
    z: float = 0.0
    z_var: float = 0.0
    size: np.ndarray = field(default_factory=lambda: np.zeros(3))
    size_var: float = 0.0
    flip: float = 0.2
    measured_ns: int = 0
    lidar_ns: int = 0
    sensors: int = 0
    confirmed: bool = False
    hit: bool = False
    camera_hit: bool = False
    existence: float = 0.0
    frames: int = 0
    scores: list[float] = field(default_factory=list)
    score: float = 0.0
    score_recent: float = 0.0
    hit_recent: float = 0.0
    camera_scores: list[float] = field(default_factory=list)
    camera_frames: int = 0
    camera_score: float = 0.0
    camera_recent: float = 0.0
    innovation: float = 0.0
    pixels: np.ndarray | None = None
    visible: float = 0.0
    occluded: float = 0.0
    shadowed: float = 0.0
    overlap: float = 0.0
    scale: float = 0.0
    yaw_jitter: float = 0.0
    size_jitter: float = 0.0


class ReferenceTracker:
    """Bayes existence, one camera at most. ``step`` returns the published tracks, ``tracks`` are all."""

    def __init__(self, parameters: TrackerParameters) -> None:
        self.parameters, self.tracks, self.born = parameters, [], 0
        self.stamp_ns: int | None = None

    @property
    def bayes(self) -> BayesParameters:
        return self.parameters.bayes

    def of(self, kind: int) -> ClassParameters:
        return self.parameters.classes[kind]

    def turning(self, t: Track) -> bool:
        return self.of(t.kind).motion < 0.5

    def heading(self, t: Track) -> float:
        return float(t.x[2]) if self.turning(t) else t.yaw

    def box(self, t: Track) -> np.ndarray:
        return np.array([t.x[0], t.x[1], t.z, *t.size, wrap(self.heading(t))])

    def velocity(self, t: Track) -> np.ndarray:
        if self.turning(t):
            return t.x[3] * np.array([np.cos(t.x[2]), np.sin(t.x[2])])
        return t.x[2:4].copy()

    # predict

    def predict(self, t: Track, dt: float) -> None:
        c = self.of(t.kind)
        a2, F = c.accel_mps2**2, np.eye(6)
        Q = np.zeros((6, 6))
        if self.turning(t):
            _, _, yaw, v, w, a = t.x
            middle, d = yaw + w * dt / 2, v * dt + a * dt * dt / 2
            along = np.array([np.cos(middle), np.sin(middle)])
            across = np.array([-along[1], along[0]])
            fade, straighten = np.exp(-dt / c.accel_tau_s), np.exp(-dt / c.turn_tau_s)
            F[:2, 2], F[:2, 3] = d * across, dt * along
            F[:2, 4], F[:2, 5] = d * dt / 2 * across, dt * dt / 2 * along
            F[2, 4] = F[3, 5] = dt
            F[4, 4], F[5, 5] = straighten, fade
            t.x[:2] += d * along
            t.x[2], t.x[3] = wrap(yaw + w * dt), v + a * dt
            t.x[4], t.x[5] = np.clip(w * straighten, -1.5, 1.5), np.clip(a * fade, -10, 10)
            Q[:2, :2] = a2 * dt**3 / 3 * np.outer(along, along)
            Q[:2, 3] = Q[3, :2] = a2 * dt**2 / 2 * along
            Q[2, 2], Q[3, 3] = c.yaw_walk_rad**2 * dt, a2 * dt
            Q[4, 4], Q[5, 5] = c.turn_radps**2 * dt, c.jerk_mps3**2 * dt
        else:
            F[0, 2] = F[1, 3] = dt
            t.x = F @ t.x
            for i in (0, 1):
                Q[i, i], Q[i + 2, i + 2] = a2 * dt**3 / 3, a2 * dt
                Q[i, i + 2] = Q[i + 2, i] = a2 * dt**2 / 2
            t.yaw_var = min(t.yaw_var + c.yaw_walk_rad**2 * dt, 10.0)
        Q[0, 0] += c.slip_m**2 * dt
        Q[1, 1] += c.slip_m**2 * dt
        t.P = F @ t.P @ F.T + Q
        t.z_var += c.height_walk_m**2 * dt
        t.size_var += c.size_walk_m**2 * dt
        t.hit = t.camera_hit = False

    # measure

    def measure(
        self, box: np.ndarray, score: float, probs: np.ndarray, sensors: int, kind: int, ego: np.ndarray
    ) -> Seen:
        c, away = self.of(kind), box[:2] - ego[:2]
        range_m = float(np.hypot(*away))
        radial = away / range_m if range_m > 1e-6 else np.array([1.0, 0.0])
        weak = 1 + (c.weak_factor - 1) * (1 - score)
        sigma = weak * (c.position_m + c.position_per_m * range_m)
        R = self.polar(radial, sigma**2, (sigma * c.tangent_ratio) ** 2)
        yaw = weak * (c.yaw_rad + c.yaw_per_m * range_m)
        return Seen(
            box, score, probs, sensors, kind, R, yaw**2, (weak * c.height_m) ** 2, (weak * c.size_m) ** 2, range_m
        )

    @staticmethod
    def polar(radial: np.ndarray, along: float, across: float) -> np.ndarray:
        tangent = np.array([-radial[1], radial[0]])
        return along * np.outer(radial, radial) + across * np.outer(tangent, tangent)

    def read(self, d: Detections, pose: np.ndarray) -> list[Seen]:
        found = []
        for box, score, probs, sensors in zip(d.boxes, d.scores, d.class_probabilities, d.sensors, strict=True):
            along = pose[:3, :3] @ [np.cos(box[6]), np.sin(box[6]), 0]
            moved = np.array([*(pose[:3, :3] @ box[:3] + pose[:3, 3]), *box[3:6], np.arctan2(along[1], along[0])])
            sure = float(np.clip(score, 1e-6, 1 - 1e-6))
            found.append(self.measure(moved, sure, probs, int(sensors), int(np.argmax(probs)), pose[:3, 3]))
        return sorted(found, key=lambda m: (-m.score, *m.box))

    def distance2(self, t: Track, m: Seen) -> float:
        e = m.box[:2] - t.x[:2]
        return float(e @ np.linalg.solve(t.P[:2, :2] + m.R, e))

    # associate

    def associate(self, found: list[Seen], strong: bool) -> None:
        use = [m for m in found if m.track is None and (not strong or m.score >= self.of(m.kind).high_score)]
        tracks = list(self.tracks)
        cost = np.full((len(tracks), len(use)), np.inf)
        for i, t in enumerate(tracks):
            for j, m in enumerate(use):
                cost[i, j] = self.cost(t, m, strong)
        for i, j in best_pairs(cost):
            use[j].track = tracks[i]
            tracks[i].hit = True

    def cost(self, t: Track, m: Seen, strong: bool) -> float:
        c, box, ranged = self.of(t.kind), self.box(t), bool(t.scores)
        groups = {self.of(m.kind).group, c.group} - {0.0}
        if t.hit or len(groups) > 1 or np.hypot(*(m.box[:2] - box[:2])) > (c.gate_centre_m if ranged else 12.0):
            return np.inf
        m2, giou = self.distance2(t, m), giou_3d(box, m.box)
        if m2 > (c.gate_mahalanobis2 if ranged else 9.0):
            return np.inf
        if ranged and giou < (c.gate_giou if strong else c.gate_giou_weak):
            return np.inf
        w = self.parameters.weight_mahalanobis
        return (1 - w) * (1 - giou) / 2 + w * m2 / c.gate_mahalanobis2 + 0.1 * (1 - t.existence)

    # update

    def kalman(self, t: Track, H: np.ndarray, residual: np.ndarray, R: np.ndarray) -> None:
        gain = t.P @ H.T @ np.linalg.inv(H @ t.P @ H.T + R)
        t.x = t.x + gain @ residual
        t.P = t.P - gain @ H @ t.P

    def take(self, t: Track, m: Seen, now_ns: int) -> None:
        m2 = self.distance2(t, m)
        t.innovation += 0.3 * (m2 - t.innovation)
        if m2 > 9.0:
            m.R = m.R * (m2 / 9.0)
        t.score = logit(m.score)
        if t.scores:
            self.update(t, m)
        else:
            self.start(t, m)
            t.score_recent = t.score
        self.take_class(t, self.judge_speed(t, m.probs))
        t.sensors, t.measured_ns, t.lidar_ns = m.sensors, now_ns, now_ns

    def update(self, t: Track, m: Seen) -> None:
        self.kalman(t, np.eye(6)[:2], m.box[:2] - t.x[:2], m.R)
        self.update_yaw(t, m)
        gain, by = t.z_var / (t.z_var + m.height_var), t.size_var / (t.size_var + m.size_var)
        t.z += gain * (m.box[2] - t.z)
        t.z_var *= 1 - gain
        t.size_jitter += 0.3 * (float(np.abs(m.box[3:6] - t.size).sum()) - t.size_jitter)
        t.size = t.size + by * (m.box[3:6] - t.size)
        t.size_var *= 1 - by

    def update_yaw(self, t: Track, m: Seen) -> None:
        off = wrap(float(m.box[6]) - self.heading(t))
        folded = abs(off) > np.pi / 2
        if folded:
            off -= np.sign(off) * np.pi
        t.yaw_jitter += 0.3 * (abs(off) - t.yaw_jitter)
        t.flip = float(np.clip(0.9 * t.flip + (-0.1 if folded else 0.1), -1, 1))
        if not self.turning(t):
            gain = t.yaw_var / (t.yaw_var + m.yaw_var)
            t.yaw = wrap(t.yaw + gain * off + (np.pi if t.flip < -0.05 else 0.0))
            t.flip = abs(t.flip)
            t.yaw_var *= 1 - gain
            return
        self.kalman(t, np.eye(6)[2:3], np.array([off]), np.array([[m.yaw_var]]))
        t.x[2] = wrap(t.x[2])
        backwards = t.x[3] < -2 and t.x[3] ** 2 > 9 * t.P[3, 3]
        if backwards or (t.flip < -0.05 and t.x[3] < 1):
            turned = np.diag([1.0, 1, 1, -1, 1, -1])
            t.x, t.P = turned @ t.x, turned @ t.P @ turned
            t.x[2] = wrap(t.x[2] + np.pi)
            t.flip = abs(t.flip)

    def start(self, t: Track, m: Seen) -> None:
        speed2 = self.of(t.kind).speed_mps ** 2
        t.x, t.P = np.zeros(6), np.zeros((6, 6))
        t.x[:2], t.P[:2, :2] = m.box[:2], m.R
        t.yaw, t.yaw_var = float(m.box[6]), m.yaw_var
        if self.turning(t):
            t.x[2] = m.box[6]
            t.P[2:, 2:] = np.diag([m.yaw_var, speed2, 0.04, 1.0])
        else:
            t.P[2:, 2:] = np.diag([speed2, speed2, 1.0, 1.0])
        t.z, t.z_var, t.size, t.size_var, t.flip = float(m.box[2]), m.height_var, m.box[3:6].copy(), m.size_var, 0.2

    def judge_speed(self, t: Track, probs: np.ndarray) -> np.ndarray:
        speed = float(np.hypot(*self.velocity(t)))
        if self.turning(t) or len(t.scores) < 5 or t.P[2, 2] + t.P[3, 3] > 1:
            return probs
        walking = max(1e-4, float(np.exp(-0.5 * (max(0.0, speed - 2.2) / 0.5) ** 2)))
        judged, walks, rides = probs.copy(), ObjectClass.PEDESTRIAN, ObjectClass.BICYCLE
        on_foot, by_cycle = (probs[walks] + 0.02) * walking, (probs[rides] + 0.02) * 0.1
        both, share = probs[walks] + probs[rides], on_foot / (on_foot + by_cycle)
        judged[walks], judged[rides] = both * share, both * (1 - share)
        return judged

    def take_class(self, t: Track, probs: np.ndarray) -> None:
        mixed = (t.probs + 1e-6) ** 0.95 * (0.9 * probs + 0.1 / len(probs))
        t.probs = mixed / mixed.sum()
        best = int(np.argmax(t.probs))
        if best == t.kind or t.probs[best] < t.probs[t.kind] + 0.1:
            return
        if self.of(best).motion != self.of(t.kind).motion:
            self.convert(t, best)
        t.kind = best

    def convert(self, t: Track, to: int) -> None:
        v, yaw, place = self.velocity(t), self.heading(t), t.P[:2, :2].copy()
        t.P = np.zeros((6, 6))
        t.P[:2, :2] = place
        if self.of(to).motion < 0.5:
            t.x[2:] = yaw, v[0] * np.cos(yaw) + v[1] * np.sin(yaw), 0, 0
            t.P[2:, 2:] = np.diag([0.1, 4.0, 0.04, 1.0])
        else:
            t.yaw, t.yaw_var = yaw, 0.1
            t.x[2:] = *v, 0, 0
            t.P[2:, 2:] = np.diag([4.0, 4.0, 1.0, 1.0])

    # birth

    def new(self, kind: int, probs: np.ndarray, now_ns: int) -> Track:
        self.born += 1
        t = Track(self.born, kind, probs.copy(), now_ns, measured_ns=now_ns, lidar_ns=now_ns)
        self.tracks.append(t)
        return t

    def give_birth(self, found: list[Seen], now_ns: int) -> None:
        for m in found:
            if (
                m.track is not None
                or m.score < self.of(m.kind).birth_score
                or len(self.tracks) >= self.parameters.max_tracks
            ):
                continue
            t = self.new(m.kind, m.probs, now_ns)
            self.start(t, m)
            t.sensors, t.hit, t.hit_recent, m.track = m.sensors, True, 1.0, t
            t.score = t.score_recent = logit(m.score)
            t.existence = self.bayes.birth * m.score

    # evidence

    def count(self, dt: float) -> None:
        slow = 1 - np.exp(-max(dt, 0.02) / 0.5)
        for t in self.tracks:
            t.frames += 1
            t.hit_recent += slow * (float(t.hit) - t.hit_recent)
            if t.hit:
                t.scores.append(t.score)
                t.score_recent += slow * (t.score - t.score_recent)

    def look(
        self, seen: Detections2D | None, view: CameraView | None, pose: np.ndarray, dt: float, now_ns: int
    ) -> None:
        for t in self.tracks:
            t.pixels, t.visible, t.occluded, t.overlap = None, 0.0, 0.0, 0.0
        if seen is not None and view is not None:
            M = view.projection @ np.linalg.inv(pose @ view.base_SE3_camera)
            for t in self.tracks:
                self.project(t, M, view)
            depth = {id(t): float(M[2, :3] @ self.box(t)[:3] + M[2, 3]) for t in self.tracks}
            left = self.match(seen, view, pose, now_ns)
            self.occlude(depth)
            self.give_camera_birth(seen, left, view, pose, now_ns)
        slow = 1 - np.exp(-max(dt, 0.02) / 0.5)
        for t in self.tracks:
            t.camera_recent += slow * ((t.camera_score if t.camera_hit else 0.0) - t.camera_recent)
            if t.pixels is not None:
                t.camera_frames += 1
                if t.camera_hit:
                    t.camera_scores.append(t.camera_score)

    def project(self, t: Track, M: np.ndarray, view: CameraView) -> None:
        box = self.box(t)
        ground = outline(box)
        corners = np.array([[*g, box[2] + h] for g in ground for h in (-box[5] / 2, box[5] / 2)])
        pixels = corners @ M[:, :3].T + M[:, 3]
        if (pixels[:, 2] < 0.1).any():
            return
        uv = pixels[:, :2] / pixels[:, 2:]
        full = np.concatenate([uv.min(axis=0), uv.max(axis=0)])
        edge = np.array([view.width_px - 1.0, view.height_px - 1.0] * 2)
        inside = np.clip(full, 0, edge)
        if (inside[2:] > inside[:2]).all():
            t.pixels = inside
            t.visible = float((inside[2:] - inside[:2]).prod() / (full[2:] - full[:2]).prod())

    def match(self, seen: Detections2D, view: CameraView, pose: np.ndarray, now_ns: int) -> list[int]:
        """Match and follow; returns camera boxes that no track explains."""
        cost, before = np.full((len(self.tracks), len(seen.scores)), np.inf), [t.pixels for t in self.tracks]
        for i, t in enumerate(self.tracks):
            for k, kind in enumerate(seen.class_ids):
                groups = {self.of(int(kind)).group, self.of(t.kind).group} - {0.0}
                if t.pixels is None or len(groups) > 1:
                    continue
                iou = iou_pixels(t.pixels, seen.boxes_px[k])
                t.overlap = max(t.overlap, iou)
                if iou >= self.of(t.kind).camera_iou:
                    cost[i, k] = 1 - iou + 0.3 * (1 - t.existence)
        pairs = best_pairs(cost)
        for i, k in pairs:
            t = self.tracks[i]
            t.camera_hit, t.camera_score = True, float(seen.scores[k])
            t.sensors = (t.sensors if t.measured_ns == now_ns else 0) | view.bit
            t.measured_ns = now_ns
            self.follow(t, seen.boxes_px[k], view, pose)
        left = sorted(
            set(range(len(seen.scores))) - {k for _, k in pairs}, key=lambda k: (-seen.scores[k], *seen.boxes_px[k])
        )
        return [
            k
            for k in left
            if seen.scores[k] >= self.of(int(seen.class_ids[k])).camera_birth
            and not any(p is not None and iou_pixels(p, seen.boxes_px[k]) > 0.3 for p in before)
        ]

    def follow(self, t: Track, box_px: np.ndarray, view: CameraView, pose: np.ndarray) -> None:
        assert t.pixels is not None
        ratio = (box_px[3] - box_px[1]) / max(1.0, t.pixels[3] - t.pixels[1])
        t.scale += 0.3 * (float(np.log(np.clip(ratio, 0.2, 5))) - t.scale)
        if t.scores:
            return
        if m := self.locate(box_px, t.kind, view, pose):
            radial = (m.box[:2] - pose[:2, 3]) / m.range_m
            along, across = radial @ m.R @ radial, np.trace(m.R) - radial @ m.R @ radial
            m.R = self.polar(radial, 2 * along, across)
            self.update(t, m)

    def locate(self, box_px: np.ndarray, kind: int, view: CameraView, pose: np.ndarray) -> Seen | None:
        c, (x1, y1, x2, y2) = self.of(kind), box_px
        if min(x1, y1) < 3 or x2 > view.width_px - 4 or y2 > view.height_px - 4 or y2 - y1 < 4:
            return None
        Q = view.projection @ np.linalg.inv(view.base_SE3_camera)
        u, v = (x1 + x2) / 2, (y1 + y2) / 2
        depth = abs(Q[1, 2] - v * Q[2, 2]) * c.camera_height_m / (y2 - y1)
        if depth > 120:
            return None
        base = np.linalg.solve(Q[:, :3], depth * np.array([u, v, 1]) - Q[:, 3])
        centre = pose[:3, :3] @ base + pose[:3, 3]
        yaw = np.arctan2(pose[1, 0], pose[0, 0])
        box = np.array([*centre, c.usual_length_m, c.usual_width_m, c.usual_height_m, yaw])
        m = self.measure(box, 1.0, np.zeros(0), view.bit, kind, pose[:3, 3])
        across = (0.1 + 0.003 * m.range_m) ** 2
        m.R = self.polar((box[:2] - pose[:2, 3]) / m.range_m, (c.camera_depth * m.range_m) ** 2, across)
        m.height_var, m.yaw_var, m.size_var = (0.2 + 0.01 * m.range_m) ** 2, 0.1, 0.25
        return m

    def occlude(self, depth: dict[int, float]) -> None:
        for t in self.tracks:
            for front in self.tracks:
                if t is front or t.pixels is None or front.pixels is None or front.existence < 0.3:
                    continue
                if depth[id(front)] <= depth[id(t)] - 1:
                    a, b = t.pixels, front.pixels
                    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
                    t.occluded = max(t.occluded, float(shared / (a[2:] - a[:2]).prod()))

    def give_camera_birth(
        self, seen: Detections2D, left: list[int], view: CameraView, pose: np.ndarray, now_ns: int
    ) -> None:
        fresh: list[Track] = []
        for k in left:
            kind, m = int(seen.class_ids[k]), self.locate(seen.boxes_px[k], int(seen.class_ids[k]), view, pose)
            if m is None or len(self.tracks) >= self.parameters.max_tracks:
                continue
            if any(np.hypot(*(t.x[:2] - m.box[:2])) < self.of(kind).usual_length_m for t in fresh):
                continue
            probs = np.full(len(ObjectClass), 0.02)
            probs[kind] = 1 - 0.02 * (len(probs) - 1)
            t = self.new(kind, probs, now_ns)
            fresh.append(t)
            self.start(t, m)
            t.sensors, t.camera_hit, t.camera_score = view.bit, True, float(seen.scores[k])
            t.pixels, t.visible, t.overlap = seen.boxes_px[k].copy(), 1.0, 1.0
            t.existence = self.bayes.birth * t.camera_score

    # believe and publish

    def shadow(self) -> None:
        for t in self.tracks:
            stronger = [s for s in self.tracks if (-s.existence, s.number) < (-t.existence, t.number)]
            t.shadowed = max((iou_bev(self.box(t), self.box(s)) for s in stronger), default=0.0)

    def believe(self, dt: float) -> None:
        b = self.bayes
        for t in self.tracks:
            p = min(max(t.existence, b.low), b.high)
            if t.hit and len(t.scores) > 1:
                odds = min(max(np.exp(b.gain * (t.score - logit(b.prior))), 0.5), 20.0)
                p = sigmoid(logit(p) + np.log(odds))
            elif not t.hit and not t.camera_hit:
                p *= 0.5 ** (dt / b.half_life_s)
            if t.camera_hit:
                p = sigmoid(logit(p) + np.log1p((b.camera_odds - 1) * t.camera_score))
            t.existence = min(max(p, b.low), b.high)
            c = self.of(t.kind)
            if t.existence >= c.confirm and (len(t.scores) or len(t.camera_scores)) >= c.min_hits:
                t.confirmed = True

    def bury(self, now_ns: int) -> None:
        def alive(t: Track) -> bool:
            c = self.of(t.kind)
            if now_ns - t.measured_ns > c.max_coast_s * 1e9 or now_ns - t.lidar_ns > c.max_lidar_coast_s * 1e9:
                return False
            return t.hit or t.camera_hit or t.existence >= c.forget

        self.tracks = [t for t in self.tracks if alive(t)]

    def published(self, t: Track) -> bool:
        c = self.of(t.kind)
        least = c.publish if t.hit else c.publish_coast
        return t.shadowed <= c.duplicate_iou and t.confirmed and t.existence >= least

    def step(
        self, detections: Detections, seen: Detections2D | None, view: CameraView | None, pose: np.ndarray
    ) -> list[Track]:
        now_ns = detections.stamp_ns
        dt = 0.0 if self.stamp_ns is None else (now_ns - self.stamp_ns) * 1e-9
        self.stamp_ns = now_ns
        for t in self.tracks:
            self.predict(t, dt)
        found = self.read(detections, pose)
        self.associate(found, True)
        self.associate(found, False)
        for m in found:
            if m.track is not None:
                self.take(m.track, m, now_ns)  # type: ignore[arg-type]
        self.give_birth(found, now_ns)
        self.count(dt)
        self.look(seen, view, pose, dt, now_ns)
        self.shadow()
        self.believe(dt)
        self.bury(now_ns)
        return [t for t in self.tracks if self.published(t)]

    def features(self, t: Track, ego: np.ndarray, now_ns: int, view: CameraView | None) -> dict[str, float]:
        """Evidence by name (``percept_ros.core.existence.FEATURES``)."""
        n, coast = len(t.scores), min((now_ns - t.lidar_ns) * 1e-9, 5.0)
        range_m, frames = float(np.hypot(*(t.x[:2] - ego[:2]))), max(1, t.frames)
        speed = min(float(np.hypot(*self.velocity(t))), 30.0)
        mean, pixels = float(np.mean(t.scores)) if n else 0.0, t.pixels
        scale = float(np.clip(t.scale, -1, 1))
        border = 0.0
        if pixels is not None and view is not None:
            border = min(
                1.0, min(pixels[0] + pixels[2], 2 * (view.width_px - 1) - pixels[0] - pixels[2]) / view.width_px
            )
        return {
            "hit": float(t.hit),
            "score": t.score if t.hit else 0.0,
            "score_mean": mean,
            "score_max": max(t.scores, default=0.0),
            "score_recent": t.score_recent,
            "hit_rate": n / frames,
            "hit_recent": t.hit_recent,
            "log_frames": float(np.log1p(frames)),
            "coast_s": coast,
            "camera_hit": float(t.camera_hit),
            "camera_score": t.camera_score if t.camera_hit else 0.0,
            "camera_recent": t.camera_recent,
            "camera_rate": len(t.camera_scores) / t.camera_frames if t.camera_frames else 0.0,
            "log_range": float(np.log(max(1.0, range_m))),
            "log_pixel_height": float(np.log(max(1.0, pixels[3] - pixels[1]))) if pixels is not None else 0.0,
            "occluded": t.occluded,
            "visible": t.visible,
            "shadowed": t.shadowed,
            "innovation": min(t.innovation, 10.0),
            "speed": speed,
            "log_hits": float(np.log1p(n)),
            "in_view": float(pixels is not None),
            "log_variance": float(np.log(max(1e-6, t.P[0, 0] + t.P[1, 1]))),
            "volume": float(t.size.prod()),
            "fast": float(np.clip(speed - 2.5, 0, 3)),
            "coast_unseen_s": 0.0 if t.camera_hit else coast,
            "coast_occluded_s": coast * t.occluded,
            "score_far": mean * float(np.log(max(1.0, range_m))),
            "coast_well_known_s": coast * n / frames,
            "camera_overlap": t.overlap,
            "border": border,
            "yaw_jitter": t.yaw_jitter,
            "size_jitter": t.size_jitter,
            "camera_born": float(n == 0),
            "camera_scale": scale,
            "camera_scale_off": abs(scale),
            "camera_score_mean": float(np.mean(t.camera_scores)) if t.camera_scores else 0.0,
        }
