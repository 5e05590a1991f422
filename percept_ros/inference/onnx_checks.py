"""What is checked of an ONNX file before a session opens it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from percept_ros.errors import ArtefactRefused, EngineUnavailable
from percept_ros.inference.tensors import all_finite


def check_model(file: Path) -> None:
    """Raise ArtefactRefused unless the file parses and no weight is NaN or infinite."""
    model = parse_model(file)
    if not model.graph.node:
        raise ArtefactRefused(f"'{file}' holds no graph: it is cut off or not an ONNX file")
    for name, array in weights(model):
        if array.dtype.kind == "f" and not all_finite(array):
            raise ArtefactRefused(f"weights '{name}' of '{file}' hold NaN or infinity: export the model again")


def parse_model(file: Path) -> Any:
    """The ModelProto of a file. Raises ArtefactRefused."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as exc:
        raise EngineUnavailable("onnx is not installed: pip install onnx") from exc
    try:
        model = onnx.load(str(file), load_external_data=False)
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as exc:
        raise ArtefactRefused(f"'{file}' is not a readable ONNX file (cut off or corrupt): {exc}") from exc
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise ArtefactRefused(f"'{file}' keeps weights in other files, which its sha256 does not cover: save it as one")
    return model


def weights(model: Any) -> Iterator[tuple[str, Any]]:
    """(name, array) of each constant weight of the main graph."""
    from onnx import numpy_helper

    for tensor in model.graph.initializer:
        yield tensor.name, numpy_helper.to_array(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield node.name or node.output[0], numpy_helper.to_array(attribute.t)
