"""What the TensorRT engine promises beyond the common contract."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import host_graphs
import host_machine
import numpy as np
import pytest
import vendor_cache

from percept_ros.errors import ArtefactRefused, DeadlineExceeded, EngineUnavailable, TensorMismatch
from percept_ros.inference import cuda_probe
from percept_ros.inference.cuda import DeviceThread
from percept_ros.inference.cuda_probe import NoGpu
from percept_ros.inference.tensorrt import Machine, TensorRTEngine


def rows(n: int) -> np.ndarray:
    return np.arange(4 * n, dtype=np.float32).reshape(n, 4)


def loaded(file: Path, machine: Machine) -> TensorRTEngine:
    engine = TensorRTEngine(file, None, machine)
    engine.load()
    return engine


@pytest.mark.parametrize(
    ("sidecar", "text"),
    [
        ({"version": "11.4.0.106"}, "needs it exactly, installed is 10.16.1.11"),
        ({"version": "11.4.0.106", "version_compatible": True}, "or a later version"),
        ({"compute_capability": "9.0"}, "built for compute capability 9.0, this Host memory has 8.9"),
        ({"device": "NVIDIA L40"}, "built on NVIDIA L40"),
        ({"driver": 14000}, "this one is older: 13000"),
        ({"engine_sha256": "0" * 64}, "is not the one that"),
    ],
)
def test_mismatch_is_refused_before_anything_is_opened(tmp_path: Path, sidecar: dict[str, Any], text: str) -> None:
    def never(index: int) -> Any:
        raise AssertionError("the device was opened")

    file = host_machine.engine_file(tmp_path / "a.plan", sidecar=sidecar)
    with pytest.raises(ArtefactRefused, match=text):
        loaded(file, host_machine.machine(never))


def test_older_version_compatible_engine_runs(tmp_path: Path) -> None:
    older = {"version": "10.3.0", "version_compatible": True}
    engine = loaded(host_machine.engine_file(tmp_path / "a.plan", sidecar=older), host_machine.machine())
    engine.close()


def test_engine_without_sidecar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.plan").write_bytes(b"{}")
    with pytest.raises(ArtefactRefused, match="percept models build"):
        loaded(tmp_path / "a.plan", host_machine.machine())


def test_no_driver_is_said_clearly(tmp_path: Path) -> None:
    def none() -> Any:
        raise NoGpu("no CUDA device: the NVIDIA driver is not installed")

    file = host_machine.engine_file(tmp_path / "a.plan")
    with pytest.raises(EngineUnavailable, match="no CUDA device"):
        loaded(file, replace(host_machine.machine(), gpus=none))


def test_probe_finds_the_driver_or_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor_cache.host_cuda(tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    (gpu,) = cuda_probe.gpus()
    assert gpu == host_machine.GPU
    vendor_cache.shared(
        tmp_path / "libcuda.so.1", "int cuInit(int f) { *(volatile int *)0 = 1; return 0; }", "libcuda.so.1"
    )
    with pytest.raises(NoGpu, match="the driver crashed"):
        cuda_probe.gpus()
    vendor_cache.shared(tmp_path / "libcuda.so.1", "int cuInit(int f) { return 100; }", "libcuda.so.1")
    with pytest.raises(NoGpu, match="error 100"):
        cuda_probe.gpus()


def test_shape_outside_the_profile(tmp_path: Path) -> None:
    engine = loaded(host_machine.engine_file(tmp_path / "a.plan"), host_machine.machine())
    with pytest.raises(TensorMismatch, match=r"outside the engine's profile \[1, 4\] to \[4096, 4\]"):
        engine.infer({"x": rows(5000)})
    assert engine.infer({"x": rows(3)})["y"].shape == (3, 4)
    engine.close()


def test_outputs_whose_size_the_data_decide(tmp_path: Path) -> None:
    engine = loaded(
        host_machine.engine_file(tmp_path / "a.plan", data_dependent=True), host_machine.machine(graphs=True)
    )
    for n in (4, 64, 8):
        np.testing.assert_array_equal(engine.infer({"x": rows(n)})["y"], (2 * rows(n) + 1)[: n // 2])
    engine.close()


def test_graphs_replay_after_the_second_call_of_a_shape(tmp_path: Path) -> None:
    engine = loaded(host_machine.engine_file(tmp_path / "a.plan"), host_machine.machine(graphs=True))
    before = host_graphs.launches
    for n in (8, 8, 8, 8, 2, 2, 2, 8):
        np.testing.assert_array_equal(engine.infer({"x": rows(n)})["y"], 2 * rows(n) + 1)
    assert host_graphs.launches - before == 6  # all but the first of each shape
    engine.close()


def test_graphs_are_dropped_when_buffers_move(tmp_path: Path) -> None:
    engine = loaded(host_machine.engine_file(tmp_path / "a.plan"), host_machine.machine(graphs=True))
    for n in (2, 2, 2, 4000, 2, 2, 2):
        np.testing.assert_array_equal(engine.infer({"x": rows(n)})["y"], 2 * rows(n) + 1)
    engine.close()


def test_deadline_does_not_wait_for_a_hanging_gpu() -> None:
    thread, gate = DeviceThread("test"), threading.Event()
    with pytest.raises(DeadlineExceeded):
        thread.call(gate.wait, time.monotonic_ns() + 1_000_000)
    gate.set()
    assert thread.call(lambda: 7) == 7
    thread.end()
    thread.end()


def test_pycuda_frees_everything_in_its_own_thread(tmp_path: Path) -> None:
    device = host_machine.pycuda_device(tmp_path)
    driver = ctypes.CDLL("libcuda.so.1")
    live = driver.host_cuda_live()
    for _ in range(3):
        engine = loaded(host_machine.engine_file(tmp_path / "a.plan"), host_machine.machine(device))
        engine.infer({"x": rows(100)})
        engine.close()
    assert driver.host_cuda_live() == live
    assert driver.host_cuda_references() == 0


def test_doctor_says_no_cuda_device() -> None:
    code = "from percept_ros.inference.tensorrt import availability as a; print(a())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=vendor_cache.child_env()
    )
    assert "no CUDA device" in done.stdout or "available=True" in done.stdout or "is not installed" in done.stdout
