"""The C interface of kernels/percept_engine.h in ctypes, and the trial of an engine in a child process.

Imports the standard library alone: the child runs this file by path, without site packages, so that it starts quickly
and takes nothing of this package down with it.
"""

from __future__ import annotations

import ctypes
import json
import math
import sys
from typing import Any

ABI = 1
MAX_RANK = 8
OK, LATE, BAD_INPUT, FAILED = range(4)
DTYPES = {
    1: ("float32", 4),
    2: ("float16", 2),
    3: ("int64", 8),
    4: ("int32", 4),
    5: ("int8", 1),
    6: ("uint8", 1),
    7: ("bool", 1),
}
CODES = {name: code for code, (name, _) in DTYPES.items()}
MAX_TENSORS = 64


class KernelRefused(Exception):
    """A shared object is no engine that this host can use."""


class CTensorSpec(ctypes.Structure):
    """percept_tensor_spec."""

    _fields_ = (
        ("name", ctypes.c_char * 64),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * MAX_RANK),
    )


class CTensor(ctypes.Structure):
    """percept_tensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("capacity_bytes", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("shape", ctypes.c_int64 * MAX_RANK),
    )


class CEngine(ctypes.Structure):
    """percept_engine."""


ENGINE = ctypes.POINTER(CEngine)
TENSORS = ctypes.POINTER(CTensor)
OUTPUT_SHAPES = ctypes.CFUNCTYPE(ctypes.c_int32, ENGINE, TENSORS, TENSORS)
RUN = ctypes.CFUNCTYPE(ctypes.c_int32, ENGINE, TENSORS, TENSORS, ctypes.c_int64)
ERROR = ctypes.CFUNCTYPE(ctypes.c_char_p, ENGINE)
DESTROY = ctypes.CFUNCTYPE(None, ENGINE)
CEngine._fields_ = (
    ("abi", ctypes.c_uint32),
    ("size_bytes", ctypes.c_uint32),
    ("state", ctypes.c_void_p),
    ("input_count", ctypes.c_int32),
    ("output_count", ctypes.c_int32),
    ("inputs", ctypes.POINTER(CTensorSpec)),
    ("outputs", ctypes.POINTER(CTensorSpec)),
    ("output_shapes", OUTPUT_SHAPES),
    ("run", RUN),
    ("error", ERROR),
    ("destroy", DESTROY),
)

Spec = tuple[str, str, tuple[int, ...]]  # name, dtype, shape


def open_library(file: str) -> ctypes.CDLL:
    """dlopen with the ABI checked. Raises KernelRefused."""
    try:
        library = ctypes.CDLL(file)
    except OSError as exc:
        raise KernelRefused(f"cannot be opened: {exc}") from exc
    for symbol in ("percept_engine_abi", "create_engine"):
        if not hasattr(library, symbol):
            raise KernelRefused(f"does not export {symbol}(): it is no percept engine (kernels/percept_engine.h)")
    library.percept_engine_abi.restype = ctypes.c_int32
    if (found := library.percept_engine_abi()) != ABI:
        raise KernelRefused(
            f"has engine ABI {found}, expected {ABI}: compile it against this version's percept_engine.h"
        )
    return library


def create(library: ctypes.CDLL, folder: str) -> Any:
    """Pointer to a new engine. Raises KernelRefused with the engine's own text."""
    text = ctypes.create_string_buffer(512)
    make = library.create_engine
    make.restype, make.argtypes = ENGINE, [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int64]
    engine = make(folder.encode(), text, len(text))
    if not engine:
        raise KernelRefused(f"create_engine() failed: {text.value.decode(errors='replace') or 'no reason given'}")
    made = engine.contents
    if made.abi != ABI or made.size_bytes != ctypes.sizeof(CEngine):
        sizes = f"ABI {made.abi} and {made.size_bytes} bytes, expected {ABI} and {ctypes.sizeof(CEngine)}"
        raise KernelRefused(f"made an engine of {sizes}: compile it against this version's percept_engine.h")
    if not (made.run and made.destroy and made.error):
        raise KernelRefused("made an engine without run, error or destroy")
    return engine


