"""Asks the CUDA driver for its devices in a child process: a broken driver crashes the child, not this process.

The child runs this file by path with the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

DRIVER = "libcuda.so.1"
TIMEOUT_S = 20.0
MAJOR, MINOR = 75, 76  # attributes of the compute capability


@dataclass(frozen=True)
class Gpu:
    """One CUDA device. compute_capability: for example "8.9". driver: for example 13000 for 13.0."""

    index: int
    name: str
    compute_capability: str
    memory_bytes: int
    driver: int


class NoGpu(Exception):
    """There is no usable CUDA device; the text says why."""


def gpus(timeout_s: float = TIMEOUT_S) -> tuple[Gpu, ...]:
    """All devices, at least one. Raises NoGpu."""
    command = [sys.executable, "-I", "-S", __file__]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as exc:
        raise NoGpu(f"no CUDA device: the driver did not answer within {timeout_s:g} s") from exc
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        raise NoGpu(f"no CUDA device: the driver crashed when asked (exit status {done.returncode})")
    answer: dict[str, Any] = json.loads(lines[-1])
    if "reason" in answer:
        raise NoGpu(f"no CUDA device: {answer['reason']}")
    return tuple(Gpu(**device) for device in answer["devices"])


def ask_driver() -> dict[str, Any]:
    """{"devices": [...]} or {"reason": why there is none}."""
    try:
        cuda = ctypes.CDLL(DRIVER)
    except OSError:
        return {"reason": f"the NVIDIA driver is not installed ({DRIVER} not found)"}
    count, version = ctypes.c_int(), ctypes.c_int()
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status != 0:
        return {"reason": f"the driver answers with error {status}"}
    if count.value < 1:
        return {"reason": "the driver finds no GPU"}
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return {"devices": [_device(cuda, index, version.value) for index in range(count.value)]}


def _device(cuda: ctypes.CDLL, index: int, driver: int) -> dict[str, Any]:
    handle, memory = ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGet(ctypes.byref(handle), index)
    cuda.cuDeviceGetName(name, len(name), handle)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    capability = f"{_attribute(cuda, MAJOR, handle)}.{_attribute(cuda, MINOR, handle)}"
    return {
        "index": index,
        "name": name.value.decode(errors="replace"),
        "compute_capability": capability,
        "memory_bytes": memory.value,
        "driver": driver,
    }


def _attribute(cuda: ctypes.CDLL, which: int, handle: ctypes.c_int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), which, handle)
    return value.value


if __name__ == "__main__":
    sys.stdout.write(json.dumps(ask_driver()) + "\n")
