"""Machines for the TensorRT engine on computers without a GPU: the run-time of host_tensorrt over ordinary memory, through
real PyCUDA on a host-memory driver where PyCUDA is installed, else through a device in Python."""

from __future__ import annotations

import ctypes
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import host_graphs
import host_tensorrt
import numpy as np
import pytest
import vendor_cache

from percept_ros.errors import InferenceError
from percept_ros.inference import tensorrt_sidecar
from percept_ros.inference.cuda import Device, PyCudaDevice
from percept_ros.inference.cuda_graph import GraphCache
from percept_ros.inference.cuda_probe import Gpu
from percept_ros.inference.manifest import sha256_of
from percept_ros.inference.tensorrt import Machine
from percept_ros.inference.tensorrt_sidecar import Sidecar

GPU = Gpu(0, "Host memory", "8.9", 1 << 30, 13000)


class HostDevice:
    """``Device`` over numpy arrays; counts what is not freed."""

    def __init__(self, index: int) -> None:
        self.live: dict[int, np.ndarray] = {}

    def allocate(self, nbytes: int) -> int:
        if nbytes > 1 << 30:
            raise InferenceError("CUDA: out of memory")
        memory = np.empty(max(nbytes, 1), np.uint8)
        self.live[memory.ctypes.data] = memory
        return memory.ctypes.data

    def free(self, address: int) -> None:
        del self.live[address]

    def pinned(self, nbytes: int) -> np.ndarray:
        return self.live[self.allocate(nbytes)]

    def unpin(self, memory: np.ndarray) -> None:
        self.free(memory.ctypes.data)

    def stream(self) -> Any:
        return object()

    def handle(self, stream: Any) -> int:
        return 1

    def copy_in(self, address: int, array: np.ndarray, stream: Any) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def copy_out(self, array: np.ndarray, address: int, stream: Any) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def follow(self, stream: Any, leader: Any) -> None:
        pass

    def wait(self, stream: Any) -> None:
        pass

    def close(self) -> None:
        assert not self.live, "device memory leaked"


def machine(device: Callable[[int], Device] = HostDevice, graphs: bool = False) -> Machine:
    """A machine with one GPU of host memory."""
    return Machine(
        gpus=lambda: (GPU,),
        tensorrt=lambda flavour: host_tensorrt,
        device=device,
        graphs=lambda: GraphCache(host_graphs) if graphs else None,
    )


def engine_file(
    file: Path, content: bytes | None = None, *, sidecar: dict[str, Any] | None = None, **plan: Any
) -> Path:
    """An engine of host_tensorrt with its sidecar."""
    file.write_bytes(content if content is not None else json.dumps({"a": 2, "b": 1, **plan}).encode())
    facts = {
        "version": host_tensorrt.__version__,
        "device": GPU.name,
        "compute_capability": GPU.compute_capability,
        "driver": GPU.driver,
        "engine_sha256": sha256_of(file),
    }
    tensorrt_sidecar.write(file, Sidecar(**{**facts, **(sidecar or {})}))
    return file


def pycuda_device(folder: Path) -> Callable[[int], Device]:
    """Real PyCUDA over the host-memory driver. Skips where PyCUDA cannot be had."""
    site = vendor_cache.pycuda()
    ctypes.CDLL(str(vendor_cache.host_cuda(folder)), ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(site))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pycuda.driver  # noqa: F401
    except ImportError as exc:
        pytest.skip(f"PyCUDA does not import: {exc}")
    finally:
        sys.path.remove(str(site))
    return PyCudaDevice
