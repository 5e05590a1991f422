"""The CUDA sources compile where a compiler is; they run only where a GPU is, and no test here has one."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from engine_cases import KERNELS

CUDA = KERNELS / "cuda"


@pytest.fixture(scope="module")
def kernel_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (nvcc := shutil.which("nvcc")) is None:
        pytest.skip("no CUDA compiler (nvcc)")
    target = tmp_path_factory.mktemp("cuda") / "scatter_quantize.o"
    flags = ["-std=c++17", "-Xcompiler=-fPIC", "-gencode", "arch=compute_75,code=compute_75"]
    subprocess.run([nvcc, *flags, "-c", str(CUDA / "scatter_quantize.cu"), "-o", str(target)], check=True)
    return target


def test_kernel_compiles(kernel_object: Path) -> None:
    assert kernel_object.stat().st_size > 0


def test_plugin_compiles_against_tensorrt(kernel_object: Path, tmp_path: Path) -> None:
    include = Path(os.environ.get("TENSORRT_ROOT", "/usr")) / "include"
    cuda = Path(shutil.which("nvcc") or "/").resolve().parents[1] / "include"
    toolkits = [cuda, *(p / "include" for p in Path("/usr/local").glob("cuda*"))]
    runtime = next((p for p in toolkits if (p / "cuda_runtime_api.h").exists()), None)
    if not (include / "NvInferRuntime.h").exists() or runtime is None:
        pytest.skip(f"no TensorRT headers in {include} (TENSORRT_ROOT)")
    command = [
        "g++",
        "-std=c++17",
        "-fPIC",
        "-c",
        f"-isystem{include}",
        f"-I{runtime}",
        str(CUDA / "tensorrt_plugin.cpp"),
    ]
    subprocess.run([*command, "-o", str(tmp_path / "plugin.o")], check=True)
