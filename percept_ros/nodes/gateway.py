"""The gateway beside the nodes: their tracks, cameras and sweeps on the live page, their health and figures over HTTP.

It listens only; no node waits for it, and it loads no model (``percept gateway`` does). Frames are decoded and drawn
only while somebody looks on.
"""

from __future__ import annotations

import dataclasses
import threading
from contextlib import ExitStack
from typing import Any

import numpy as np
from rclpy.node import Node

from percept_ros.config import Config
from percept_ros.errors import InputError, TransformError
from percept_ros.gateway.app import make_gateway
from percept_ros.gateway.runner import Seen
from percept_ros.gateway.server import Server, read_token
from percept_ros.msg import ObstacleTrackArray
from percept_ros.nodes import parameters
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.ego import EgoMotion
from percept_ros.nodes.extrinsics import Extrinsics
from percept_ros.nodes.filters import subscribe, unsubscribe
from percept_ros.nodes.inbox import Inbox
from percept_ros.nodes.names import LIDAR
from percept_ros.nodes.qos import TRACK_QOS
from percept_ros.nodes.sources import Arrival, DirectSources, RingSources, Sources
from percept_ros.nodes.transforms import open_transforms
from percept_ros.replay.track_array import TrackArray, track_array_of
from percept_ros.runtime.one_processor import one_processor
from percept_ros.types import AbsenceReason, CameraFrame, Detections, FrameResult, PointCloud, SensorSet

TRACKS = "fusion/tracks"
_NEWEST = 1
_REASONS = {reason.name.lower(): reason for reason in AbsenceReason}


class GatewayNode(Node):
    """A plain node: it serves from the start to the end of its process."""

    def __init__(self, name: str = "gateway", **options: Any) -> None:
        with one_processor():
            super().__init__(name, automatically_declare_parameters_from_overrides=True, **options)
        parameters.declare(self)
        self.config = listening_only(parameters.read(self))
        self._complaints = Complaints(self.get_logger())
        self._newest: dict[str, Any] = {}
        with ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        self.get_logger().info(f"gateway listens on {self.server.url}")

    def _open(self, stack: ExitStack) -> None:
        token = read_token(self.config.gateway)
        self.gateway = make_gateway(self.config, token=token)
        self.gateway.checks.nodes = True
        transforms = open_transforms(self)
        if transforms is not None:
            stack.callback(transforms.close)
        self._ego = EgoMotion(self, self.config, transforms, self._complaints)
        self._ego.start(stack)
        self._sources = self._make_sources(Extrinsics(self.config, transforms))
        inbox = Inbox(_NEWEST, lambda source: None)
        self._sources.start(stack, inbox)
        made = subscribe(self, ObstacleTrackArray, TRACKS, TRACK_QOS, lambda message: inbox.put(TRACKS, message))
        stack.callback(unsubscribe, self, made)
        self._inbox = inbox
        self.server = stack.enter_context(Server(self.gateway))
        self._start_worker(stack)

    def _make_sources(self, extrinsics: Extrinsics) -> Sources:
        if self.config.fusion.inputs == "ring":
            return RingSources(self, self.config, extrinsics, self._complaints)
        return DirectSources(self, self.config, extrinsics, self._complaints, self._ego.poses_at)

    def _start_worker(self, stack: ExitStack) -> None:
        thread = threading.Thread(target=self._work, name="gateway", daemon=True)
        stack.callback(thread.join, 5.0)
        stack.callback(self._inbox.close)
        thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._stack.close()

    def _work(self) -> None:
        while self._inbox.is_open:
            for source, message in self._inbox.take(None):
                if source == TRACKS:
                    self._show(message)
                else:
                    self._newest[source] = message

    def _show(self, message: Any) -> None:
        array = track_array_of(message)
        arrivals = self._decoded() if self.gateway.feed.viewers else []
        latency_ms = (array.publish_ns - array.oldest_ns) * 1e-6
        self.gateway.feed.take(Seen(self._result(array, arrivals), {}, latency_ms))

    def _decoded(self) -> list[Arrival]:
        """The newest frame of every sensor, copied out of the rings."""
        found = []
        for sensor, message in self._newest.items():
            try:
                arrivals = self._sources.decode(sensor, message)
            except (InputError, TransformError) as exc:
                self._complaints.drop(sensor, getattr(exc, "reason", "no_transform"), str(exc))
                continue
            found += [copy for arrival in arrivals[-1:] if (copy := copied(arrival)) is not None]
        self._newest.clear()
        return found

    def _result(self, array: TrackArray, arrivals: list[Arrival]) -> FrameResult:
        cloud = next((a.payload for a in arrivals if isinstance(a.payload, PointCloud)), None)
        frames = {a.payload.sensor: a.payload for a in arrivals if isinstance(a.payload, CameraFrame)}
        split = [text.partition(": ") for text in array.absent]
        sensors = SensorSet(
            array.tracks.stamp_ns,
            cloud,
            frames,
            {name: _REASONS.get(reason, AbsenceReason.NEVER_SEEN) for name, _, reason in split},
            self.config.camera_order,
            {a.payload.sensor: a.base_SE3_sensor for a in arrivals},
            self._ego.pose_at(array.tracks.stamp_ns),
        )
        return FrameResult(
            sensors,
            Detections.empty(array.tracks.stamp_ns, self.config.frames.base),
            {},
            array.tracks,
            array.forecasts,
            array.mode,
            {},
            array.model,
            array.artefact_sha256,
            array.group,
        )


def listening_only(config: Config) -> Config:
    """The configuration without inference in the gateway's process."""
    return dataclasses.replace(config, gateway=dataclasses.replace(config.gateway, workers=0))


def copied(arrival: Arrival) -> Arrival | None:
    """The arrival with data of its own; None when its ring slot was overwritten meanwhile."""
    payload = arrival.payload
    mine: CameraFrame | PointCloud
    if isinstance(payload, PointCloud):
        name = LIDAR
        mine = PointCloud(name, payload.stamp_ns, payload.frame_id, np.array(payload.points))
    else:
        mine = dataclasses.replace(payload, image=np.array(payload.image))
    if arrival.ring is not None and not arrival.ring.still_valid():
        return None
    return Arrival(mine, arrival.base_SE3_sensor)


def make() -> tuple[GatewayNode]:
    """The gateway alone."""
    return (GatewayNode(),)
