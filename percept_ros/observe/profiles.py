"""Profiles of a running service: where processor time goes, and what allocates; on demand or periodic.

The processor profile samples the stacks of all threads of this process (``sys._current_frames``), the heap profile is
the difference of two ``tracemalloc`` snapshots. Both are kept as folded stacks (``a;b;c 12``), the format that flame
graph tools share, in a ring of files.
Source of the format: B. Gregg, FlameGraph (stackcollapse).
"""

from __future__ import annotations

import json
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from percept_ros.errors import InputError, SetupError

CPU, HEAP = "cpu", "heap"
_DEPTH = 80
_LOOK_S, _LONGEST_S = 1.0, 60.0
_HEAP_FRAMES = 16
_WAITING = frozenset({"wait", "_wait_for_tstate_lock", "select", "poll", "accept", "recv", "get", "sleep", "spin_once"})


@dataclass(frozen=True, slots=True)
class Profile:
    """stacks: folded stack, outermost first -> weight (samples, or bytes that stayed allocated). kind: cpu or heap."""

    kind: str
    at_s: float
    seconds: float
    stacks: Mapping[str, float]

    @property
    def total(self) -> float:
        """Weight of all stacks."""
        return float(sum(self.stacks.values()))


@dataclass(frozen=True, slots=True)
class ProfileEntry:
    """One profile on disk."""

    name: str
    kind: str
    at_s: float
    seconds: float
    total: float
    reason: str


