"""The fusion node's worker thread: decode, synchronise, run the pipeline, publish; nobody else touches the pipeline."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from percept_ros.config import Config
from percept_ros.core.sync import Synchroniser
from percept_ros.core.sync_types import SyncedSet, SyncSettings
from percept_ros.errors import InputError, PerceptError, StampError, TransformError
from percept_ros.nodes.inbox import Inbox, pause_s
from percept_ros.nodes.leadership import Leadership
from percept_ros.nodes.names import CAMERA_PREFIX, LIDAR
from percept_ros.nodes.pulse import Pulse
from percept_ros.nodes.slack import ShadowSlack
from percept_ros.nodes.sources import Arrival, Sources
from percept_ros.nodes.worker import SLACK_NS
from percept_ros.observe.record import OpenFrame
from percept_ros.pipeline import Pipeline
from percept_ros.runtime.ring import RingFrame
from percept_ros.types import F64, AbsenceReason, SensorSet

if TYPE_CHECKING:
    from percept_ros.nodes.fusion import FusionNode


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
            taken = self._inbox.take(wait_s, self._sync.awaited)
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
        if not ready and self._leadership.leads and (sensor == LIDAR or self._inbox.is_empty):
            self._look_ahead(sensor, arrival.payload)
        return ready

    def _look_ahead(self, sensor: str, data: Any) -> None:
        """The sweep is detected in, images are screened, while the rest of the set is awaited."""
        if sensor != LIDAR:
            self._pipeline.semantic.believes(data)
            return
        mounted, order = {LIDAR: self._mounted[LIDAR]}, self._config.camera_order
        self._pipeline.begin(SensorSet(data.stamp_ns, data, {}, {}, order, mounted))

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
        self._pipeline.settle()

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
