"""Tracks as visualization_msgs/MarkerArray for RViz: boxes, ids, velocity arrows, predicted paths."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from percept_ros.nodes.convert import time_message
from percept_ros.types import Forecasts, Mode, ObjectClass, Tracks

COLOURS: dict[int, tuple[float, float, float]] = {
    ObjectClass.UNKNOWN: (0.6, 0.6, 0.6),
    ObjectClass.CAR: (0.20, 0.60, 1.00),
    ObjectClass.TRUCK: (1.00, 0.55, 0.10),
    ObjectClass.BUS: (1.00, 0.80, 0.10),
    ObjectClass.TRAILER: (0.80, 0.45, 0.20),
    ObjectClass.MOTORCYCLE: (0.75, 0.35, 0.95),
    ObjectClass.BICYCLE: (0.35, 0.85, 0.45),
    ObjectClass.PEDESTRIAN: (0.95, 0.25, 0.35),
}
_LIFETIME = Duration(sec=0, nanosec=500_000_000)
_FADE_S = 1.5


class TrackMarkers:
    """Makes the markers of each frame; ids stay with their track, and markers of ended tracks are deleted."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._next = 0

    def frame(self, tracks: Tracks, forecasts: Forecasts) -> MarkerArray:
        """All markers of one frame, deletions first."""
        keys = [row.tobytes() for row in tracks.id]
        markers = [self._delete(tracks, key) for key in list(self._numbers) if key not in set(keys)]
        flat = [marker for group in markers for marker in group]
        for row, key in enumerate(keys):
            number = self._numbers.get(key)
            if number is None:
                number = self._numbers[key] = self._next
                self._next = (self._next + 1) % 2**31
            flat += _track_markers(tracks, forecasts, row, number)
        return MarkerArray(markers=flat)

    def _delete(self, tracks: Tracks, key: bytes) -> list[Marker]:
        number = self._numbers.pop(key)
        gone = []
        for namespace in ("box", "label", "velocity", "path"):
            marker = _marker(tracks, namespace, number)
            marker.action = Marker.DELETE
            gone.append(marker)
        return gone


def _marker(tracks: Tracks, namespace: str, number: int) -> Marker:
    marker = Marker(ns=namespace, id=number, action=Marker.ADD, lifetime=_LIFETIME)
    marker.header.frame_id = tracks.frame_id
    marker.header.stamp = time_message(tracks.stamp_ns)
    marker.pose.orientation.w = 1.0
    return marker


def _colour(tracks: Tracks, row: int) -> ColorRGBA:
    red, green, blue = COLOURS[int(tracks.class_ids[row])]
    unseen_s = float(tracks.since_measurement_ns[row]) * 1e-9
    return ColorRGBA(r=red, g=green, b=blue, a=max(0.25, 0.75 * (1.0 - unseen_s / _FADE_S)))


def _point(x: float, y: float, z: float) -> Point:
    return Point(x=float(x), y=float(y), z=float(z))


def _track_markers(tracks: Tracks, forecasts: Forecasts, row: int, number: int) -> list[Marker]:
    colour = _colour(tracks, row)
    markers = [_box(tracks, row, number, colour), _label(tracks, row, number)]
    if not tracks.stationary[row]:
        markers.append(_arrow(tracks, row, number, colour))
    if row < len(forecasts.steps) and forecasts.paths.shape[2]:
        markers.append(_path(tracks, forecasts, row, number, colour))
    return markers


def _box(tracks: Tracks, row: int, number: int, colour: ColorRGBA) -> Marker:
    x, y, z, length, width, height, yaw = (float(v) for v in tracks.boxes[row])
    box = _marker(tracks, "box", number)
    box.type, box.color = Marker.CUBE, colour
    box.pose.position = _point(x, y, z)
    box.pose.orientation.z, box.pose.orientation.w = float(np.sin(yaw / 2)), float(np.cos(yaw / 2))
    box.scale.x, box.scale.y, box.scale.z = length, width, height
    return box


def _label(tracks: Tracks, row: int, number: int) -> Marker:
    x, y, z, _, _, height, _ = (float(v) for v in tracks.boxes[row])
    label = _marker(tracks, "label", number)
    label.type, label.color = Marker.TEXT_VIEW_FACING, ColorRGBA(r=1.0, g=1.0, b=1.0, a=0.9)
    label.pose.position = _point(x, y, z + height / 2 + 0.6)
    label.scale.z = 0.6
    speed = float(np.hypot(*tracks.velocity_mps[row]))
    label.text = (
        f"{ObjectClass(int(tracks.class_ids[row])).name.lower()} {tracks.id[row].tobytes().hex()[:4]}"
        f" {speed:.1f} m/s {tracks.existence[row]:.2f}"
    )
    return label


def _arrow(tracks: Tracks, row: int, number: int, colour: ColorRGBA) -> Marker:
    x, y, z = (float(v) for v in tracks.boxes[row, :3])
    vx, vy = (float(v) for v in tracks.velocity_mps[row])
    arrow = _marker(tracks, "velocity", number)
    arrow.type, arrow.color = Marker.ARROW, colour
    arrow.points = [_point(x, y, z), _point(x + vx, y + vy, z)]
    arrow.scale.x, arrow.scale.y, arrow.scale.z = 0.15, 0.35, 0.4
    return arrow


def _path(tracks: Tracks, forecasts: Forecasts, row: int, number: int, colour: ColorRGBA) -> Marker:
    line = _marker(tracks, "path", number)
    line.type, line.color = Marker.LINE_STRIP, colour
    line.scale.x = 0.12
    z = float(tracks.boxes[row, 2])
    best = int(np.argmax(forecasts.confidence[row]))
    steps = int(forecasts.steps[row])
    line.points = [_point(x, y, z) for x, y in forecasts.paths[row, best, :steps:3, :2]]
    return line


def status_marker(frame_id: str, mode: Mode, cause: str) -> MarkerArray:
    """The mode as a text above the vehicle: green when full, amber when degraded, red when stale."""
    marker = Marker(ns="status", id=0, action=Marker.ADD, type=Marker.TEXT_VIEW_FACING, text=f"{mode.name}\n{cause}")
    marker.header.frame_id = frame_id
    marker.pose.position, marker.pose.orientation.w = _point(0.0, 0.0, 4.0), 1.0
    marker.scale.z, marker.frame_locked = 1.0, True
    red, green = {Mode.FULL: (0.2, 0.9), Mode.STALE: (1.0, 0.2)}.get(mode, (1.0, 0.7))
    marker.color = ColorRGBA(r=red, g=green, b=0.2, a=1.0)
    return MarkerArray(markers=[marker])