def profile_cpu(
    seconds: float,
    *,
    hz: float = 97.0,
    idle: bool = False,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Profile:
    """Sample all other threads for ``seconds``. idle: count threads that wait too. Costs about 1 % of a core at 97 Hz."""
    pause, counts, own = stop or threading.Event(), Counter[str](), threading.get_ident()
    names = _thread_names()
    begun_s, at_s = clock(), time.time()
    while (now_s := clock()) - begun_s < seconds:
        for ident, frame in sys._current_frames().items():
            if ident != own and (idle or frame.f_code.co_name not in _WAITING):
                if ident not in names:
                    names = _thread_names()
                counts[f"{names.get(ident, 'thread')};{_fold(frame)}"] += 1
        if pause.wait(max(0.0, 1.0 / hz - (clock() - now_s))):
            break
    return Profile(CPU, at_s, clock() - begun_s, dict(counts))


def profile_heap(seconds: float, *, stop: threading.Event | None = None) -> Profile:
    """What was allocated during ``seconds`` and is still there, bytes. Slows allocation down meanwhile."""
    running, at_s, begun_s = tracemalloc.is_tracing(), time.time(), time.monotonic()
    if not running:
        tracemalloc.start(_HEAP_FRAMES)
    try:
        before = tracemalloc.take_snapshot()
        (stop or threading.Event()).wait(seconds)
        grown = tracemalloc.take_snapshot().compare_to(before, "traceback")
    finally:
        if not running:
            tracemalloc.stop()
    stacks: Counter[str] = Counter()
    for item in grown:
        if item.size_diff > 0:
            stacks[";".join(f"{_short(frame.filename)}:{frame.lineno}" for frame in item.traceback)] += item.size_diff
    return Profile(HEAP, at_s, time.monotonic() - begun_s, dict(stacks))


class ProfileStore:
    """A ring of profiles in a folder. Raises SetupError when the folder cannot be written."""

    def __init__(self, folder: Path | str, keep: int = 48) -> None:
        self.folder, self._keep = Path(folder).expanduser(), keep
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise SetupError(f"profile folder '{folder}' cannot be made: {exc}") from exc

    def add(self, profile: Profile, reason: str = "on demand") -> str:
        """Write a profile; the oldest ones go. Returns its name."""
        name = f"{profile.kind}-{int(profile.at_s * 1000):014d}"
        lines = "".join(f"{stack} {weight:.0f}\n" for stack, weight in profile.stacks.items())
        head = {"kind": profile.kind, "at_s": profile.at_s, "seconds": profile.seconds, "reason": reason}
        unfinished = self.folder / f"{name}.part"
        unfinished.write_text(f"# {json.dumps({**head, 'total': profile.total})}\n{lines}", encoding="utf-8")
        unfinished.replace(self.folder / f"{name}.folded")
        for old in self._files()[self._keep :]:
            old.unlink(missing_ok=True)
        return name

    def entries(self) -> list[ProfileEntry]:
        """What there is, newest first; files that cannot be read are left out."""
        found = []
        for file in self._files():
            try:
                with file.open(encoding="utf-8") as lines:
                    head = json.loads(lines.readline()[2:])
                found.append(ProfileEntry(file.stem, **head))
            except (OSError, ValueError, TypeError):
                continue
        return found

    def stacks(self, name: str) -> dict[str, float]:
        """Folded stacks of a profile. Raises InputError (reason ``unknown_profile``) when there is none of this name."""
        known = {file.stem: file for file in self._files()}
        if name not in known:
            raise InputError(f"no profile '{name}' in {self.folder}", "unknown_profile")
        stacks: dict[str, float] = {}
        for line in known[name].read_text(encoding="utf-8").splitlines():
            stack, _, weight = line.rpartition(" ")
            if not line.startswith("#") and stack:
                stacks[stack] = float(weight)
        return stacks

    def ask(self, kind: str, seconds: float) -> None:
        """Ask the process that keeps this folder for a profile. Raises InputError for an unknown kind."""
        if kind not in (CPU, HEAP) or not 0 < seconds <= _LONGEST_S:
            raise InputError(
                f"profile '{kind}' of {seconds} s: expected cpu or heap, up to {_LONGEST_S:.0f} s", "profile"
            )
        (self.folder / f"{kind}-{seconds:.3f}.request").touch()

    def requests(self) -> list[tuple[str, float]]:
        """What was asked for since the last call; it is then answered for."""
        found = []
        for file in self.folder.glob("*.request"):
            kind, _, seconds = file.stem.partition("-")
            file.unlink(missing_ok=True)
            if kind in (CPU, HEAP) and _is_length(seconds):
                found.append((kind, float(seconds)))
        return found

    def flame_html(self, name: str) -> str:
        """A flame graph of a profile as one self-contained page."""
        from percept_ros.observe.flame import flame_html

        return flame_html(name, self.stacks(name), "bytes" if name.startswith(HEAP) else "samples")

    def _files(self) -> list[Path]:
        """Newest first."""
        return sorted(self.folder.glob("*.folded"), key=lambda file: file.stem.rpartition("-")[2], reverse=True)


class Profiler:
    """Takes profiles of this process in a thread of its own: a short one every ``every_s`` (0 = never), and on request.

    A request is a file that ``ask`` puts into the folder, from any process. Use as a context manager.
    """

    def __init__(self, store: ProfileStore, every_s: float, window_s: float) -> None:
        self._store, self._every_s, self._window_s = store, every_s, window_s
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.failed = 0
        self._thread = threading.Thread(target=self._run, name="profiles", daemon=True)

    def take(self, reason: str, kind: str = CPU, seconds: float = 0.0) -> str:
        """A profile now (of one window unless told otherwise); returns its name. From any thread, one at a time."""
        measure = profile_heap if kind == HEAP else profile_cpu
        with self._lock:
            return self._store.add(measure(seconds or self._window_s, stop=self._end), reason)

    def __enter__(self) -> Profiler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        due_s = time.monotonic() + self._every_s
        while not self._end.wait(_LOOK_S):
            try:
                for kind, seconds in self._store.requests():
                    self.take("on demand", kind, seconds)
                if self._every_s and time.monotonic() >= due_s:
                    due_s = time.monotonic() + self._every_s
                    self.take("periodic")
            except OSError:  # a full disk
                self.failed += 1


def _fold(frame: FrameType | None) -> str:
    names: list[str] = []
    while frame is not None and len(names) < _DEPTH:
        code = frame.f_code
        names.append(
            f"{code.co_qualname if sys.version_info >= (3, 11) else code.co_name} ({_short(code.co_filename)})"
        )
        frame = frame.f_back
    return ";".join(reversed(names))


def _is_length(text: str) -> bool:
    try:
        return 0 < float(text) <= _LONGEST_S
    except ValueError:
        return False


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-2:]).replace(";", "_").replace(" ", "_")


def _thread_names() -> dict[int, str]:
    return {thread.ident: thread.name.replace(";", "_") for thread in threading.enumerate() if thread.ident is not None}
