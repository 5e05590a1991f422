"""Is the synchroniser faster than an exhaustive search over stamps, and right where that search fails?

Two streams, both peers fed message by message in the same run:

  dense    each topic sends bursts of 8 frames; the first camera's lie early and the second's late within the tolerance of
           the sweeps, so every sweep has a frame of each camera, yet no combination lies within one slop: the search runs
           to its end. This is the figure ``topics_N.ratio``, and the search's worst case.
  matched  every topic at 10 Hz with 5 ms of jitter: the search's first try fits, its best case (``topics_N.matched_*``).

Times are CPU time of the thread, so that neighbours on the machine do not count. Correctness: a camera that comes after the
deadline and then not at all, a bag that starts again, a callback that raises.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _sync_cases import (
    MS,
    QUEUE,
    SLOP_NS,
    START_NS,
    Ours,
    Stream,
    exception_in_callback,
    late_camera,
    matched,
    time_jump,
)
from _sync_peer import find_peer

from percept_ros.errors import InputError

BURST, ROUND_MS = 8, 200


def dense(topics: int, rounds: int) -> Stream:
    """Bursts whose combinations never fit one slop; see the top."""
    stream = []
    for start_ns in range(START_NS, START_NS + rounds * ROUND_MS * MS, ROUND_MS * MS):
        early, late = {1: -35}, {2: 35}
        for topic, shift_ms in (early | late).items():
            if topic < topics:
                stream += [(topic, start_ns + (100 + shift_ms + i) * MS) for i in range(BURST)]
        middle = [t for t in range(topics - 1, -1, -1) if t not in (1, 2)]
        stream += [(t, start_ns + (100 + i) * MS) for i in range(BURST) for t in middle]
    return stream


class _TooLong(Exception):
    pass


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def _us_per_message(add: Callable[[int, int], None], stream: Stream, limit_s: float) -> tuple[float, int, bool]:
    """Mean time a message, messages done, and whether the time ran out (then the mean is a lower bound)."""
    done, start = 0, time.thread_time()
    try:
        with _bounded(limit_s):
            for topic, stamp_ns in stream:
                add(topic, stamp_ns)
                done += 1
    except _TooLong:
        pass
    spent = time.thread_time() - start
    return spent * 1e6 / max(done, 1), done, done < len(stream)


def _best_of(make: Callable[[], Any], stream: Stream, repeats: int) -> tuple[float, Any]:
    runs = []
    for _ in range(repeats):
        peer = make()
        runs.append((_us_per_message(peer.add, stream, 60.0)[0], peer))
    return min(runs, key=lambda run: run[0])


def measure(topics: int, seconds: float, repeats: int = 5) -> dict[str, Any]:
    """Both streams, both peers, one number of topics. seconds: bound of the peer's CPU time."""
    _, make_peer = find_peer()
    found: list[list[int]] = []
    ours_us, ours = _best_of(lambda: Ours(topics), dense(topics, 100), repeats)
    ours.finish()
    peer = make_peer(topics, QUEUE, SLOP_NS, found.append)
    peer_us, done, bounded = _us_per_message(peer.add, dense(topics, 2), seconds)
    matched_us, matched_ours = _best_of(lambda: Ours(topics), matched(topics, 500), repeats)
    matched_peer_us, _ = _best_of(
        lambda: make_peer(topics, QUEUE, SLOP_NS, lambda _: None), matched(topics, 500), repeats
    )
    return {
        "us_per_message": ours_us,
        "peer_us_per_message": peer_us,
        "ratio": peer_us / ours_us,
        "peer_is_lower_bound": bounded,
        "peer_messages": done,
        "complete_sets": ours.complete,
        "partial_sets": ours.partial,
        "expected_sets": 100 * BURST,
        "peer_sets": len(found),
        "matched_us_per_message": matched_us,
        "matched_peer_us_per_message": matched_peer_us,
        "matched_ratio": matched_peer_us / matched_us,
        "matched_complete_sets": matched_ours.complete,
    }


def run(*, topics: tuple[int, ...] = (2, 3, 4, 5, 6, 7, 8, 10, 12), seconds: float = 4.0) -> dict[str, Any]:
    """seconds: bound of the exhaustive search's CPU time for each number of topics."""
    if not topics or min(topics) < 2:
        raise InputError(f"--topics {topics}: at least 2 topics are needed")
    result: dict[str, Any] = {"peer": find_peer()[0], "clock": "CPU time of the thread"}
    for count in topics:
        result[f"topics_{count}"] = measure(count, seconds)
    result |= {"late_camera": late_camera(), "time_jump": time_jump(), "exception": exception_in_callback()}
    right = all(result[name]["ok"] for name in ("late_camera", "time_jump", "exception"))
    fast = all(r["us_per_message"] < 30.0 and r["ratio"] >= 1000.0 for k, r in result.items() if k == "topics_7")
    return result | {"ok": right and fast}


def _per_topics(result: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    return [(int(key.removeprefix("topics_")), value) for key, value in result.items() if key.startswith("topics_")]


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """One row a number of topics, then the correctness cases."""
    header = ["topics", "us/message", "search us/message", "ratio", "matched us", "matched search us", "matched ratio"]
    keys = (
        "us_per_message",
        "peer_us_per_message",
        "ratio",
        "matched_us_per_message",
        "matched_peer_us_per_message",
        "matched_ratio",
    )
    rows: list[list[object]] = []
    for count, found in _per_topics(result):
        row: list[object] = [count, *(found[key] for key in keys)]
        if found["peer_is_lower_bound"]:
            row[2], row[3] = f"> {found['peer_us_per_message']:.0f}", f"> {found['ratio']:.0f}"
        rows.append(row)
    for case in ("late_camera", "time_jump", "exception"):
        text = ", ".join(f"{k}={v}" for k, v in result[case].items())
        rows.append([case, text, *[""] * 5])
    return header, rows


def plot(result: dict[str, Any], file: Path) -> None:
    """Time a message over the number of topics."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    found = _per_topics(result)
    counts = [count for count, _ in found]
    lines = {
        "synchroniser, dense": ("us_per_message", "o-", "tab:blue"),
        "exhaustive search, dense": ("peer_us_per_message", "s-", "tab:red"),
        "synchroniser, matched": ("matched_us_per_message", "o:", "tab:blue"),
        "exhaustive search, matched": ("matched_peer_us_per_message", "s:", "tab:red"),
    }
    for label, (key, style, colour) in lines.items():
        axes.semilogy(counts, [value[key] for _, value in found], style, color=colour, label=label)
    for count, value in found:
        if value["peer_is_lower_bound"]:
            axes.annotate("at least", (count, value["peer_us_per_message"]), fontsize=8)
    axes.set(xlabel="topics", ylabel="microseconds a message", title=f"peer: {result['peer']}")
    axes.title.set_fontsize(9)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120)
