"""``percept models build``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from percept_ros.cli.output import emit_json, note
from percept_ros.errors import EngineUnavailable, InputError, ManifestError
from percept_ros.inference import cuda_probe
from percept_ros.inference.manifest import (
    FILE_NAME,
    PRECISIONS,
    Artefact,
    Manifest,
    find_model,
    load_manifest,
    sha256_of,
    write_manifest,
)
from percept_ros.inference.options import Profile, ShapeRange

app = typer.Typer(add_completion=False, rich_markup_mode=None)
CACHE = Path.home() / ".cache" / "percept_ros" / "tensorrt"


@app.command()
def build(
    model: str = typer.Argument(help="folder of a model, or name of an installed one"),
    precision: str = typer.Option("fp16", help="fp32, fp16 or int8 (int8 needs a Q/DQ file: percept models quantize)"),
    profile: list[str] = typer.Option([], help="range of a dynamic input, MINxUSUALxMAX as x:1x4,2x4,8x4"),
    device: int = typer.Option(0, min=0, help="index of the GPU the engine is for"),
    level: int = typer.Option(3, min=0, max=5, help="builder effort"),
    flavour: str = typer.Option("tensorrt", help="tensorrt, or tensorrt_rtx (which builds without a GPU)"),
    part: str = typer.Option("", help="part of a model of several graphs"),
    version_compatible: bool = typer.Option(False, help="engine that later versions run too (trusted files only)"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Build a TensorRT engine for this machine's GPU and put it first in the model's manifest.

    Example: percept models build lidar_pillars --precision fp16
    """
    from percept_ros.inference.tensorrt_api import import_tensorrt
    from percept_ros.inference.tensorrt_build import BuildOrder, build_engine

    manifest = load_manifest(find_model(model))
    source = onnx_source(manifest, precision, part)
    gpu = None if flavour == "tensorrt_rtx" else _gpu(device)
    trt = import_tensorrt(flavour)
    target = manifest.folder / _file_name(source, precision, flavour, gpu)
    order = BuildOrder(
        onnx=manifest.folder / source.file,
        target=target,
        precision=precision,
        profiles=parse_profiles(profile) or manifest.profiles,
        plugins=tuple(manifest.folder / p.rpartition(":")[0] for p in source.plugins),
        timing_cache=CACHE / f"{flavour}-{trt.__version__}-{gpu.name.replace(' ', '_') if gpu else 'any'}.timing",
        gpu=gpu,
        level=level,
        version_compatible=version_compatible,
    )
    note(f"building {target.name} with {flavour} {trt.__version__}, this can take minutes")
    sidecar = build_engine(trt, order, _teller())
    made = Artefact(target.name, "tensorrt", precision, sidecar.engine_sha256, part=part)
    others = tuple(a for a in manifest.artefacts if a.file != target.name)
    write_manifest(replace(manifest, artefacts=(made, *others)), manifest.folder)
    answer = {
        "file": str(target),
        "precision": precision,
        "version": sidecar.version,
        "device": sidecar.device,
        "ok": True,
    }
    emit_json(answer) if as_json else note(f"built {target}; it is now first in {FILE_NAME}")


def onnx_source(manifest: Manifest, precision: str, part: str) -> Artefact:
    """The ONNX artefact an engine of ``precision`` is built from. Raises ManifestError."""
    if precision not in PRECISIONS:
        raise InputError(f"precision '{precision}' is none of {', '.join(PRECISIONS)}")
    wanted = "int8" if precision == "int8" else "fp32"
    for artefact in manifest.artefacts:
        if (artefact.format, artefact.precision, artefact.part) == ("onnx", wanted, part):
            if sha256_of(manifest.folder / artefact.file) != artefact.sha256:
                raise ManifestError(f"'{artefact.file}' is not the manifest's file (percept models verify)")
            return artefact
    raise ManifestError(f"model '{manifest.name}' has no {wanted} ONNX to build {precision} from")


def parse_profiles(texts: list[str]) -> tuple[Profile, ...]:
    """One profile from ``name:1x4,2x4,8x4`` texts. Raises InputError."""
    profile = {}
    for text in texts:
        name, _, ranges = text.rpartition(":")
        try:
            low, usual, high = (tuple(int(d) for d in part.split("x")) for part in ranges.split(","))
        except ValueError:
            raise InputError(f"profile '{text}' must read name:MIN,USUAL,MAX with shapes as 1x4") from None
        profile[name] = ShapeRange(low, usual, high)
    return (profile,) if profile else ()


def _gpu(index: int) -> cuda_probe.Gpu:
    try:
        return cuda_probe.gpus()[index]
    except cuda_probe.NoGpu as exc:
        raise EngineUnavailable(f"{exc}; TensorRT builds an engine on the GPU that will run it") from exc
    except IndexError:
        raise EngineUnavailable(f"there is no CUDA device {index} (percept doctor lists them)") from None


def _file_name(source: Artefact, precision: str, flavour: str, gpu: cuda_probe.Gpu | None) -> str:
    stem = Path(source.file).stem.removesuffix("_int8")
    where = f"sm{gpu.compute_capability.replace('.', '')}" if gpu else flavour
    return f"{stem}_{precision}_{where}.plan"


def _teller() -> Any:
    said: dict[str, int] = {}

    def say(phase: str, step: int, steps: int) -> bool:
        tenth = 10 * step // max(steps, 1)
        if said.get(phase) != tenth and steps > 1:
            said[phase] = tenth
            note(f"  {phase}: {step} of {steps}")
        return True

    return say
