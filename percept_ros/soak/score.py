"""Scores a soak from its records: availability, gaps, recovery, lies, lost tracks, fault by fault."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from percept_ros.soak.lost import lost_tracks
from percept_ros.soak.plan import BY_NAME, NODE_KILLS, compares_tracks
from percept_ros.soak.records import Records, Seen, Struck
from percept_ros.soak.spoil import ABSENT
from percept_ros.soak.truth import Truth
from percept_ros.types import I64, Mode

SLOT_NS = 100_000_000
FRESH_NS = 200_000_000
PEER_HEALED_S = 142.0
"""What the service that percept_ros replaces took to heal."""
_TAIL_NS = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one fault did. gap_ms: longest time without a valid array. recovery_s: from the end of the condition to the next
    FULL array, 0 when FULL was never left, None when it never came back before the next fault."""

    struck: Struck
    modes: tuple[str, ...]
    causes: tuple[str, ...]
    gap_ms: float
    recovery_s: float | None
    lost: int
    lies: int


def good_arrays(records: Records, lies: Sequence[tuple[Seen, Mode, str]]) -> list[Seen]:
    """Valid, truthfully labelled arrays in order of arrival; STALE ones hold nothing and do not count."""
    false = {id(seen) for seen, _, _ in lies}
    return [s for s in records.seen if not s.invalid and id(s) not in false and s.mode < Mode.STALE]


def find_lies(records: Records, truth: Truth) -> list[tuple[Seen, Mode, str]]:
    """Arrays whose mode is better than the evidence allows, with the best truthful mode and the reason."""
    lies = []
    for seen in records.seen:
        if not seen.invalid and records.start_ns <= seen.at_ns <= records.end_ns:
            best, why = truth.best(seen)
            if seen.mode < best:
                lies.append((seen, best, why))
    return lies


def availability(records: Records, arrivals_ns: I64, blind: Sequence[tuple[int, int]]) -> tuple[float, int, int]:
    """Share of 100 ms slots at whose end a good array no older than 200 ms was there; slots, bad slots.

    blind: spans of total sensor loss, which are not counted.
    """
    ends = np.arange(records.start_ns + SLOT_NS, records.end_ns + 1, SLOT_NS)
    counted = np.ones(len(ends), bool)
    for begin, end in blind:
        counted &= ~((ends > begin) & (ends <= end + FRESH_NS))
    ends = ends[counted]
    last = np.searchsorted(arrivals_ns, ends, side="right") - 1
    age = np.where(last >= 0, ends - arrivals_ns[np.maximum(last, 0)], np.iinfo(np.int64).max)
    bad = int((age > FRESH_NS).sum())
    return (1.0 - bad / len(ends) if len(ends) else 0.0), len(ends), bad


def total_loss(records: Records, least_ns: int = 1_000_000_000) -> list[tuple[int, int]]:
    """Spans in which no sensor sent anything usable for longer than ``least_ns`` (the coasting limit)."""
    sent = np.sort([s.sent_ns for s in records.sent if s.state != ABSENT])
    edges = np.concatenate([[records.start_ns], sent, [records.end_ns]]) if len(sent) else np.zeros(0, np.int64)
    gaps = np.flatnonzero(np.diff(edges) > least_ns)
    return [(int(edges[i] + least_ns), int(edges[i + 1])) for i in gaps]


def longest_gap_ms(arrivals_ns: I64, begin_ns: int, end_ns: int) -> float:
    """Longest time between two arrivals that touches the span."""
    first = max(0, int(np.searchsorted(arrivals_ns, begin_ns, side="right")) - 1)
    last = int(np.searchsorted(arrivals_ns, end_ns, side="left")) + 1
    inside = arrivals_ns[first:last]
    if len(inside) < 2:
        return (end_ns - begin_ns) / 1e6
    return float(np.diff(inside).max()) / 1e6


def recovery_s(good: Sequence[Seen], struck: Struck, until_ns: int) -> float | None:
    """Seconds from the end of the condition to the first FULL array behind the last one that was not."""
    inside = [seen for seen in good if struck.begin_ns <= seen.at_ns < until_ns]
    lower = [seen.at_ns for seen in inside if seen.mode != Mode.FULL]
    if not lower:
        return 0.0
    back = next((s.at_ns for s in inside if s.mode == Mode.FULL and s.at_ns >= max(lower[0], struck.end_ns)), None)
    return None if back is None else max(0.0, (back - struck.end_ns) / 1e9)


def outcomes(records: Records, good: Sequence[Seen], lies: Sequence[tuple[Seen, Mode, str]]) -> list[Outcome]:
    """What every fault did."""
    arrivals = np.array([seen.at_ns for seen in good], np.int64)
    played = [stroke for stroke in records.strokes if not stroke.skipped]
    found = []
    for index, struck in enumerate(played):
        until_ns = played[index + 1].begin_ns if index + 1 < len(played) else records.end_ns
        near_ns = min(until_ns, struck.end_ns + _TAIL_NS)
        modes = Counter(Mode(s.mode).name for s in good if struck.begin_ns <= s.at_ns < until_ns)
        said = tuple(dict.fromkeys(s.cause for s in records.said if struck.begin_ns <= s.at_ns < until_ns and s.mode))
        found.append(
            Outcome(
                struck,
                tuple(modes),
                said,
                longest_gap_ms(arrivals, struck.begin_ns, near_ns),
                recovery_s(good, struck, until_ns),
                lost_tracks(good, struck, until_ns) if compares_tracks(struck.kind) else 0,
                sum(struck.begin_ns <= seen.at_ns < until_ns for seen, _, _ in lies),
            )
        )
    return found


