"""kill -9 at random moments, in small (the benchmark ``kills`` does a thousand)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_kills_leave_no_segment_no_torn_frame_no_deadlock() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, "-m", "percept_ros.cli.main", "bench", "kills", "--kills", "20", "--seed", "1", "--json"]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=False)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["kills"] == 20
    assert result["frames_accepted"] > 0
    bad = ("torn_accepted", "wrong_answers", "deadlocks", "leaked_segments", "orphans")
    assert {key: result[key] for key in bad} == dict.fromkeys(bad, 0)
