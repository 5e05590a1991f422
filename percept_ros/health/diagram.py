"""Draws the ladder from its table: ``python -m percept_ros.health.diagram > docs/ladder.md``."""

from __future__ import annotations

import itertools

from percept_ros.health.ladder import LADDER, Rung

_HEAD = """# The degradation ladder

Generated from `percept_ros/health/ladder.py`; a test keeps both alike.

Every frame earns a rung by itself. The published mode is never better than that rung. Down: at once. Up: when N of the
last M frames earned the better rung, the newest among them, and the least time on the present rung is over. That time
doubles (to at most 5 s) each time an upgrade lasted less than `health.probation_ms`. A step up may pass over rungs.
Semantic health below `health.unhealthy_below` costs one rung.
"""
_TAIL = """
When no sensor set arrives, arrays go on: after `health.pulse_ms` of silence the last tracks are published moved ahead as
COASTING; after `health.coast_limit_ms` without anything detected anew the array is empty and flagged STALE. After
`health.leave_active_s` of STALE the fusion node leaves the lifecycle state Active by deactivating itself (its models stay
loaded, it is then Inactive); the supervisor activates it again, as often as needed, and each time it listens anew. A
node that has had no frame yet since its activation stays Active and publishes STALE.
"""


def _row(rung: Rung) -> str:
    up = "-" if rung.mode.value == 0 else f"{rung.up_n} of {rung.up_m}"
    return f"| {rung.mode.value} | {rung.mode.name} | {rung.enters} | {up} | {rung.dwell_ms} |"


def markdown() -> str:
    """The page docs/ladder.md."""
    edges = ["    [*] --> STALE"]
    for better, worse in itertools.pairwise(LADDER):
        up = f"{worse.up_n} of {worse.up_m} frames, {worse.dwell_ms} ms"
        edges.append(f"    {better.mode.name} --> {worse.mode.name} : {worse.enters.split(':')[0]}")
        edges.append(f"    {worse.mode.name} --> {better.mode.name} : {up}")
    table = ["| | Mode | Entered when a frame shows | Up after | Least time (ms) |", "|---|---|---|---|---|"]
    drawing = ["```mermaid", "stateDiagram-v2", *edges, "```"]
    return "\n".join([_HEAD, *table, *map(_row, LADDER), "", *drawing, _TAIL])


if __name__ == "__main__":
    print(markdown(), end="")
