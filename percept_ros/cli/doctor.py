"""percept doctor: what this machine has, what is missing, and what to do about each shortfall."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from percept_ros import __version__
from percept_ros.cli.output import emit_json, emit_table
from percept_ros.errors import SetupError

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_OPTIONAL_ROS = {
    "message_filters": "the package's own subscription filter is used",
    "cv_bridge": "the package's own image conversion is used",
    "tf2_ros": "the package's own transform tree is used",
    "diagnostic_updater": "diagnostics are published directly",
    "bondpy": "heartbeats go by liveliness QoS",
    "vision_msgs": "no Detection3DArray output",
    "autoware_perception_msgs": "no Autoware output",
    "launch_ros": "start the nodes with percept or ros2 run",
}

_ENGINES = {
    "kernel": "models that are compiled libraries (.so)",
    "scripted": "answers by a script, for tests and drills",
    "pathstep": "path networks in one compiled pass, instead of an ONNX engine",
}


@app.command()
def doctor(json: bool = typer.Option(False, "--json", help="one JSON object on standard output")) -> None:
    """Say whether this machine can run perception, what is missing, and what to do about it.

    Looks at ROS, the compiled kernels, engines, GPU, shared memory, real-time permissions and DDS settings. Nothing is changed.
    Exit status 1: the pipeline cannot run here.

    Example: percept doctor --json
    """
    report = examine()
    if json:
        emit_json(report)
    else:
        _print(report)
    if not report["ok"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Everything doctor reports. ``ok`` is false only when the pipeline cannot run at all."""
    report: dict[str, Any] = {
        "version": __version__,
        "python": platform.python_version(),
        "machine": {"cores": os.cpu_count(), "system": platform.platform()},
        "ros": _ros(),
        "kernels": _kernels(),
        "engines": _engines(),
        "gpu": _gpu(),
        "shared_memory": _shared_memory(),
        "real_time": _real_time(),
        "dds": _dds(),
        "packages": _packages(),
    }
    required = [report["ros"]["available"], report["kernels"]["available"], report["shared_memory"]["available"]]
    report["ok"] = all(required)
    report["remedies"] = [*_remedies(report)]
    return report


def _ros() -> dict[str, Any]:
    missing = [name for name in ("rclpy", "sensor_msgs", "percept_ros.msg") if _absent(name)]
    wheels = _version("ros-jazzy-rclpy")
    distro = os.environ.get("ROS_DISTRO") or ("jazzy" if wheels else None)
    return {
        "available": not missing,
        "distro": distro,
        "source": "wheels" if wheels and not os.environ.get("ROS_DISTRO") else "sourced distribution",
        "rclpy": _version("ros-rclpy") or _version("rclpy"),
        "missing": missing,
        "reason": f"not importable: {', '.join(missing)}" if missing else "",
        "remedy": "run make setup, or source a ROS 2 Jazzy distribution and build with colcon" if missing else "",
        "optional": {name: {"available": not _absent(name), "without": use} for name, use in _OPTIONAL_ROS.items()},
    }


def _absent(name: str) -> bool:
    try:
        return find_spec(name) is None
    except (ImportError, ValueError):
        return True


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _kernels() -> dict[str, Any]:
    from percept_ros.native import library

    try:
        return {"available": True, "abi": int(library().percept_kernels_abi()), "reason": "", "remedy": ""}
    except (SetupError, OSError) as exc:
        return {"available": False, "abi": None, "reason": str(exc), "remedy": "make build (or colcon build)"}


def _engines() -> dict[str, Any]:
    from percept_ros.inference.registry import availability

    return {
        name: {"available": found.available, "reason": found.reason, "detail": found.detail}
        for name, found in availability().items()
    }


def _gpu() -> dict[str, Any]:
    devices = sorted(str(p) for p in Path("/dev").glob("nvidia[0-9]*"))
    reason = "" if devices else "no NVIDIA device under /dev: models run on the CPU"
    return {"available": bool(devices), "devices": devices, "reason": reason}


