"""Fusion node: sensor frames in, obstacle tracks with predicted paths out.

ROS callbacks only enqueue. One worker thread decodes, synchronises, runs the pipeline and publishes; the synchroniser's
deadlines wake it, no timer is in the data path.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from visualization_msgs.msg import MarkerArray

from percept_ros.build import build_pipeline
from percept_ros.config import Config
from percept_ros.core.prediction import extrapolate
from percept_ros.core.sync import Synchroniser
from percept_ros.core.sync_types import SyncedSet, SyncSettings
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.experiment_metrics import tell_changes, watch_experiment
from percept_ros.errors import InputError, PerceptError, StampError, TransformError
from percept_ros.health.probes import ProbeState
from percept_ros.msg import ObstacleTrackArray
from percept_ros.nodes.baselines import Finding, Relief, open_baselines
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.component import Component
from percept_ros.nodes.ego import EgoMotion
from percept_ros.nodes.extrinsics import Extrinsics
from percept_ros.nodes.foreign import available_outputs
from percept_ros.nodes.fusion_steer import FusionSteer
from percept_ros.nodes.inbox import Inbox, pause_s
from percept_ros.nodes.later_paths import load_paths, without_path_model
from percept_ros.nodes.leadership import Leadership
from percept_ros.nodes.markers import TrackMarkers, status_marker
from percept_ros.nodes.names import CAMERA_PREFIX, LIDAR
from percept_ros.nodes.probe_report import ProbeReport, perception_state
from percept_ros.nodes.pulse import Pulse
from percept_ros.nodes.qos import LATCHED_QOS, TRACK_QOS
from percept_ros.nodes.slack import ShadowSlack
from percept_ros.nodes.sources import Arrival, DirectSources, RingSources, Sources
from percept_ros.nodes.status import StatusBoard
from percept_ros.nodes.steer import SteerServer
from percept_ros.nodes.telemetry import node_telemetry, watch_breakers, watch_rings
from percept_ros.nodes.transforms import open_transforms
from percept_ros.nodes.worker import SLACK_NS, start_thread
from percept_ros.observe.frames import FrameRecorder
from percept_ros.observe.record import OpenFrame
from percept_ros.pipeline import Pipeline
from percept_ros.runtime.lease import Lease, lease_name
from percept_ros.runtime.ring import RingFrame
from percept_ros.types import F64, AbsenceReason, FrameResult, Mode, PointCloud, SensorSet
from percept_ros.wire import ArrayHeader, begin_track_array, end_track_array

_STUCK_NS = 3_000_000_000


class FusionNode(Component):
    """Publishes ``~/tracks`` (ObstacleTrackArray), ``~/markers``, ``~/status`` and ``/diagnostics``."""

    output = "~"
    """Prefix of the topics of the tracks."""
    standby = False
    """Whether it publishes only while the leader is silent."""

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


class FusionWorker:
    """The worker: one call of ``run`` a life, in its own thread."""

    def __init__(self, node: FusionNode, inbox: Inbox, sources: Sources) -> None:
        self._node, self._inbox, self._sources = node, inbox, sources
        self._config: Config = node.config
        self._pipeline: Pipeline = node.pipeline
        self._complaints = node.complaints
        settings = SyncSettings.of(self._config, LIDAR)
        settings = dataclasses.replace(settings, max_past_ns=int(self._config.sync.max_past_s * 1e9))
        self._sync: Synchroniser[Any, Any] = Synchroniser(settings, self._on_reset)
        self._mounted: dict[str, F64] = {}
        self._rings: dict[int, RingFrame] = {}
        self._why: dict[str, AbsenceReason] = {}
        self._counted: dict[tuple[str, str], int] = {}
        self._pulse = Pulse(self._config, self._pipeline.ladder, node.now_ns())
        self._leadership = Leadership(node.lease, self._config, self._pipeline, self._pulse, node.standby)
        self._newest: SyncedSet[Any, Any] | None = None
        self._left = False
        self._slack = ShadowSlack(lambda: self._pipeline.shadow, self._config.health.shadow_period_s)

    def run(self) -> None:
        """Until the inbox closes."""
        while self._inbox.is_open:
            self._node.turned_ns = time.monotonic_ns()
            self._node.steering.turn()
            due_ns = min(self._sync.next_deadline_ns or self._pulse.due_ns, self._pulse.due_ns)
            wait_s = max(0.001, min(self._leadership.wait_s, pause_s(due_ns, self._node.now_ns())))
            ready: list[SyncedSet[Any, Any]] = []
            taken = self._inbox.take(wait_s)
            for (sensor, message), arrived_ns in zip(taken, self._inbox.taken_ns, strict=True):
                self._inbox.arrived_ns = arrived_ns
                ready += self._add(sensor, message)
            ready += self._sync.poll(self._node.now_ns())
            self._process(ready)
            if self._leadership.overdue():
                self._take_over()
            self._keep_going()
            self._node.tell(bool(ready))
            self._shadow()
            if ready:
                self._node.slack(SLACK_NS)

    def _shadow(self) -> None:
        """Run the known frame through an engine when nothing else waits."""
        if self._node.relief.sheds:
            return
        if not self._leadership.leads or not self._inbox.is_empty or self._pipeline.detector.begun:
            return
        tested = self._slack.use()
        if tested is not None and tested.said.startswith("failed"):
            self._complaints.drop("shadow", tested.name(), f"{tested.name()} {tested.said}: it is left out until well")

    def _take_over(self) -> None:
        """The leader is silent: answer the newest set, or coast at once when it is answered already."""
        self._node.get_logger().warning("nobody publishes tracks: taking over")
        self._leadership.take()
        newest, last_ns = self._newest, self._pipeline.tracker.stamp_ns
        if newest is not None and (last_ns is None or last_ns < newest.stamp_ns):
            self._answer(newest, time.monotonic_ns())
        else:
            self._beat(self._node.now_ns())

    def _keep_going(self) -> None:
        """Publish without sensors when nothing was answered for a while."""
        now_ns = self._node.now_ns()
        if not self._leadership.leads:
            self._pulse.wait(now_ns)
        elif now_ns >= self._pulse.due_ns and self._inbox.is_open:
            self._beat(now_ns)

    def _beat(self, now_ns: int) -> None:
        result, ahead_ns = self._pulse.beat(now_ns)
        self._node.publish(result, ahead_ns)
        if self._pulse.given_up and not self._left:
            self._left = True
            self._node.leave_active(f"nothing fresh for {self._config.health.leave_active_s:.1f} s")

    def _add(self, sensor: str, message: Any) -> list[SyncedSet[Any, Any]]:
        try:
            arrivals = self._sources.decode(sensor, message)
        except (InputError, TransformError) as exc:
            reason = self._refuse(sensor, exc)
            return self._sync.note_invalid(sensor, self._sources.stamp_ns(message), self._node.now_ns(), reason)
        ready: list[SyncedSet[Any, Any]] = []
        for arrival in arrivals:
            ready += self._synchronise(sensor, arrival)
        return ready

    def _synchronise(self, sensor: str, arrival: Arrival) -> list[SyncedSet[Any, Any]]:
        self._mounted[sensor] = arrival.base_SE3_sensor
        self._why.pop(sensor, None)
        if arrival.ring is not None:
            self._rings[id(arrival.payload)] = arrival.ring
        if self._node.recorder is not None:
            node_name = sensor if sensor == LIDAR else f"{CAMERA_PREFIX}{sensor}"
            self._node.recorder.arrived(arrival.payload, node_name, arrival.trace, self._inbox.arrived_ns)
        now_ns = self._node.now_ns()
        waited_ns = time.monotonic_ns() - self._inbox.arrived_ns
        self._pipeline.semantic.clocks.arrived(sensor, arrival.payload.stamp_ns, now_ns - waited_ns)
        add = self._sync.add_cloud if sensor == LIDAR else self._sync.add_image
        try:
            ready = add(arrival.payload, now_ns)
        except InputError as exc:
            self._complaints.say(sensor, exc.reason, str(exc))
            return []
        if sensor == LIDAR and not ready and self._leadership.leads:
            self._look_ahead(arrival.payload)
        return ready

    def _look_ahead(self, cloud: Any) -> None:
        """The sweep is detected in while the cameras of its set are awaited."""
        mounted, order = {LIDAR: self._mounted[LIDAR]}, self._config.camera_order
        self._pipeline.begin(SensorSet(cloud.stamp_ns, cloud, {}, {}, order, mounted))

    def _refuse(self, sensor: str, exc: PerceptError) -> str:
        """Say why a message is not used (the synchroniser counts it); returns the reason."""
        missing = isinstance(exc, TransformError)
        reason = "no_transform" if missing else str(getattr(exc, "reason", "invalid"))
        self._why[sensor] = AbsenceReason.NO_TRANSFORM if missing else AbsenceReason.INVALID
        self._complaints.say(sensor, reason, str(exc))
        return reason

    def _process(self, ready: Sequence[SyncedSet[Any, Any]]) -> None:
        released_ns = time.monotonic_ns()
        oldest_ns = self._node.now_ns() - int(self._config.fusion.max_lag_ms * 1e6)
        for released in ready:
            if released is not ready[-1] and (released.stamp_ns < oldest_ns or self._node.relief.sheds):
                self._complaints.count("fusion", "overrun" if released.stamp_ns < oldest_ns else "shed")
                continue
            self._newest = released
            if self._leadership.may_answer(released.stamp_ns):
                self._answer(released, released_ns)
            elif self._leadership.rehearses():
                self._rehearse(released)
        self._forget_rings(ready)
        self._count_sync_drops()

    def _rehearse(self, released: SyncedSet[Any, Any]) -> None:
        """Run a set through and throw away what comes of it; again while nothing else waits, until that is quick."""
        again = True
        while again:
            began_ns = time.monotonic_ns()
            self._pipeline.process(self._sensor_set(released, None), self._node.now_ns())
            self._pipeline.tracker.reset()
            again = self._leadership.rehearsed(time.monotonic_ns() - began_ns) and self._inbox.is_empty

    def _begin(self, released: SyncedSet[Any, Any], released_ns: int) -> OpenFrame | None:
        if self._node.recorder is None:
            return None
        return self._node.recorder.begin((released.cloud, *released.cameras.values()), released_ns)

    def _answer(self, released: SyncedSet[Any, Any], released_ns: int) -> None:
        self._node.released_ns = released_ns
        frame = self._begin(released, released_ns)
        sensors = self._sensor_set(released, frame)
        try:
            result = self._pipeline.process(sensors, self._node.now_ns())
        except StampError as exc:
            self._complaints.drop("fusion", exc.reason, str(exc))
            return
        if not self._intact(released):
            self._complaints.drop("fusion", "ring_torn", "a frame was overwritten while in use: more ring slots needed")
            return
        if self._node.publish(result, frame=frame, state=self._leadership.state(result)):
            self._pulse.heard(result, self._node.now_ns())
            self._slack.answered()

    def _sensor_set(self, released: SyncedSet[Any, Any], frame: OpenFrame | None) -> SensorSet:
        self._node.see(released.cloud, self._mounted.get(LIDAR))
        absent = {name: self._why.get(name, reason) for name, reason in released.absent.items()}
        return SensorSet(
            released.stamp_ns,
            released.cloud,
            released.cameras,
            absent,
            self._config.camera_order,
            dict(self._mounted),
            self._node.ego_pose(released.stamp_ns),
            frame.packed if frame is not None else b"",
        )

    def _intact(self, released: SyncedSet[Any, Any]) -> bool:
        used = [released.cloud, *released.cameras.values()]
        return all(ring.still_valid() for item in used if (ring := self._rings.get(id(item))) is not None)

    def _forget_rings(self, ready: Sequence[SyncedSet[Any, Any]]) -> None:
        if not ready or len(self._rings) < 256:
            return
        newest_ns = ready[-1].stamp_ns
        self._rings = {k: ring for k, ring in self._rings.items() if newest_ns - ring.stamp_ns < 2_000_000_000}

    def _count_sync_drops(self) -> None:
        for (sensor, reason), number in self._sync.drops_by_sensor.items():
            before = self._counted.get((sensor, reason), 0)
            if number > before:
                self._complaints.count(sensor, reason, number - before)
                self._counted[(sensor, reason)] = number

    def _on_reset(self, text: str) -> None:
        self._node.get_logger().warning(f"{text}: tracks are forgotten")
        self._node.forget()
        self._pulse.restart(self._node.now_ns())


def make() -> tuple[FusionNode]:
    """The fusion node alone."""
    return (FusionNode(),)
