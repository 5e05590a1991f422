"""The end of a node process, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("rclpy")

_HANGS = """
import os, sys
from percept_ros.nodes.spin import end_within
from percept_ros.runtime.realtime import raise_process
raise_process(7)
end_within(0.1)
print(os.sched_getscheduler(0), flush=True)
while True:
    pass
"""


def test_a_process_that_hangs_at_its_end_is_ended_with_its_traces_and_keeps_no_priority() -> None:
    done = subprocess.run([sys.executable, "-c", _HANGS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == f"{os.SCHED_OTHER}\n"
    assert "Timeout" in done.stderr
    assert "<module>" in done.stderr
