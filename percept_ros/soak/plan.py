"""The plan of a soak: which fault strikes what, when, and for how long. The same seed gives the same plan."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from percept_ros.errors import ConfigError

LIDAR, CAMERA, ANY_SENSOR = "lidar", "camera", "any"
PROCESS, ENGINE, SENSOR, MACHINE = "process", "engine", "sensor", "machine"
NODE_KILLS = ("kill_fusion", "kill_camera", "kill_lidar")
"""Faults after which a whole node process has to start anew."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault. place: who plays it. target: what it strikes. seconds: how long the condition lasts (0 = one stroke)."""

    name: str
    place: str
    target: str
    seconds: float
    about: str


KINDS: tuple[Kind, ...] = (
    Kind("kill_engine_worker", PROCESS, "worker", 0.0, "kill -9 of the process that runs the model"),
    Kind("kill_fusion", PROCESS, "fusion", 0.0, "kill -9 of the fusion process"),
    Kind("kill_camera", PROCESS, CAMERA, 0.0, "kill -9 of a camera process"),
    Kind("kill_lidar", PROCESS, LIDAR, 0.0, "kill -9 of the LiDAR process"),
    Kind("engine_hang", ENGINE, "worker", 0.0, "one call of the model never answers"),
    Kind("engine_slow", ENGINE, "worker", 1.0, "every call takes 300 ms longer"),
    Kind("engine_nan", ENGINE, "worker", 1.0, "every answer is NaN"),
    Kind("engine_exception", ENGINE, "worker", 1.0, "every call raises"),
    Kind("engine_memory", ENGINE, "worker", 1.5, "every call keeps 60 MB"),
    Kind("sensor_absent", SENSOR, ANY_SENSOR, 0.8, "a sensor sends nothing"),
    Kind("sensor_late", SENSOR, ANY_SENSOR, 1.0, "messages come 300 ms late"),
    Kind("sensor_frozen", SENSOR, ANY_SENSOR, 1.5, "the same content again and again under new stamps"),
    Kind("sensor_black", SENSOR, ANY_SENSOR, 1.5, "black images; an emptied sweep"),
    Kind("sensor_noisy", SENSOR, ANY_SENSOR, 1.5, "images of noise; ranges with 3 m of noise"),
    Kind("sensor_duplicated", SENSOR, ANY_SENSOR, 1.0, "every message comes twice"),
    Kind("sensor_burst", SENSOR, ANY_SENSOR, 0.7, "messages are held back, then come all at once"),
    Kind("clock_forward", SENSOR, ANY_SENSOR, 0.7, "stamps jump 3 s ahead, and back again"),
    Kind("clock_backward", SENSOR, ANY_SENSOR, 0.7, "stamps jump 3 s back, and ahead again"),
    Kind("corrupt_messages", SENSOR, ANY_SENSOR, 0.8, "messages are cut short or hold random bytes"),
    Kind("message_loss", SENSOR, "all", 1.0, "40% of the messages of every sensor are lost"),
    Kind("logs_disk_full", MACHINE, "machine", 1.5, "no space is left where logs are written"),
    Kind("cpu_starvation", MACHINE, "machine", 1.5, "two busy processes a core"),
    Kind("shared_memory_full", MACHINE, "machine", 1.5, "no byte is free in /dev/shm"),
)
"""Every kind that can be planned."""

BY_NAME = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault. at_s: seconds after the start of the run. target: sensor, process or ``all``. salt: for its noise."""

    number: int
    kind: str
    target: str
    at_s: float
    seconds: float
    salt: int

    @property
    def until_s(self) -> float:
        """When its condition ends."""
        return self.at_s + self.seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """Faults in order of time over ``seconds``."""

    seconds: float
    seed: int
    faults: tuple[Fault, ...]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> Plan:
        """Read what ``save`` wrote."""
        tree = json.loads(path.read_text(encoding="utf-8"))
        return Plan(tree["seconds"], tree["seed"], tuple(Fault(**fault) for fault in tree["faults"]))


def make_plan(
    seconds: float,
    seed: int,
    cameras: Sequence[str],
    *,
    kinds: Sequence[str] = tuple(BY_NAME),
    loop_s: float = 0.0,
    lead_s: float = 3.0,
    spacing_s: float = 5.0,
) -> Plan:
    """Faults one after the other, each kind equally often, in shuffled rounds, with time to recover in between.

    loop_s: length of the drive's loop; its seam is kept clear of engine faults, whose tracks are compared. Raises
    ConfigError for an unknown kind or a run too short for one round.
    """
    for name in kinds:
        if name not in BY_NAME:
            raise ConfigError(f"fault '{name}' is unknown, expected some of: {', '.join(BY_NAME)}")
    if not kinds:
        return Plan(seconds, seed, ())
    room = int((seconds - lead_s) / spacing_s)
    if room < len(kinds):
        need = lead_s + spacing_s * len(kinds)
        raise ConfigError(
            f"a run of {seconds:.0f} s has no room for {len(kinds)} kinds of faults, expected at least {need:.0f} s"
        )
    rng = np.random.default_rng([seed, 41])
    order = _keep_seams_clear(list(_rounds(kinds, room // len(kinds), rng)), loop_s, lead_s, spacing_s)
    faults: list[Fault] = []
    for number, name in enumerate(order):
        kind = BY_NAME[name]
        at_s = lead_s + spacing_s * number + float(rng.uniform(0.2, 0.7))
        turn = sum(fault.kind == name for fault in faults)
        target = _target(kind, cameras, turn)
        faults.append(Fault(number, name, target, round(at_s, 3), kind.seconds, int(rng.integers(2**31))))
    return Plan(seconds, seed, tuple(faults))


def _rounds(kinds: Sequence[str], rounds: int, rng: np.random.Generator) -> Iterator[str]:
    for _ in range(rounds):
        yield from (kinds[i] for i in rng.permutation(len(kinds)))


def _keep_seams_clear(order: list[str], loop_s: float, lead_s: float, spacing_s: float) -> list[str]:
    """Exchange engine faults that would fall on a seam of the loop with a later fault of another kind."""
    if loop_s <= 0:
        return order
    for index, name in enumerate(order):
        if not compares_tracks(name) or not _near_seam(lead_s + spacing_s * index, loop_s):
            continue
        for other in [*range(index + 1, len(order)), *range(index)]:
            free = not compares_tracks(order[other])
            if free and not _near_seam(lead_s + spacing_s * other, loop_s):
                order[index], order[other] = order[other], order[index]
                break
    return order


def compares_tracks(kind: str) -> bool:
    """Whether track ids are compared across faults of this kind."""
    return BY_NAME[kind].place == ENGINE or kind == "kill_engine_worker"


def _near_seam(at_s: float, loop_s: float) -> bool:
    phase = at_s % loop_s
    return phase > loop_s - 4.5 or phase < 2.0


def _target(kind: Kind, cameras: Sequence[str], turn: int) -> str:
    if kind.target == CAMERA:
        return cameras[turn % len(cameras)]
    if kind.target == ANY_SENSOR:
        return [LIDAR, *cameras][turn % (1 + len(cameras))]
    return kind.target
