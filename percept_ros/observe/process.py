"""What a process costs: CPU, memory, garbage collection, GPU. Read only when somebody looks."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from collections.abc import Callable, Iterator

from percept_ros.observe.meter import Buckets, Histogram, Meter, Samples

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GC_BUCKET_NS = 1_000_000

Processes = Callable[[], dict[str, int]]


def watch_processes(meter: Meter, processes: Processes) -> None:
    """Resident memory and CPU seconds. processes: role -> process id (this one, engine workers)."""
    meter.gauge("percept_process_resident_bytes", "resident memory", "process", read=lambda: _each(processes, resident))
    meter.counter(
        "percept_process_cpu_seconds_total",
        "processor time, user and system",
        "process",
        read=lambda: _each(processes, cpu_seconds),
    )


def _each(processes: Processes, measure: Callable[[int], float | None]) -> Samples:
    for role, pid in processes().items():
        value = measure(pid)
        if value is not None:
            yield (role,), value


def resident(pid: int) -> float | None:
    """Resident bytes of a process, None when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return float(int(file.read().split()[1]) * _PAGE)
    except (OSError, IndexError):
        return None


def cpu_seconds(pid: int) -> float | None:
    """CPU seconds of a process so far, None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, IndexError):
        return None


class GcWatch:
    """Counts pauses of the garbage collector between ``start`` and ``stop``."""

    def __init__(self, meter: Meter) -> None:
        text = "pauses of the garbage collector"
        histogram: Histogram = meter.histogram(
            "percept_gc_pause_seconds", text, "generation", width_ns=_GC_BUCKET_NS, number=20
        )
        self._rows: tuple[Buckets, ...] = tuple(histogram.labels(str(generation)) for generation in range(3))
        self._begun_ns = 0

    def start(self) -> None:
        """Begin to listen."""
        gc.callbacks.append(self._on_collection)

    def stop(self) -> None:
        """Stop listening. Safe to call twice."""
        if self._on_collection in gc.callbacks:
            gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, info: dict[str, int]) -> None:
        now_ns = time.perf_counter_ns()
        if phase == "start":
            self._begun_ns = now_ns
        elif self._begun_ns:
            self._rows[info["generation"]].observe(now_ns - self._begun_ns)


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Gpus:
    """Use of NVIDIA GPUs through NVML (libnvidia-ml.so.1); empty where there is no driver."""

    def __init__(self) -> None:
        self._handles: list[ctypes.c_void_p] = []
        try:
            self._nvml = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return
        count = ctypes.c_uint()
        if self._nvml.nvmlInit_v2() != 0 or self._nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return
        for index in range(count.value):
            handle = ctypes.c_void_p()
            if self._nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0:
                self._handles.append(handle)

    def register(self, meter: Meter) -> None:
        """Add the gauges."""
        meter.gauge("percept_gpu_utilisation_ratio", "share of time in which a kernel ran", "gpu", read=self._busy)
        meter.gauge("percept_gpu_memory_bytes", "device memory in use", "gpu", read=self._memory)

    def _busy(self) -> Iterator[tuple[tuple[str], float]]:
        for index, handle in enumerate(self._handles):
            seen = _Utilization()
            if self._nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(seen)) == 0:
                yield (str(index),), seen.gpu / 100

    def _memory(self) -> Iterator[tuple[tuple[str], float]]:
        for index, handle in enumerate(self._handles):
            seen = _Memory()
            if self._nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(seen)) == 0:
                yield (str(index),), float(seen.used)
