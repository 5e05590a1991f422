"""Builds TensorRT engine files from ONNX, ahead of use. Never called while nodes are configured."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from percept_ros.errors import ArtefactRefused, EngineUnavailable, InputError
from percept_ros.inference import tensorrt_sidecar
from percept_ros.inference.cuda_probe import Gpu
from percept_ros.inference.half import to_half
from percept_ros.inference.manifest import sha256_of
from percept_ros.inference.onnx_checks import check_model, parse_model
from percept_ros.inference.options import Profile
from percept_ros.inference.tensorrt_api import make_logger, make_monitor
from percept_ros.inference.tensorrt_rtx import build_for_all
from percept_ros.inference.tensorrt_sidecar import Sidecar

Progress = Callable[[str, int, int], bool]
"""Called with (phase, steps done, steps); answers whether to go on."""


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What to build.

    precision: fp32; fp16 (the ONNX is converted, inputs and outputs stay fp32); int8 (the ONNX must hold Q/DQ nodes).
    profiles: ranges of dynamic shapes. timing_cache: file that is read before and written after. gpu: the device that
    the engine is for; None only with TensorRT-RTX, which then builds for the architectures it names. level: 0 to 5.
    """

    onnx: Path
    target: Path
    precision: str = "fp32"
    profiles: tuple[Profile, ...] = ()
    plugins: tuple[Path, ...] = ()
    timing_cache: Path | None = None
    gpu: Gpu | None = None
    level: int = 3
    version_compatible: bool = False


def build_engine(trt: Any, order: BuildOrder, progress: Progress) -> Sidecar:
    """Build, then write the engine and its sidecar at one stroke. Raises ArtefactRefused or EngineUnavailable."""
    source = strongly_typed_source(order.onnx, order.precision)
    logger = make_logger(trt)  # no error recorder: a parser over a recorded network crashes when it is freed
    builder = _builder(trt, logger, order.plugins)
    network = _parse(trt, builder, logger, source, order.onnx)
    config, held = _configure(trt, builder, network, order, progress)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ArtefactRefused(f"TensorRT cannot build '{order.onnx}': {'; '.join(logger.texts) or 'see the log'}")
    _keep_timing(trt, config, order.timing_cache)
    del held
    return _store(trt, order, bytes(plan))


def strongly_typed_source(onnx: Path, precision: str) -> bytes:
    """ONNX bytes whose types are those of ``precision``. Raises ArtefactRefused."""
    check_model(onnx)
    model = parse_model(onnx)
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    if precision == "int8" and not quantised:
        raise ArtefactRefused(
            f"'{onnx}' has no Q/DQ nodes: quantise it first (percept models quantize --target tensorrt)"
        )
    if precision != "int8" and quantised:
        raise ArtefactRefused(f"'{onnx}' has Q/DQ nodes and is int8: build {precision} from the model's fp32 file")
    source: bytes = (to_half(model) if precision == "fp16" else model).SerializeToString()
    return source


def _builder(trt: Any, logger: Any, plugins: Sequence[Path]) -> Any:
    try:
        builder = trt.Builder(logger)
    except TypeError as exc:  # the factory answers null where CUDA cannot start
        raise EngineUnavailable(
            f"TensorRT {trt.__version__} cannot start a builder here (no CUDA device?): {exc}"
        ) from exc
    for library in plugins:
        if builder.get_plugin_registry().load_library(str(library)) is None:
            raise ArtefactRefused(f"TensorRT refuses the plug-in library '{library}'")
    return builder


def _parse(trt: Any, builder: Any, logger: Any, source: bytes, onnx: Path) -> Any:
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(source):
        reasons = [_parser_error(parser.get_error(i)) for i in range(parser.num_errors)]
        raise ArtefactRefused(f"TensorRT {trt.__version__} cannot parse '{onnx}': {'; '.join(reasons)}")
    return network


def _parser_error(error: Any) -> str:
    node = f" (node '{error.node_name()}', {error.node_operator()})" if error.node_operator() else ""
    return f"{error.desc()}{node}"


def _configure(trt: Any, builder: Any, network: Any, order: BuildOrder, progress: Progress) -> tuple[Any, list[Any]]:
    config = builder.create_builder_config()
    config.builder_optimization_level = order.level
    config.progress_monitor = monitor = make_monitor(trt, progress)
    held = [monitor, _add_timing(trt, config, order.timing_cache)]
    if order.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if order.gpu is None:
        build_for_all(trt, config)
    for profile in profiles_for(network, order.profiles):
        made = builder.create_optimization_profile()
        for name, shapes in profile.items():
            made.set_shape(name, shapes.min, shapes.usual, shapes.max)
        if config.add_optimization_profile(made) < 0:
            raise InputError(f"TensorRT refuses the profile {dict(profile)} of '{order.onnx}'")
        held.append(made)
    return config, held


def profiles_for(network: Any, profiles: tuple[Profile, ...]) -> tuple[Profile, ...]:
    """The given profiles, checked to cover every dynamic input. Raises InputError."""
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    dynamic = {tensor.name: tuple(tensor.shape) for tensor in inputs if -1 in tuple(tensor.shape)}
    for profile in profiles or ({},):
        for name, shape in dynamic.items():
            if name not in profile:
                raise InputError(f"input '{name}' has the dynamic shape {list(shape)} and needs a profile (--profile)")
    names = {tensor.name for tensor in inputs}
    for profile in profiles:
        if unknown := sorted(set(profile) - names):
            raise InputError(f"profile names '{unknown[0]}', the model's inputs are {', '.join(sorted(names))}")
    return profiles if dynamic else ()


def _add_timing(trt: Any, config: Any, file: Path | None) -> Any:
    """Give the builder its earlier timings; those of another device are set aside. TensorRT-RTX keeps none."""
    if file is None or trt.__name__ != "tensorrt":
        return None
    known = file.read_bytes() if file.exists() else b""
    for content in (known, b""):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):
            return cache
    return None


def _keep_timing(trt: Any, config: Any, file: Path | None) -> None:
    if file is None or trt.__name__ != "tensorrt" or (cache := config.get_timing_cache()) is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_at_once(file, bytes(cache.serialize()))


def _store(trt: Any, order: BuildOrder, plan: bytes) -> Sidecar:
    write_at_once(order.target, plan)
    gpu = order.gpu
    sidecar = Sidecar(
        flavour=trt.__name__,
        version=trt.__version__,
        device=gpu.name if gpu else "",
        compute_capability=gpu.compute_capability if gpu else "",
        driver=gpu.driver if gpu else 0,
        onnx_sha256=sha256_of(order.onnx),
        engine_sha256=sha256_of(order.target),
        precision=order.precision,
        version_compatible=order.version_compatible,
        profiles=tuple(dict(profile) for profile in order.profiles),
    )
    tensorrt_sidecar.write(order.target, sidecar)
    return sidecar


def write_at_once(file: Path, content: bytes) -> None:
    """Replace ``file`` with ``content``; a reader sees the old or the new, never a part."""
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    except OSError as exc:
        with suppress(OSError):
            partial.unlink()
        raise InputError(f"'{file}' cannot be written: {exc}") from exc
