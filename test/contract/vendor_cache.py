"""Vendor packages for tests, installed once into a cache folder; a test skips, saying why, where one cannot be had."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import percept_ros

HERE = Path(__file__).resolve().parent
BINDINGS = {10: "10.16.1.11", 11: "11.4.0.106"}
RTX = "1.7.1.116"
STUBS = ("libnvinfer", "libnvonnxparser", "libnvinfer_plugin")
TIMEOUT_S = 150


def cache() -> Path:
    """Cache folder, PERCEPT_TEST_CACHE or ~/.cache/percept_ros."""
    return Path(os.environ.get("PERCEPT_TEST_CACHE", Path.home() / ".cache" / "percept_ros"))


@functools.cache
def installed(name: str, *packages: str) -> Path:
    """Folder with ``packages``, installed without their dependencies. Skips where that fails."""
    target = cache() / f"{name}-py{sys.version_info[0]}{sys.version_info[1]}"
    if target.is_dir():
        return target
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    quiet = ["--quiet", "--no-compile", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    command = [sys.executable, "-m", "pip", "install", *quiet, "--no-deps", "--target", str(partial), *packages]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"{' '.join(packages)} was not installed within {TIMEOUT_S} s")
    if done.returncode != 0:
        shutil.rmtree(partial, ignore_errors=True)
        pytest.skip(f"{' '.join(packages)} cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    try:
        partial.replace(target)
    except OSError:  # another run was quicker
        shutil.rmtree(partial, ignore_errors=True)
    return target


def bindings(major: int) -> Path:
    """The real Python bindings of TensorRT 10 or 11 (without its libraries)."""
    version = BINDINGS[major]
    return named(installed(f"tensorrt-{version}", f"tensorrt-cu13-bindings=={version}"), "tensorrt")


def rtx() -> Path:
    """TensorRT-RTX with its libraries, which builds engines without a GPU."""
    parts = ("tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings")
    return named(installed(f"tensorrt-rtx-{RTX}", *(f"{part}=={RTX}" for part in parts)), "tensorrt_rtx")


def named(site: Path, module: str) -> Path:
    """Gives the bindings the name that the umbrella package, which is slow to install, would give them."""
    text = f"from {module}_bindings import *\nfrom {module}_bindings import __version__\n"
    if not (file := site / f"{module}.py").exists():
        file.write_text(text)
    return site


def pycuda() -> Path:
    """PyCUDA. Building it takes minutes, so it is only built when PERCEPT_BUILD_PYCUDA=1."""
    target = cache() / f"pycuda-py{sys.version_info[0]}{sys.version_info[1]}"
    if not target.is_dir() and os.environ.get("PERCEPT_BUILD_PYCUDA") != "1":
        pytest.skip("PyCUDA is not built (PERCEPT_BUILD_PYCUDA=1 builds it once, some minutes)")
    if not target.is_dir():
        build_pycuda(target)
    return target


def build_pycuda(target: Path, version: str = "2026.1") -> None:
    """Build PyCUDA against the CUDA toolkit, without a driver."""
    root = next(
        (p for p in sorted(Path("/usr/local").glob("cuda*"), reverse=True) if (p / "include/cuda.h").exists()), None
    )
    if root is None:
        pytest.skip("PyCUDA needs the CUDA toolkit (no /usr/local/cuda*/include/cuda.h)")
    work = target.with_name(".pycuda-build")
    shutil.rmtree(work, ignore_errors=True)
    (work / "lib").mkdir(parents=True)
    shared(work / "lib" / "libcuda.so", "void percept_stub(void) {}", "libcuda.so.1")
    settings = f"CUDA_ROOT = {str(root)!r}\nCUDA_ENABLE_CURAND = False\nCUDADRV_LIB_DIR = [{str(work / 'lib')!r}]\n"
    pip = [sys.executable, "-m", "pip"]
    subprocess.run(
        [*pip, "download", "-q", "--no-deps", "--no-binary", "pycuda", f"pycuda=={version}"], cwd=work, check=True
    )
    shutil.unpack_archive(next(work.glob("pycuda-*.tar.gz")), work)
    source = work / f"pycuda-{version}"
    (source / "siteconf.py").write_text(settings)
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", str(work / "site"), "."], cwd=source, check=True)
    (work / "site").replace(target)


def shared(file: Path, source: str, soname: str) -> Path:
    """A shared object from a line of C."""
    if (compiler := shutil.which("gcc")) is None:
        pytest.skip("no C compiler (gcc) to build stand-in libraries with")
    command = [compiler, "-shared", "-fPIC", "-x", "c", "-o", str(file), "-", f"-Wl,-soname,{soname}"]
    subprocess.run(command, input=source, text=True, check=True, capture_output=True)
    return file


def tensorrt_stubs(folder: Path, major: int) -> list[Path]:
    """Libraries with the C entry points that the bindings ask for; each answers null, as where CUDA cannot start."""
    entries = (
        *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
        *("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getBuilderPluginRegistry"),
        *("getPluginRegistry", "getNvOnnxParserVersion", "initLibNvInferPlugins"),
    )
    source = "".join(f"void *{entry}(void) {{ return 0; }}\n" for entry in entries)
    return [shared(folder / f"{name}.so.{major}", source, f"{name}.so.{major}") for name in STUBS]


def host_cuda(folder: Path) -> Path:
    """The host-memory driver as libcuda.so.1."""
    text = (
        (HERE / "host_cuda.c")
        .read_text()
        .replace('#include "host_cuda_missing.h"', (HERE / "host_cuda_missing.h").read_text())
    )
    return shared(folder / "libcuda.so.1", text, "libcuda.so.1")


def child_env() -> dict[str, str]:
    """Environment in which a child imports the same package as this process."""
    return {**os.environ, "PYTHONPATH": str(Path(percept_ros.__file__).resolve().parents[1])}
