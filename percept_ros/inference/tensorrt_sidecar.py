"""What a TensorRT engine file was built from and for, in a JSON file beside it.

Deserialising an engine of another version or device yields nothing but None, so this is compared first.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from percept_ros.errors import ArtefactRefused, ConfigError
from percept_ros.inference.cuda_probe import Gpu
from percept_ros.inference.manifest import sha256_of
from percept_ros.inference.options import ShapeRange
from percept_ros.settings import parse, setting

FLAVOURS = ("tensorrt", "tensorrt_rtx")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Facts about an engine file. device, compute_capability: "" for an engine built without a GPU."""

    flavour: str = setting("tensorrt", "run-time that opens it, a Python module", choices=FLAVOURS)
    version: str = setting("", "version of the run-time that built it")
    device: str = setting("", "name of the GPU it was built on")
    compute_capability: str = setting("", "compute capability of that GPU")
    driver: int = setting(0, "CUDA driver version at the build", low=0)
    onnx_sha256: str = setting("", "hash of the ONNX file it was built from")
    engine_sha256: str = setting("", "hash of the engine file")
    precision: str = setting("fp32", "precision", choices=("fp32", "fp16", "int8"))
    version_compatible: bool = setting(False, "runs on later versions; its file carries code of the run-time")
    profiles: tuple[dict[str, ShapeRange], ...] = setting((), "ranges of the dynamic shapes")


def path_of(engine: Path) -> Path:
    """Sidecar of an engine file."""
    return engine.with_name(engine.name + ".json")


def read(engine: Path) -> Sidecar:
    """Sidecar of ``engine``. Raises ArtefactRefused when it is missing or wrong."""
    file = path_of(engine)
    if not engine.is_file():
        raise ArtefactRefused(f"engine '{engine}' does not exist (percept models build makes it)")
    try:
        sidecar = parse(Sidecar, json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as exc:
        raise ArtefactRefused(
            f"engine '{engine}' has no '{file.name}' that says what it was built for: build it (percept models build)"
        ) from exc
    except (OSError, ValueError, ConfigError) as exc:
        raise ArtefactRefused(f"'{file}' cannot be read: {exc}") from exc
    if sidecar.engine_sha256 != sha256_of(engine):
        raise ArtefactRefused(f"engine '{engine}' is not the one that '{file.name}' describes: build it again")
    return sidecar


def write(engine: Path, sidecar: Sidecar) -> None:
    """Write the sidecar of ``engine`` at one stroke."""
    partial = engine.with_name(f".{engine.name}.json.{os.getpid()}")
    partial.write_text(json.dumps(asdict(sidecar), indent=1) + "\n", encoding="utf-8")
    partial.replace(path_of(engine))


def mismatches(sidecar: Sidecar, version: str, gpu: Gpu) -> list[str]:
    """Why an engine cannot run here, empty when it can."""
    found = []
    if not _version_fits(sidecar, version):
        kind = "or a later version" if sidecar.version_compatible else "exactly"
        found.append(f"built with {sidecar.flavour} {sidecar.version}, needs it {kind}, installed is {version}")
    if sidecar.compute_capability and sidecar.compute_capability != gpu.compute_capability:
        found.append(
            f"built for compute capability {sidecar.compute_capability}, this {gpu.name} has {gpu.compute_capability}"
        )
    elif sidecar.device and sidecar.device != gpu.name:
        found.append(f"built on {sidecar.device}, this device is {gpu.name}")
    if sidecar.driver > gpu.driver:
        found.append(f"built under CUDA driver {sidecar.driver}, this one is older: {gpu.driver}")
    return found


def _version_fits(sidecar: Sidecar, version: str) -> bool:
    if not sidecar.version_compatible:
        return sidecar.version == version
    return _numbers(sidecar.version) <= _numbers(version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
