"""Replay in real time: the real nodes as processes, a bag played into them over DDS, their tracks recorded."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile

from percept_ros.config import Config
from percept_ros.errors import SetupError
from percept_ros.msg import ObstacleTrackArray, PerceptionStatus
from percept_ros.nodes.fleet import Fleet, node_plan
from percept_ros.nodes.player import BagPlayer
from percept_ros.nodes.status import STATUS_QOS
from percept_ros.replay.bag_reader import BagReader
from percept_ros.replay.discovery import COMPRESSED, discover
from percept_ros.replay.recorded import NodeOutput, summarise
from percept_ros.replay.runner import ReplayResult
from percept_ros.share import share

NAMESPACE = "/percept"
_BRING_UP_S = 60.0
_QUIET_S = 1.0
_LISTEN_S = 3.0


@dataclass(slots=True)
class Recording:
    """What came out of the nodes. tracks: serialised ObstacleTrackArray in order of arrival, with arrival time.

    moved_ns: by how much the stamps of the bag were moved. status: the last PerceptionStatus.
    """

    tracks: list[tuple[int, bytes]] = field(default_factory=list)
    moved_ns: int = 0
    status: Any = None
    played: int = 0


class TrackRecorder(Node):
    """Keeps every track array as bytes, and the last status."""

    def __init__(self, namespace: str = NAMESPACE) -> None:
        super().__init__("track_recorder")
        self.recording = Recording()
        self.ready = threading.Event()
        topic, depth = f"{namespace}/fusion/tracks", QoSProfile(depth=50)
        self.create_subscription(ObstacleTrackArray, topic, self._on_tracks, depth, raw=True)
        self.create_subscription(PerceptionStatus, f"{namespace}/fusion/status", self._on_status, STATUS_QOS)

    def _on_tracks(self, raw: bytes) -> None:
        self.recording.tracks.append((self.get_clock().now().nanoseconds, raw))

    def _on_status(self, message: PerceptionStatus) -> None:
        self.recording.status = message
        self.ready.set()


def isolate_dds() -> None:
    """Keep discovery on this machine and in a domain of this run, unless the environment says otherwise."""
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(share("config/fastdds.xml")))


def play_through_nodes(
    bag: Path,
    config: Config,
    out: Path,
    *,
    composed: bool = False,
    on_message: Callable[[int], None] = lambda done: None,
) -> Recording:
    """Start the nodes, play ``bag`` into them at its own pace, stop them; returns what they published.

    Node logs go to ``out``/nodes/. Raises SetupError when the nodes do not come up, RecordingError for a bad bag.
    """
    isolate_dds()
    with ExitStack() as stack:
        reader = stack.enter_context(BagReader(bag))
        stack.enter_context(Fleet(node_plan(config, composed=composed), config, out / "nodes", NAMESPACE))
        if not rclpy.ok():
            rclpy.init()
            stack.callback(rclpy.try_shutdown)
        recorder, player = TrackRecorder(), BagPlayer()
        stack.enter_context(_Spinning([recorder, player]))
        player.advertise(reader.topics)
        if not recorder.ready.wait(_BRING_UP_S):
            raise SetupError(f"the nodes did not become active within {_BRING_UP_S:.0f} s: see {out / 'nodes'}")
        player.wait_for_listeners(_LISTEN_S, threading.Event())
        recorder.recording.moved_ns = player.play(reader, threading.Event(), on_message)
        threading.Event().wait(_QUIET_S)  # time for the last sets; arrays go on without sensors
        return recorder.recording
    raise AssertionError("unreachable")


class _Spinning:
    """Spins nodes in a thread; stops and destroys them on exit."""

    def __init__(self, nodes: list[Node]) -> None:
        self._nodes, self._executor = nodes, SingleThreadedExecutor()
        self._thread = threading.Thread(target=self._executor.spin, name="spin", daemon=True)

    def __enter__(self) -> _Spinning:
        for node in self._nodes:
            self._executor.add_node(node)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join(5.0)
        for node in self._nodes:
            node.destroy_node()


def replay_realtime(
    bag: Path,
    config: Config,
    out: Path,
    progress: Callable[[int, int], None],
    *,
    pictures: int = 10,
    composed: bool = False,
) -> ReplayResult:
    """Play ``bag`` through the real nodes; ``tracks.mcap`` is written, and the summary of a replay returned."""
    out.mkdir(parents=True, exist_ok=True)
    with BagReader(bag) as reader:
        topics = discover(reader.topics, config)
        used = with_transports(topics.configured(config), reader.topics)
        total = sum(1 for _ in reader.raw_messages())
    recording = play_through_nodes(bag, used, out, composed=composed, on_message=lambda done: progress(done, total))
    status = recording.status
    stages = {
        name: {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}
        for name, p50, p99 in zip(status.stages, status.stage_p50_ms, status.stage_p99_ms, strict=True)
    }
    drops: Counter[str] = Counter()
    for source, count in zip(status.drop_reasons, status.drop_counts, strict=True):
        drops[source.rpartition("/")[2]] += int(count)
    output = NodeOutput(recording.tracks, recording.moved_ns, stages, drops)
    return summarise(bag, used, out, output, pictures, progress)


def with_transports(config: Config, topics: Mapping[str, str]) -> Config:
    """``config`` with each camera's transport as the type of its topic says."""
    cameras = {
        name: dataclasses.replace(
            camera, transport="compressed" if topics.get(camera.topic) == COMPRESSED else camera.transport
        )
        for name, camera in config.cameras.items()
    }
    return dataclasses.replace(config, cameras=cameras)
