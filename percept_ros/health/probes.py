"""What the outside may ask: is it alive, is it ready, does it make sense; in one small place, without ROS.

A node keeps its ``ProbeState`` in a block of fixed size in a file (``ProbeBoard``); whoever answers HTTP probes reads
all of them (``read_probes``) and answers (``answer``). The block is written in place, so that a full disk or full shared
memory cannot turn a healthy node into a dead one. A state that was not renewed for ``STALE_NS`` counts as dead.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROBES = ("liveness", "readiness", "semantic")
STALE_NS = 3_000_000_000
_BLOCK = 4096
_HEAD = struct.Struct("<4sII")
_MAGIC = b"PRB1"


@dataclass(frozen=True, slots=True)
class Probe:
    """One answer. reason: why not, or "" ."""

    ok: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ProbeState:
    """What one node says of itself.

    liveness: its threads turn. readiness: it is active and what it publishes is not STALE. semantic: its outputs make
    sense (health score at or above the threshold). renewed_ns: ``time.monotonic_ns()`` of the writer (one clock for all
    processes of a machine). checks: semantic check -> 0 to 1. details: anything worth reading.
    """

    source: str
    liveness: Probe
    readiness: Probe
    semantic: Probe
    mode: str = ""
    health: float = 1.0
    checks: Mapping[str, float] = dataclasses.field(default_factory=dict)
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pid: int = dataclasses.field(default_factory=os.getpid)
    renewed_ns: int = dataclasses.field(default_factory=time.monotonic_ns)

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> ProbeState:
        """Raises ValueError, KeyError or TypeError for what ``to_json`` did not write."""
        tree: dict[str, Any] = json.loads(text)
        tree |= {name: Probe(**tree[name]) for name in PROBES}
        return ProbeState(**tree)


def probe_folder() -> Path:
    """Where the states are: ``$PERCEPT_PROBES``, else ``percept-probes-UID`` in /dev/shm or the temporary folder."""
    if given := os.environ.get("PERCEPT_PROBES"):
        return Path(given)
    shm = Path("/dev/shm")
    base = shm if shm.is_dir() and os.access(shm, os.W_OK) else Path(tempfile.gettempdir())
    return base / f"percept-probes-{os.getuid()}"


class ProbeBoard:
    """Keeps the state of one node where probes find it. ``close`` takes it away. One thread at a time.

    name: unique among the nodes of the machine (domain and full node name). Raises OSError when it cannot be made.
    """

    def __init__(self, name: str, folder: Path | None = None) -> None:
        where = folder or probe_folder()
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = where / f"{name.strip('/').replace('/', '-')}.probe"
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.pwrite(self._fd, bytes(_BLOCK), 0)

    def write(self, state: ProbeState) -> None:
        """Renew the state; longer ones lose their details."""
        data = state.to_json().encode()
        if len(data) > _BLOCK - _HEAD.size:
            short = dataclasses.replace(state, details={"cut": "the details are too long"}, checks={})
            data = short.to_json().encode()[: _BLOCK - _HEAD.size]
        os.pwrite(self._fd, _HEAD.pack(_MAGIC, len(data), zlib.crc32(data)) + data, 0)

    def close(self) -> None:
        """Take the state away. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self.path.unlink(missing_ok=True)


def read_probes(folder: Path | None = None) -> dict[str, ProbeState]:
    """All states by file name; what is torn or foreign is left out (a writer renews within a second)."""
    found = {}
    for path in sorted((folder or probe_folder()).glob("*.probe")):
        state = _read(path)
        if state is not None:
            found[path.stem] = state
    return found


def _read(path: Path) -> ProbeState | None:
    for _ in range(3):
        try:
            block = path.read_bytes()
            magic, size, check = _HEAD.unpack_from(block)
            data = block[_HEAD.size : _HEAD.size + size]
            if magic == _MAGIC and zlib.crc32(data) == check:
                return ProbeState.from_json(data.decode())
        except (OSError, struct.error, ValueError, KeyError, TypeError):
            continue
    return None


def answer(states: Mapping[str, ProbeState], probe: str, now_ns: int) -> tuple[bool, dict[str, Any]]:
    """Whether ``probe`` holds for every node, and the body to send. No node at all is a no.

    probe: ``liveness``, ``readiness`` or ``semantic``. now_ns: ``time.monotonic_ns()``.
    """
    if probe not in PROBES:
        raise ValueError(f"probe '{probe}' is unknown, expected one of {', '.join(PROBES)}")
    nodes = {name: _judge(state, probe, now_ns) for name, state in states.items()}
    ok = bool(nodes) and all(one.ok for one in nodes.values())
    body = {name: {"ok": one.ok, "reason": one.reason, "mode": states[name].mode} for name, one in nodes.items()}
    return ok, {"probe": probe, "ok": ok, "nodes": body}


def _judge(state: ProbeState, probe: str, now_ns: int) -> Probe:
    silent_ns = now_ns - state.renewed_ns
    if silent_ns > STALE_NS:
        return Probe(False, f"silent for {silent_ns / 1e9:.1f} s")
    found: Probe = getattr(state, probe)
    return found