def _shared_memory() -> dict[str, Any]:
    folder = Path("/dev/shm")
    writable = folder.is_dir() and os.access(folder, os.W_OK)
    free_mb = shutil.disk_usage(folder).free // 2**20 if writable else 0
    enough = free_mb >= 256
    remedy = "" if enough else "mount a larger /dev/shm (mount -o remount,size=1G /dev/shm; docker run --shm-size 1g)"
    return {"available": writable, "free_mb": free_mb, "enough": enough, "remedy": remedy}


def _real_time() -> dict[str, Any]:
    fifo = resource.getrlimit(resource.RLIMIT_RTPRIO)[1] >= 90 or os.geteuid() == 0
    lock_limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    lock = lock_limit == resource.RLIM_INFINITY or os.geteuid() == 0
    remedy = (
        ""
        if fifo and lock
        else "in /etc/security/limits.conf: '@realtime - rtprio 95' and '@realtime - memlock unlimited'"
    )
    return {
        "sched_fifo": fifo,
        "memory_locking": lock,
        "cpus": sorted(os.sched_getaffinity(0)),
        "remedy": remedy,
    }


def _dds() -> dict[str, Any]:
    def number(name: str) -> int | None:
        try:
            return int(Path(f"/proc/sys/net/core/{name}").read_text())
        except (OSError, ValueError):
            return None

    receive = number("rmem_max")
    small = receive is not None and receive < 8 * 2**20
    remedy = (
        "only for images or clouds over DDS between machines: sysctl -w net.core.rmem_max=33554432" if small else ""
    )
    return {
        "rmw": os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"),
        "domain_id": int(os.environ.get("ROS_DOMAIN_ID", "0") or 0),
        "discovery": os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET"),
        "profile": os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE", ""),
        "rmem_max": receive,
        "remedy": remedy,
    }


def _packages() -> dict[str, str | None]:
    names = ("numpy", "scipy", "opencv-python-headless", "onnxruntime", "av", "rosbags", "opentelemetry-sdk", "torch")
    return {name: _version(name) for name in names}


def _remedies(report: dict[str, Any]) -> list[str]:
    rows = [report[part].get("remedy", "") for part in ("ros", "kernels", "shared_memory", "real_time", "dds")]
    return [text for text in rows if text]


def _print(report: dict[str, Any]) -> None:
    ros = report["ros"]
    mark: Callable[[bool], str] = lambda good: "yes" if good else "no"  # noqa: E731
    rows: list[tuple[str, str, str]] = [
        ("percept_ros", report["version"], f"Python {report['python']}, {report['machine']['cores']} cores"),
        (
            "ROS 2",
            str(ros["distro"]),
            f"rclpy {ros['rclpy']} from {ros['source']}" if ros["available"] else ros["reason"],
        ),
        ("kernels", mark(report["kernels"]["available"]), report["kernels"]["reason"]),
    ]
    for name, found in report["engines"].items():
        rows.append(
            (f"engine {name}", mark(found["available"]), found["reason"] or found["detail"] or _ENGINES.get(name, ""))
        )
    rt, shm, dds = report["real_time"], report["shared_memory"], report["dds"]
    rows += [
        ("GPU", mark(report["gpu"]["available"]), report["gpu"]["reason"]),
        ("shared memory", mark(shm["enough"]), f"{shm['free_mb']} MB free in /dev/shm"),
        ("real-time scheduling", mark(rt["sched_fifo"]), f"memory locking: {mark(rt['memory_locking'])}"),
        ("DDS", dds["rmw"], f"domain {dds['domain_id']}, discovery {dds['discovery']}, rmem_max {dds['rmem_max']}"),
    ]
    optional = ros["optional"].items()
    rows += [(f"ROS {name}", "yes", "optional") for name, found in optional if found["available"]]
    rows += [
        (f"ROS {name}", "-", f"not needed: {found['without']}") for name, found in optional if not found["available"]
    ]
    emit_table("percept doctor", ("what", "found", "detail"), rows)
    answer = (
        "this machine can run perception" if report["ok"] else "perception cannot run here: see the rows that say no"
    )
    sys.stdout.write(f"{answer}\n")
    for remedy in report["remedies"]:
        sys.stdout.write(f"{'worth doing' if report['ok'] else 'to do'}: {remedy}\n")
