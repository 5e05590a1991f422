"""Parts of supervision that need no other process: retries, goals, diagnostics of sensors, bonds, modes that can be held."""

from __future__ import annotations

import time
import types
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")

from lifecycle_msgs.msg import State, Transition

from percept_ros.config import BudgetConfig, HealthConfig
from percept_ros.errors import ConfigError
from percept_ros.health.semantic import Verdict
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.diagnostics import ERROR, OK, WARN
from percept_ros.nodes.managed import _STEPS, Goal, ManagedNode, Retry
from percept_ros.nodes.probe_report import perception_state
from percept_ros.nodes.sensor_report import SensorReport
from percept_ros.nodes.steer import mode_of
from percept_ros.types import Mode


@pytest.fixture
def node() -> Iterator[Any]:
    from percept_ros.nodes.realtime import isolate_dds

    isolate_dds()
    import rclpy

    context = rclpy.Context()
    rclpy.init(context=context)
    made = rclpy.create_node("part", context=context)
    yield made
    made.destroy_node()
    rclpy.try_shutdown(context=context)


def test_retries_are_bounded_and_backed_off() -> None:
    retry = Retry(limit=3)
    waits = []
    for _ in range(3):
        assert retry.allowed(retry.not_before_s)
        retry.failed(100.0)
        waits.append(retry.not_before_s - 100.0)
    assert waits == pytest.approx([0.2, 0.4, 0.8])
    assert not retry.allowed(1e9), "all tries are used"
    retry.good(200.0)
    retry.good(229.0)
    assert retry.used == 3
    retry.good(231.0)
    assert retry.used == 0, "a stable time gives all tries back"


@pytest.mark.parametrize("goal", list(Goal))
def test_every_goal_is_reached_from_every_state(goal: Goal) -> None:
    after = {
        Transition.TRANSITION_CONFIGURE: State.PRIMARY_STATE_INACTIVE,
        Transition.TRANSITION_ACTIVATE: State.PRIMARY_STATE_ACTIVE,
        Transition.TRANSITION_DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
        Transition.TRANSITION_CLEANUP: State.PRIMARY_STATE_UNCONFIGURED,
    }
    for start in (State.PRIMARY_STATE_UNCONFIGURED, State.PRIMARY_STATE_INACTIVE, State.PRIMARY_STATE_ACTIVE):
        state, steps = start, 0
        while state != goal.value:
            state, steps = after[_STEPS[goal][state]], steps + 1
            assert steps <= 2
    assert goal.value not in _STEPS[goal]


def test_a_request_to_a_process_that_had_ended_is_not_waited_for(node: Any) -> None:
    """The old process takes no request any more; the new one says where it stands, and that ends the waiting."""
    from lifecycle_msgs.srv import GetState
    from rclpy.executors import SingleThreadedExecutor

    said = [State.PRIMARY_STATE_ACTIVE]

    def answer(request: Any, response: Any) -> Any:
        response.current_state.id = said[0]
        return response

    node.create_service(GetState, "ghost/get_state", answer)
    managed = ManagedNode(node, "ghost", 10, lambda: None)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def turn_until(condition: Any, limit_s: float) -> None:
        deadline_s = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline_s
            managed.look()
            managed.step(Goal.ACTIVE, time.monotonic())
            executor.spin_once(0.05)

    turn_until(lambda: managed.label == "active", 30.0)
    managed.recover()
    turn_until(lambda: managed.busy, 10.0)
    said[0] = State.PRIMARY_STATE_UNCONFIGURED
    turn_until(lambda: not managed.recovering, 15.0)
    assert managed.label == "unconfigured"
    executor.shutdown()


def test_a_node_that_hangs_before_its_first_sign_of_life_is_silent(node: Any) -> None:
    from lifecycle_msgs.msg import TransitionEvent

    managed = ManagedNode(node, "ghost", 10, lambda: None)
    event = TransitionEvent()
    event.goal_state.id = State.PRIMARY_STATE_INACTIVE
    managed._on_event(event)
    assert managed.silent_s(time.monotonic() + 60.0) == 0.0, "only an active node owes one"
    event.goal_state.id = State.PRIMARY_STATE_ACTIVE
    managed._on_event(event)
    assert managed.silent_s(time.monotonic()) < 0.0, "it has its lease first"
    assert managed.silent_s(time.monotonic() + 60.0) > 50.0
    managed._heard()
    assert managed.silent_s(time.monotonic() + 60.0) == 0.0


@pytest.mark.parametrize(
    ("text", "mode"), [("auto", Mode.FULL), ("full", Mode.FULL), ("fallback-model", Mode.FALLBACK_MODEL)]
)
def test_modes_that_can_be_held(text: str, mode: Mode) -> None:
    assert mode_of(text) is mode


@pytest.mark.parametrize("text", ["", "turbo", "STALE", "coasting"])
def test_modes_that_cannot_be_held(text: str) -> None:
    with pytest.raises(ConfigError, match="expected auto, REDUCED"):
        mode_of(text)


