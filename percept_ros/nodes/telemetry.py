"""What nodes add to their telemetry: drops, rings, breakers; read only when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from rclpy.node import Node

from percept_ros.config import ObserveConfig
from percept_ros.nodes.complaints import Complaints
from percept_ros.observe.meter import Meter, Samples
from percept_ros.observe.profiles import Profiler, ProfileStore
from percept_ros.observe.telemetry import Telemetry, open_telemetry
from percept_ros.runtime import segment
from percept_ros.runtime.ring_kernel import RingCounters

_RING_FIELDS = ("written", "grown", "read", "overwritten", "torn", "gone", "invalid", "unheard")
_STATES = ("closed", "open", "half_open")


def node_telemetry(
    node: Node, config: ObserveConfig, complaints: Complaints, held: ExitStack, *, port_offset: int = 0
) -> Telemetry:
    """Telemetry of a node, closed when ``held`` unwinds. Raises ConfigError for a bad tier."""
    name, warn = str(node.get_name()), node.get_logger().warning
    telemetry = held.enter_context(open_telemetry(config, name, port_offset=port_offset, warn=warn))
    if config.enabled and config.profile_folder:
        store = ProfileStore(Path(config.profile_folder).expanduser() / name, config.profile_keep)
        telemetry.profiler = held.enter_context(Profiler(store, config.profile_every_s, config.profile_window_s))
    complaints.also = lambda source, reason, text: telemetry.log.say(
        "warning", f"drop/{source}/{reason}", text, fields={"source": source, "reason": reason}
    )
    telemetry.meter.counter(
        "percept_drops_total",
        "messages and frames that were not used",
        "source",
        "reason",
        read=lambda: (_split(key, count) for key, count in complaints.by_source.items()),
    )
    return telemetry


def _split(key: str, count: int) -> tuple[tuple[str, str], float]:
    source, _, reason = key.rpartition("/")
    return (source, reason), float(count)


def watch_rings(meter: Meter, rings: Callable[[], dict[str, RingCounters]]) -> None:
    """Counters of ring ends, by ring name, and what is free in shared memory."""

    def read() -> Iterator[tuple[tuple[str, str], float]]:
        for name, counters in rings().items():
            yield from (((name, what), float(getattr(counters, what))) for what in _RING_FIELDS)

    meter.counter("percept_ring_frames_total", "frames through a ring, by what happened", "ring", "event", read=read)
    meter.gauge(
        "percept_shared_memory_free_bytes", "free under /dev/shm", read=lambda: [((), float(segment.free_bytes()))]
    )


def watch_breakers(meter: Meter, breakers: Callable[[], tuple[str, ...]]) -> None:
    """1 for the state of each circuit breaker. breakers: ``model: state`` texts."""

    def read() -> Samples:
        for text in breakers():
            model, _, now = text.rpartition(": ")
            yield from (((model, state), float(state == now)) for state in _STATES)

    meter.gauge("percept_breaker_state", "1 for the state of a circuit breaker", "model", "state", read=read)
