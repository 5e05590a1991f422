"""Camera process to fusion process: frame ring + FrameReady against sensor_msgs/Image over DDS, 1600x900 BGR.

Latency runs from when the camera process has the picture to when the receiver has looked at it. ``ring``: the decoder drew
the picture straight into the ring, as the camera node does; ``ring_copy``: it lies elsewhere and is copied in; DDS: it is
put into an Image message. Peers in the same run: Image over
DDS with default settings and with config/fastdds.xml; a memcpy of the image is the floor. Then several cameras at once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
PROFILE = HERE.parent / "config" / "fastdds.xml"


def run(
    *, frames: int = 200, rate_hz: float = 20.0, cameras: int = 6, seconds: float = 60.0, fifo: int = 0
) -> dict[str, Any]:
    """One camera over each transport, then ``cameras`` at once for ``seconds``. fifo: SCHED_FIFO priority of both ends."""
    one = {
        kind: measure(kind, cameras=1, frames=frames, rate_hz=rate_hz, fifo=fifo)
        for kind in ("dds", "dds_tuned", "ring_copy", "ring")
    }
    many_frames = int(seconds * rate_hz)
    many = {
        kind: measure(kind, cameras=cameras, frames=many_frames, rate_hz=rate_hz, fifo=fifo) for kind in ("dds", "ring")
    }
    ring, memcpy_ms = one["ring"], one["ring"]["memcpy_ms"]
    result: dict[str, Any] = {
        "ratio_dds": one["dds"]["median_ms"] / ring["median_ms"],
        "ratio_dds_tuned": one["dds_tuned"]["median_ms"] / ring["median_ms"],
        "ratio_dds_copied": one["dds"]["median_ms"] / one["ring_copy"]["median_ms"],
        "median_ms": ring["median_ms"],
        "p99_ms": ring["p99_ms"],
        "memcpy_ms": memcpy_ms,
        "limit_ms": 2 * memcpy_ms + 0.5,
        "one_camera": one,
        "cameras": cameras,
        "cameras_seconds": seconds,
        "all_cameras": many,
        "fifo": fifo,
    }
    both = (ring, one["ring_copy"])
    near_floor = all(r["median_ms"] <= result["limit_ms"] for r in both) and ring["p99_ms"] < 2.0
    whole = ring["drops"] == many["ring"]["drops"] == 0
    result["ok"] = near_floor and whole and result["ratio_dds"] >= 15
    return result


def measure(kind: str, *, cameras: int, frames: int, rate_hz: float, fifo: int) -> dict[str, Any]:
    """Figures of one transport."""
    transport = kind.removesuffix("_tuned")
    env = environment(tuned=kind == "dds_tuned")
    receiver = start({"role": "receive", "kind": transport, "cameras": cameras, "fifo": fifo}, env)
    assert receiver.stdout is not None
    if receiver.stdout.readline().strip() != "ready":
        raise RuntimeError("the receiving process did not start")
    plan = {"role": "publish", "kind": transport, "rate_hz": rate_hz, "frames": frames, "fifo": fifo}
    senders = [start({**plan, "camera": camera}, env) for camera in range(cameras)]
    limit_s = frames / rate_hz * 3 + 60
    sent = [json.loads(sender.communicate(timeout=limit_s)[0].splitlines()[-1]) for sender in senders]
    receiver.send_signal(signal.SIGTERM)
    got = json.loads(receiver.communicate(timeout=limit_s)[0].splitlines()[-1])
    began_ns = {(camera, stamp): ns for camera, figures in enumerate(sent) for stamp, ns in figures["began_ns"]}
    late_ms = np.array([ns - began_ns[camera, stamp] for camera, stamp, ns in got["seen"]] or [1e15]) / 1e6
    return {
        "median_ms": float(np.median(late_ms)),
        "p99_ms": float(np.percentile(late_ms, 99)),
        "worst_ms": float(late_ms.max()),
        "published": len(began_ns),
        "drops": len(began_ns) - len(got["seen"]),
        "cpu_ms_per_frame": float(np.mean([f["cpu_ms_per_frame"] for f in sent])) + got["cpu_ms_per_frame"],
        "memcpy_ms": sent[0]["memcpy_ms"],
    }


def environment(*, tuned: bool) -> dict[str, str]:
    """Variables of the child processes: an own DDS domain on this machine, and the tuned profile or none."""
    env = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DOMAIN_ID": str(20 + os.getpid() % 70)}
    env["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), env.get("PYTHONPATH", "")])
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        env.pop(name, None)
        if tuned:
            env[name] = str(PROFILE)
    return env


def start(plan: dict[str, Any], env: dict[str, str]) -> subprocess.Popen[str]:
    """One end in a process of its own."""
    command = [sys.executable, str(HERE / "_transport_end.py"), json.dumps(plan)]
    return subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE)


def table(result: dict[str, Any]) -> tuple[list[str], list[list[object]]]:
    """One row a transport."""
    header = ["transport", "cameras", "median ms", "P99 ms", "worst ms", "drops", "of", "CPU ms/frame"]
    rows: list[list[object]] = [["memcpy (floor)", 1, result["memcpy_ms"], "", "", "", "", ""]]
    for count, group in ((1, result["one_camera"]), (result["cameras"], result["all_cameras"])):
        for kind, f in group.items():
            timing = [f["median_ms"], f["p99_ms"], f["worst_ms"]]
            rows.append([kind, count, *timing, f["drops"], f["published"], f["cpu_ms_per_frame"]])
    return header, rows


def plot(result: dict[str, Any], file: Path) -> None:
    """Bars of median and P99."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = list(result["one_camera"])
    figure, axes = plt.subplots(figsize=(7, 4))
    place = np.arange(len(kinds))
    for shift, key in ((-0.2, "median_ms"), (0.2, "p99_ms")):
        axes.bar(place + shift, [result["one_camera"][kind][key] for kind in kinds], 0.4, label=key)
    axes.axhline(result["memcpy_ms"], color="black", linestyle="--", label="memcpy")
    axes.set_yscale("log")
    axes.set_xticks(place, kinds)
    axes.set_ylabel("latency, ms")
    axes.set_title("one camera 1600x900 BGR, process to process")
    axes.legend()
    figure.savefig(file, dpi=120, bbox_inches="tight")