def test_a_sensor_reports_rate_times_and_drops(node: Any) -> None:
    complaints = Complaints(node.get_logger())
    report = SensorReport(node, "/lidar/points", complaints, BudgetConfig(front_end_ms=50.0))
    silent = report.finding()
    assert silent.level == ERROR
    assert silent.message == "no frames from /lidar/points"
    now_ns = time.monotonic_ns()
    for _ in range(20):
        report.delivered(now_ns, now_ns)
    complaints.count("/lidar/points", "queue_full", 3)
    flowing = report.finding()
    assert flowing.values["rate (Hz)"] == "2.0"
    assert flowing.values["dropped /lidar/points/queue_full"] == 3
    assert flowing.level in (OK, WARN)
    report.delivered(now_ns - 10**9, now_ns)
    assert report.finding().level == WARN, "a second from message to shared memory is over the budget"
    assert report.finding().values["missed front_end by queue"] == 1


def test_a_sensor_publishes_its_diagnostics(node: Any) -> None:
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.executors import SingleThreadedExecutor

    heard: list[Any] = []
    node.create_subscription(DiagnosticArray, "/diagnostics", heard.append, 10)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    with ExitStack() as running:
        SensorReport(node, "/lidar/points", Complaints(node.get_logger()), BudgetConfig()).start(running)
        deadline_s = time.monotonic() + 30.0
        while not heard and time.monotonic() < deadline_s:
            executor.spin_once(0.5)
    executor.shutdown()
    one = heard[0].status[0]
    assert (one.name, one.hardware_id) == ("part: frames", "percept_ros")


def test_a_bond_beats_where_bond_messages_are_installed(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """bond is not installed here: a message of the same fields stands in for bond/msg/Status."""
    from percept_ros.nodes import heartbeat

    assert heartbeat.Bond(node, lambda: True)._publisher is None, "without bond messages nothing is published"
    sent: list[Any] = []

    class Status(types.SimpleNamespace):
        def __init__(self, **fields: Any) -> None:
            super().__init__(header=types.SimpleNamespace(stamp=None), **fields)

    monkeypatch.setattr(heartbeat, "_status_class", lambda: Status)
    publisher = types.SimpleNamespace(publish=sent.append)
    monkeypatch.setattr(node, "create_publisher", lambda *_: publisher)
    bond = heartbeat.Bond(node, lambda: True)
    bond.start()
    bond._say(active=True)
    bond.stop()
    bond.stop()
    assert [message.active for message in sent] == [True, False]
    assert sent[0].id == "part"
    assert sent[0].instance_id == sent[1].instance_id
    assert (sent[0].heartbeat_timeout, sent[0].heartbeat_period) == (4.0, 0.1)


def board(mode: Mode, score: float = 1.0) -> Any:
    verdict = Verdict(score, {}, ("scores 0.00 (z 9.0)",) if score < 1.0 else ())
    return types.SimpleNamespace(mode=mode, cause="why", verdict=verdict, breakers=(), shadow=())


def test_probes_of_perception() -> None:
    now_ns = time.monotonic_ns()
    health = HealthConfig()
    down = perception_state("fusion", None, 0, health)
    assert (down.liveness.ok, down.readiness.ok) == (True, False)
    well = perception_state("fusion", board(Mode.FULL), now_ns, health)
    assert (well.liveness.ok, well.readiness.ok, well.semantic.ok) == (True, True, True)
    stale = perception_state("fusion", board(Mode.STALE), now_ns, health)
    assert (stale.readiness.ok, stale.readiness.reason) == (False, "mode STALE: why")
    assert perception_state("fusion", board(Mode.STALE), now_ns, health, standby=True).readiness.ok
    sick = perception_state("fusion", board(Mode.REDUCED, 0.5), now_ns, health)
    assert (sick.semantic.ok, sick.semantic.reason) == (False, "scores 0.00 (z 9.0)")
    stuck = perception_state("fusion", board(Mode.FULL), now_ns - 10**10, health)
    assert not stuck.liveness.ok
    assert "stuck" in stuck.liveness.reason


def test_status_waits_for_a_moment_and_is_not_forgotten(node: Any) -> None:
    from percept_ros.nodes.status import StatusBoard

    told: list[str] = []
    with ExitStack() as running:
        board = StatusBoard(node, Complaints(node.get_logger()), BudgetConfig(), HealthConfig())
        board.start(running)
        board.publish_status = lambda: told.append("status")  # type: ignore[method-assign]
        board.turn(answered=True)
        assert not told, "nothing is due"
        board.tick()
        board.turn(answered=False)
        assert not told, "a set is awaited"
        board.turn(answered=True)
        assert told == ["status"]
        board.tick()
        board.tick()
        board.tick()
        assert told == ["status"] * 3, "no moment was found for two seconds"