def summarise(records: Records, cameras: Sequence[str]) -> dict[str, object]:
    """All figures of a run, ready for JSON."""
    lies = find_lies(records, Truth(records, cameras))
    good = good_arrays(records, lies)
    inside = [seen for seen in good if records.start_ns <= seen.at_ns <= records.end_ns]
    arrivals = np.array([seen.at_ns for seen in good], np.int64)
    blind = total_loss(records)
    share, slots, bad = availability(records, arrivals, blind)
    still = [(stall.from_ns, stall.to_ns + FRESH_NS) for stall in records.stalls]
    apart, _, bad_apart = availability(records, arrivals, [*blind, *still])
    found = outcomes(records, good, lies)
    recoveries = [outcome.recovery_s for outcome in found]
    back = [value if value is not None else float("inf") for value in recoveries]
    return {
        "seconds": round((records.end_ns - records.start_ns) / 1e9, 1),
        "availability": round(share, 6),
        "slots": slots,
        "bad_slots": bad,
        "machine_stalls": len([s for s in records.stalls if records.start_ns <= s.from_ns <= records.end_ns]),
        "longest_machine_stall_ms": round(max((s.to_ns - s.from_ns for s in records.stalls), default=0) / 1e6, 1),
        "availability_outside_stalls": round(apart, 6),
        "bad_slots_outside_stalls": bad_apart,
        "arrays": len(inside),
        "broken_lines": records.broken_lines,
        "invalid_arrays": sum(bool(seen.invalid) for seen in records.seen),
        "max_gap_ms": round(longest_gap_ms(arrivals, records.start_ns, records.end_ns), 1),
        "max_gap_engine_kill_ms": _worst_gap(found, "kill_engine_worker"),
        "max_gap_fusion_kill_ms": _worst_gap(found, "kill_fusion"),
        "recovery_to_full_s": _median(back) if back else 0.0,
        "recovery_process_kill_s": _median([value for o, value in zip(found, back, strict=True) if _kills_a_node(o)]),
        "not_recovered": sum(value is None for value in recoveries),
        "lost_tracks": sum(outcome.lost for outcome in found),
        "lies": len(lies),
        "lie_examples": [_lie(records, *lie) for lie in lies[:20]],
        "out_of_order": _out_of_order(inside),
        "modes": dict(Counter(Mode(seen.mode).name for seen in inside)),
        "peer_healed_s": PEER_HEALED_S,
        "faults": by_kind(found),
        "skipped": {s.kind: s.skipped for s in records.strokes if s.skipped},
    }


def by_kind(found: Sequence[Outcome]) -> dict[str, dict[str, object]]:
    """One entry a kind of fault."""
    groups: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in found:
        groups[outcome.struck.kind].append(outcome)
    return {kind: _entry(groups[kind]) for kind in BY_NAME if kind in groups}


def _entry(group: Sequence[Outcome]) -> dict[str, object]:
    back = [outcome.recovery_s for outcome in group if outcome.recovery_s is not None]
    modes = Counter(mode for outcome in group for mode in outcome.modes)
    causes = Counter(cause for outcome in group for cause in outcome.causes)
    return {
        "count": len(group),
        "modes": [name for name, _ in modes.most_common()],
        "said": [cause for cause, _ in causes.most_common(3)],
        "max_gap_ms": round(max(outcome.gap_ms for outcome in group), 1),
        "recovery_s": round(float(np.median(back)), 3) if back else None,
        "worst_recovery_s": round(max(back), 3) if back else None,
        "not_recovered": len(group) - len(back),
        "lost_tracks": sum(outcome.lost for outcome in group),
        "lies": sum(outcome.lies for outcome in group),
    }


def _kills_a_node(outcome: Outcome) -> bool:
    """Whether a whole node process was killed, which has to start anew; an engine worker has a warm spare."""
    return outcome.struck.kind in NODE_KILLS


def _median(seconds: Sequence[float]) -> float | None:
    """Median of recoveries, None when there is none (infinite: not recovered)."""
    median = float(np.median(seconds)) if seconds else float("inf")
    return round(median, 3) if np.isfinite(median) else None


def _worst_gap(found: Sequence[Outcome], kind: str) -> float | None:
    gaps = [outcome.gap_ms for outcome in found if outcome.struck.kind == kind]
    return round(max(gaps), 1) if gaps else None


def _lie(records: Records, seen: Seen, best: Mode, why: str) -> dict[str, object]:
    at_s = round((seen.at_ns - records.start_ns) / 1e9, 3)
    fault = next((s.kind for s in reversed(records.strokes) if s.begin_ns <= seen.at_ns), "")
    return {"at_s": at_s, "said": Mode(seen.mode).name, "truth": best.name, "why": why, "fault": fault}


def _out_of_order(arrays: Sequence[Seen]) -> int:
    """Arrays whose sequence number is not above the one before: frames of two publishers mixed."""
    numbers = np.array([seen.sequence for seen in arrays], np.int64)
    return int((np.diff(numbers) <= 0).sum())