def describe(count: int, specs: Any) -> list[Spec]:
    """Name, dtype and shape of each tensor. Raises KernelRefused for impossible ones."""
    if not 0 < count <= MAX_TENSORS or not specs:
        raise KernelRefused(f"describes {count} tensors, expected 1 to {MAX_TENSORS}")
    found = []
    for spec in (specs[i] for i in range(count)):
        if spec.dtype not in DTYPES or not 0 <= spec.rank <= MAX_RANK:
            raise KernelRefused(f"describes a tensor of dtype {spec.dtype} and rank {spec.rank}")
        found.append((spec.name.decode(), DTYPES[spec.dtype][0], tuple(spec.shape[: spec.rank])))
    return found


def fill(tensor: CTensor, address: int | None, capacity: int, dtype: str, shape: tuple[int, ...]) -> None:
    """Point ``tensor`` at memory."""
    tensor.data, tensor.capacity_bytes, tensor.dtype, tensor.rank = address, capacity, CODES[dtype], len(shape)
    for i, size in enumerate(shape):
        tensor.shape[i] = size


def shape_of(tensor: CTensor) -> tuple[int, ...]:
    """Its shape as the engine left it."""
    return tuple(tensor.shape[: max(0, min(tensor.rank, MAX_RANK))])


def try_engine(file: str, folder: str, shapes: dict[str, list[int]]) -> dict[str, Any]:
    """Open, create, run on zeros and destroy; what an engine that survives says of itself."""
    _say("opening")
    library = open_library(file)
    _say("create_engine")
    engine = create(library, folder)
    inputs = describe(engine.contents.input_count, engine.contents.inputs)
    outputs = describe(engine.contents.output_count, engine.contents.outputs)
    _say("run")
    status = _run_on_zeros(engine, inputs, outputs, shapes)
    _say("destroy")
    engine.contents.destroy(engine)
    _say("done")
    return {"inputs": inputs, "outputs": outputs, "status": status}


def _run_on_zeros(engine: Any, inputs: list[Spec], outputs: list[Spec], shapes: dict[str, list[int]]) -> int:
    given, made = (CTensor * len(inputs))(), (CTensor * len(outputs))()
    keep = []
    for tensor, (name, dtype, shape) in zip(given, inputs, strict=True):
        usual = tuple(shapes.get(name) or [1 if d == -1 else d for d in shape])
        keep.append(_zeros(tensor, dtype, usual))
    for tensor, (_, dtype, shape) in zip(made, outputs, strict=True):
        fill(tensor, None, 0, dtype, tuple(1 if d == -1 else d for d in shape))
    if engine.contents.output_shapes:
        status = int(engine.contents.output_shapes(engine, given, made))
        if status != OK:
            return status
    for tensor, (_, dtype, _shape) in zip(made, outputs, strict=True):
        keep.append(_zeros(tensor, dtype, shape_of(tensor)))
    return int(engine.contents.run(engine, given, made, 0))


def _zeros(tensor: CTensor, dtype: str, shape: tuple[int, ...]) -> Any:
    size = math.prod(shape) * DTYPES[CODES[dtype]][1]
    buffer = ctypes.create_string_buffer(max(size, 1))
    fill(tensor, ctypes.addressof(buffer), size, dtype, shape)
    return buffer


def _say(stage: str) -> None:
    sys.stdout.write(f"stage {stage}\n")
    sys.stdout.flush()


def main(argv: list[str]) -> int:
    """Child process: ``kernel_abi.py FILE FOLDER SHAPES_JSON``; the last line is the answer as JSON."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = try_engine(argv[1], argv[2], json.loads(argv[3]))
    except KernelRefused as exc:
        answer = {"refused": str(exc)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
