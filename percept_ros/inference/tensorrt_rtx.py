"""What only TensorRT-RTX can: build engines without a GPU, for every architecture that it knows."""

from __future__ import annotations

from typing import Any

from percept_ros.errors import EngineUnavailable


def build_for_all(trt: Any, config: Any) -> None:
    """Build for every architecture that the run-time knows: only TensorRT-RTX can, and needs no GPU for it."""
    if not hasattr(trt, "ComputeCapability"):
        raise EngineUnavailable("no CUDA device: TensorRT times its kernels on the GPU that the engine is for")
    known = [c for name, c in trt.ComputeCapability.__members__.items() if name.startswith("SM")]
    config.num_compute_capabilities = len(known)
    for index, capability in enumerate(known):
        if not config.set_compute_capability(capability, index):
            raise EngineUnavailable(f"TensorRT-RTX refuses to build for {capability}")
