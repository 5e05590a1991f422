"""Configure, activate, deactivate, cleanup, again and again, from outside: nothing may leak, nothing may take too long.

A camera, a LiDAR and a fusion process are driven through the standard lifecycle services. After each cycle, in state
unconfigured, resident memory, descriptors, threads and files in shared memory are counted. No peer: rclpy's own lifecycle
node holds no resources.
"""

from __future__ import annotations

import signal
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

STEPS = ("configure", "activate", "deactivate", "cleanup")
BOUND_S = {"configure": 20.0, "activate": 5.0, "deactivate": 5.0, "cleanup": 10.0}
"""What a transition may take at most."""
RSS_BOUND_KB = 20.0
"""Growth a cycle, from the second fifth of the cycles on."""
_CALL_S = 60.0


class Outside:
    """Calls lifecycle services and waits for the answers."""

    def __init__(self, stack: ExitStack, logs: Path, processes: dict[str, Any]) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        rclpy.init(args=[])
        stack.callback(rclpy.try_shutdown)
        self.node = rclpy.create_node("lifecycle_bench")
        stack.callback(self.node.destroy_node)
        executor = SingleThreadedExecutor()
        executor.add_node(self.node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()
        stack.callback(thread.join, 5.0)
        stack.callback(executor.shutdown)
        self._clients: dict[str, Any] = {}
        self._logs, self._processes = logs, processes

    def _dump(self, name: str) -> None:
        """End a node that hangs so that it writes down where all its threads stand."""
        process = self._processes[name]
        process.send_signal(signal.SIGABRT)
        process.wait(_CALL_S)

    def _log(self, name: str) -> str:
        """The last lines that a node wrote, to be told with a failure."""
        file = self._logs / f"{name.rpartition('/')[2]}.log"
        return "\n" + "\n".join(file.read_text(encoding="utf-8").splitlines()[-80:]) if file.is_file() else ""

    def change(self, name: str, transition: int) -> float:
        """Seconds that one transition of a node took. Raises RuntimeError when it fails."""
        from lifecycle_msgs.msg import Transition
        from lifecycle_msgs.srv import ChangeState

        service = f"{name}/change_state"
        if service not in self._clients:
            self._clients[service] = self.node.create_client(ChangeState, service)
        client = self._clients[service]
        if not client.wait_for_service(_CALL_S):
            raise RuntimeError(f"{service} is not there")
        started_s, done = time.perf_counter(), threading.Event()
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        future.add_done_callback(lambda _: done.set())
        if not done.wait(_CALL_S):
            self._dump(name)
            raise RuntimeError(f"transition {transition} of {name} took more than {_CALL_S:.0f} s{self._log(name)}")
        if not future.result().success:
            raise RuntimeError(f"transition {transition} of {name} failed{self._log(name)}")
        return time.perf_counter() - started_s


def run(*, cycles: int = 500, isolation: str = "thread", model: str = "geometric") -> dict[str, Any]:
    """cycles: of every node. isolation, model: of the fusion node's detector."""
    from percept_ros.nodes.realtime import isolate_dds

    isolate_dds()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="percept-lifecycle-")))
        processes = _start(stack, folder, isolation, model)
        outside = Outside(stack, folder, processes)
        spent, counted = _cycle(outside, processes, cycles)
        return _result(cycles, isolation, model, spent, counted)
    raise AssertionError("unreachable")


def _start(stack: ExitStack, folder: Path, isolation: str, model: str) -> dict[str, Any]:
    import psutil

    from percept_ros.config import load_config
    from percept_ros.nodes.fleet import Fleet, NodeProcess

    mounted = [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 1.8, 0, 0, 0, 1.0]
    config = load_config(
        None,
        {
            "lidar": {"extrinsic": mounted},
            "cameras": {"front": {"topic": "/front/image", "extrinsic": mounted}},
            "detector": {"chain": [model], "isolation": isolation},
        },
    )
    names = {"/bench/camera_front": "camera", "/bench/lidar": "lidar", "/bench/fusion": "fusion"}
    plan = [NodeProcess(executable, name.rpartition("/")[2]) for name, executable in names.items()]
    fleet = stack.enter_context(Fleet(plan, config, folder, "/bench"))
    return {name: psutil.Process(fleet.processes[name.rpartition("/")[2]].pid) for name in names}


def _cycle(
    outside: Outside, processes: dict[str, Any], cycles: int
) -> tuple[dict[str, list[float]], dict[str, list[tuple[int, ...]]]]:
    spent: dict[str, list[float]] = {step: [] for step in STEPS}
    counted: dict[str, list[tuple[int, ...]]] = {name: [] for name in processes}
    for _ in range(cycles):
        for step, transition in zip(STEPS, (1, 3, 4, 2), strict=True):
            for name in processes:
                spent[step].append(outside.change(name, transition))
        for name, process in processes.items():
            counted[name].append(_count(process))
    return spent, counted


def _count(process: Any) -> tuple[int, int, int, int]:
    """Resident kB, descriptors, threads, and files of the process in shared memory."""
    shared = {m.path for m in process.memory_maps() if m.path.startswith("/dev/shm/percept")}
    return process.memory_info().rss // 1024, process.num_fds(), process.num_threads(), len(shared)


def _result(
    cycles: int, isolation: str, model: str, spent: dict[str, list[float]], counted: dict[str, list[tuple[int, ...]]]
) -> dict[str, Any]:
    leaks = {name.rpartition("/")[2]: _leak(rows) for name, rows in counted.items()}
    longest = {step: round(max(times), 3) for step, times in spent.items()}
    quick = all(longest[step] <= BOUND_S[step] for step in STEPS)
    steady = all(one["ok"] for one in leaks.values())
    return {
        "ok": quick and steady,
        "cycles": cycles,
        "isolation": isolation,
        "model": model,
        "longest_s": longest,
        "median_s": {step: round(float(np.median(times)), 4) for step, times in spent.items()},
        "bound_s": BOUND_S,
        "growth": leaks,
        "rss_bound_kb_per_cycle": RSS_BOUND_KB,
    }


def _leak(rows: list[tuple[int, ...]]) -> dict[str, Any]:
    """What grew after the first fifth of the cycles. Descriptors and threads may differ by the odd one of DDS."""
    settled = np.array(rows[len(rows) // 5 :], float)
    count = max(1, len(settled) // 4)
    first, last = np.median(settled[:count], axis=0), np.median(settled[-count:], axis=0)
    kb_per_cycle = float(last[0] - first[0]) / max(1, len(settled) - count)
    fds, threads, shared = (int(v) for v in last[1:] - first[1:])
    steady = abs(fds) <= 1 and abs(threads) <= 1 and shared <= 0
    enough = len(rows) >= 100
    return {
        "ok": steady and (kb_per_cycle <= RSS_BOUND_KB or not enough),
        "rss_kb_per_cycle": round(kb_per_cycle, 2),
        "rss_mb": round(float(last[0]) / 1024, 1),
        "fds": fds,
        "threads": threads,
        "shared_memory_files": shared,
    }


def table(result: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Rows for people."""
    rows: list[tuple[object, ...]] = [
        (f"{step}: median, longest, bound (s)", result["median_s"][step], result["longest_s"][step], BOUND_S[step])
        for step in STEPS
    ]
    for name, one in result["growth"].items():
        rows.append((f"{name}: kB a cycle, descriptors, threads", one["rss_kb_per_cycle"], one["fds"], one["threads"]))
    return ("", "", "", ""), rows
