"""Fusion node: sensor frames in, obstacle tracks with predicted paths out.

ROS callbacks only enqueue. One worker thread decodes, synchronises, runs the pipeline and publishes; the synchroniser's
deadlines wake it, no timer is in the data path.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from typing import Any

from visualization_msgs.msg import MarkerArray

from percept_ros.build import build_pipeline
from percept_ros.config import Config
from percept_ros.core.prediction import extrapolate
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.experiment_metrics import tell_changes, watch_experiment
from percept_ros.health.probes import ProbeState
from percept_ros.msg import ObstacleTrackArray
from percept_ros.nodes.baselines import Finding, Relief, open_baselines
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.component import Component
from percept_ros.nodes.ego import EgoMotion
from percept_ros.nodes.extrinsics import Extrinsics
from percept_ros.nodes.foreign import available_outputs
from percept_ros.nodes.fusion_steer import FusionSteer
from percept_ros.nodes.fusion_worker import FusionWorker
from percept_ros.nodes.inbox import Inbox
from percept_ros.nodes.later_paths import load_paths, without_path_model
from percept_ros.nodes.markers import TrackMarkers, status_marker
from percept_ros.nodes.probe_report import ProbeReport, perception_state
from percept_ros.nodes.qos import LATCHED_QOS, TRACK_QOS
from percept_ros.nodes.sources import DirectSources, RingSources, Sources
from percept_ros.nodes.status import StatusBoard
from percept_ros.nodes.steer import SteerServer
from percept_ros.nodes.telemetry import node_telemetry, watch_breakers, watch_rings
from percept_ros.nodes.transforms import open_transforms
from percept_ros.nodes.worker import start_thread
from percept_ros.observe.frames import FrameRecorder
from percept_ros.observe.record import OpenFrame
from percept_ros.pipeline import Pipeline
from percept_ros.runtime.lease import Lease, lease_name
from percept_ros.runtime.realtime import ANSWERING
from percept_ros.types import F64, FrameResult, Mode, PointCloud
from percept_ros.wire import ArrayHeader, begin_track_array, end_track_array

_STUCK_NS = 3_000_000_000


class FusionNode(Component):
    """Publishes ``~/tracks`` (ObstacleTrackArray), ``~/markers``, ``~/status`` and ``/diagnostics``."""

    output = "~"
    """Prefix of the topics of the tracks."""
    standby = False
    """Whether it publishes only while the leader is silent."""
    above = ANSWERING

    def __init__(self, name: str = "fusion", **options: Any) -> None:
        super().__init__(name, **options)
        self._sequence = 0
        self.turned_ns = time.monotonic_ns()
        """When the worker last went round (monotonic); kept by the worker."""
        self.released_ns = 0
        """When the set that is being answered was released (monotonic); kept by the worker."""
        self.held = Mode.FULL
        self.relief = Relief()
        self._probes = ProbeReport(self, self._probe_state)
        self.steering = FusionSteer(self)
        self._steer = SteerServer(self, self.steering.handle)

    def acquire(self, held: ExitStack) -> None:
        """Models, publishers, transforms."""
        self.complaints = Complaints(self.get_logger())
        self.telemetry = node_telemetry(self, self.config.observe, self.complaints, held)
        use_paths = load_paths(self.config, held, self.get_logger().error)
        self.pipeline = held.enter_context(self._build())
        use_paths(self.pipeline)
        self.lease = self._open_lease(held)
        self.recorder = FrameRecorder(self.telemetry) if self.telemetry.enabled else None
        if self.recorder is not None:
            self.pipeline.watch_calls(self.recorder.call)
            watch_breakers(self.telemetry.meter, lambda: self.pipeline.breakers)
        watch = open_baselines(self.telemetry, held, self._on_finding)
        self.relief = watch.relief if watch is not None and self.config.observe.baseline_acts else Relief()
        watch_experiment(lambda: self.pipeline.detector, self.telemetry.meter)
        tell_changes(self.pipeline.detector, self.get_logger().warning)
        self.pipeline.hold(self.held)
        self.pipeline.on_fault = lambda stage, exc: self.complaints.drop(stage, type(exc).__name__, str(exc))
        if self.config.health.shadow_period_s:
            self.pipeline.shadow.learn()
        for refusal in self.pipeline.detector.refused:
            self.get_logger().error(f"a model of the chain is left out: {refusal}")
        self._tracks = self.create_lifecycle_publisher(ObstacleTrackArray, f"{self.output}/tracks", TRACK_QOS)
        self._markers = self.create_lifecycle_publisher(MarkerArray, f"{self.output}/markers", TRACK_QOS)
        self._status_markers = self.create_lifecycle_publisher(MarkerArray, "~/status_markers", LATCHED_QOS)
        for publisher in (self._tracks, self._markers, self._status_markers):
            held.callback(self.destroy_lifecycle_publisher, publisher)
        self._marker_maker = TrackMarkers()
        self._foreign = [
            (self.create_lifecycle_publisher(kind, topic, TRACK_QOS), make)
            for topic, (kind, make) in available_outputs().items()
        ]
        for publisher, _ in self._foreign:
            held.callback(self.destroy_lifecycle_publisher, publisher)
        self._transforms = open_transforms(self)
        if self._transforms is not None:
            held.callback(self._transforms.close)
        self._extrinsics = Extrinsics(self.config, self._transforms)

    def _on_finding(self, finding: Finding) -> None:
        """While the error budget burns: detect with the next model if detection is slower than usual, else shed work."""
        self.pipeline.hold(max(self.held, self.relief.mode))
        if self.relief.turned:
            said = "shedding work" if self.relief.sheds else "work is not shed any more"
            self.get_logger().warning(f"{said}: {finding.event.metric} {finding.event.kind}, stage '{finding.stage}'")

    def apply(self, config: Config) -> None:
        """Live settings: those of experiments."""
        self.pipeline.detector.configure(config.experiment)

    def _build(self) -> Pipeline:
        return build_pipeline(without_path_model(self.config))

    def _open_lease(self, held: ExitStack) -> Lease | None:
        """The right to publish, where a standby is configured."""
        if not self.config.fusion.standby:
            return None
        return held.enter_context(Lease(lease_name(self.get_namespace())))

    def start(self, running: ExitStack) -> None:
        """Status, subscriptions, worker."""
        self._board = StatusBoard(self, self.complaints, self.config.budget, self.config.health)
        self._board.start(running)
        self._board.budgets.watch(self.telemetry.meter)
        self._ego = EgoMotion(self, self.config, self._transforms, self.complaints)
        self._ego.start(running)
        inbox = Inbox(self.config.sync.queue_depth, lambda source: self.complaints.count(source, "queue_full"))
        sources = self._sources()
        worker = FusionWorker(self, inbox, sources)
        start_thread(self, "fusion", inbox, worker.run, running)
        sources.start(running, inbox)

    def _sources(self) -> Sources:
        if self.config.fusion.inputs == "ring":
            sources = RingSources(self, self.config, self._extrinsics, self.complaints)
            watch_rings(self.telemetry.meter, lambda: sources.counters)
            return sources
        return DirectSources(self, self.config, self._extrinsics, self.complaints, self._ego.poses_at)

    def now_ns(self) -> int:
        """The node's clock (simulated time where ``use_sim_time`` is set)."""
        return int(self.get_clock().now().nanoseconds)

    def publish(
        self, result: FrameResult, ahead_ns: int = 0, frame: OpenFrame | None = None, state: bytes | None = None
    ) -> bool:
        """Publish one frame's tracks, markers and status; False when another process holds the lease: nothing is sent.

        ahead_ns: by how much its poses were moved ahead already. frame: its trace, None for arrays without sensors.
        state: what another process would go on with.
        """
        if self.lease is not None:
            return self.lease.publish(lambda number: self._send(result, number, ahead_ns, frame), state)
        self._send(result, self._sequence, ahead_ns, frame)
        self._sequence += 1
        return True

    def _send(self, result: FrameResult, sequence: int, ahead_ns: int, frame: OpenFrame | None) -> None:
        if self.config.fusion.delay_compensation and not ahead_ns:
            ahead_ns = max(0, self.now_ns() - result.tracks.stamp_ns)
            result = dataclasses.replace(result, tracks=extrapolate(result.tracks, ahead_ns))
        trace_id = frame.trace_id if frame is not None else ""
        laid_down = begin_track_array(result)
        publish_ns = self.now_ns()
        self._tracks.publish(end_track_array(laid_down, result, ArrayHeader(publish_ns, sequence, trace_id, ahead_ns)))
        previous = self._board.mode
        self._board.ego_motion, self._board.breakers = self._ego.source, self.pipeline.breakers
        self._board.verdict = self.pipeline.semantic.verdict
        self._board.shadow = self.pipeline.shadow.lines(time.monotonic_ns())
        if stamps := result.sensors.stamps_ns:
            back_end_ns = time.monotonic_ns() - self.released_ns
            self._board.frame(result, (publish_ns - stamps[0]) * 1e-6, back_end_ns * 1e-6)
        elif result.mode is not previous:
            self._board.enter(result.mode, result.cause)
        self._record(result, sequence, publish_ns, frame)
        if self._markers.get_subscription_count():
            self._markers.publish(self._marker_maker.frame(result.tracks, result.forecasts))
        for publisher, make in self._foreign:
            if publisher.get_subscription_count():
                publisher.publish(make(result.tracks, result.forecasts))
        if self._board.mode is not previous:
            self._status_markers.publish(status_marker(self.config.frames.base, self._board.mode, self._board.cause))

    def _record(self, result: FrameResult, sequence: int, publish_ns: int, frame: OpenFrame | None) -> None:
        if self.recorder is None:
            return
        if frame is None:
            self.recorder.beat(result.mode, result.tracks)
        elif stamps := result.sensors.stamps_ns:
            self.recorder.finish(frame, result, publish_ns - stamps[0], {"sequence": sequence})

    def tell(self, answered: bool) -> None:
        """There is time to publish the status, if it is due (see StatusBoard.turn)."""
        self._board.turn(answered)

    def _probe_state(self) -> ProbeState:
        board = self._board if self.active else None
        return perception_state(self.get_name(), board, self.turned_ns, self.config.health, standby=self.standby)

    def close(self) -> None:
        """Release what is held; the probes' state goes away."""
        self._steer.close()
        self._probes.close()
        super().close()

    def is_well(self) -> bool:
        """Whether the worker goes round (or there is none)."""
        longest_ns = max(_STUCK_NS, int(2e6 * self.config.budget.detect_ms))
        return not self.active or time.monotonic_ns() - self.turned_ns < longest_ns

    def hold(self, best: Mode) -> None:
        """Use no better mode than ``best``, also after the next configure."""
        self.held = best
        self.pipeline.hold(max(best, self.relief.mode))

    def take_chain(self, chain: DetectorChain) -> DetectorChain:
        """Detect with ``chain`` from now on; returns the one before. Called between two sets."""
        before = self.pipeline.exchange(chain)
        tell_changes(chain, self.get_logger().warning)
        if self.recorder is not None:
            self.pipeline.watch_calls(self.recorder.call)
        return before

    def leave_active(self, why: str) -> None:
        """Deactivate from any thread; the supervisor activates the node again."""
        self.get_logger().error(f"leaving Active: {why}")
        if self.executor is not None:
            self.executor.create_task(self._deactivate)

    def _deactivate(self) -> None:
        if self.active:
            self.trigger_deactivate()

    def see(self, cloud: PointCloud | None, base_SE3_lidar: F64 | None) -> None:
        """Show a sweep to LiDAR odometry."""
        self._ego.see(cloud, base_SE3_lidar)

    def forget(self) -> None:
        """Forget tracks and ego poses (time jumped)."""
        self.pipeline.reset()
        self._ego.clear()

    def ego_pose(self, stamp_ns: int) -> F64 | None:
        """fixed_SE3_base at a stamp, None when not known."""
        return self._ego.pose_at(stamp_ns)


def make() -> tuple[FusionNode]:
    """The fusion node alone."""
    return (FusionNode(),)
