"""ONNX in fp16: weights and arithmetic in half precision, inputs and outputs stay fp32."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from percept_ros.errors import ArtefactRefused, EngineUnavailable


def to_half(model: Any, keep: Iterable[str] = ()) -> Any:
    """A copy of an fp32 ModelProto in fp16, but for operators of the types ``keep``. Raises ArtefactRefused where it fails."""
    try:
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    except ImportError as exc:
        raise EngineUnavailable(f"onnxruntime's fp16 converter is not installed: {exc}") from exc
    copy = type(model)()
    copy.CopyFrom(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tiny weights that become the smallest half
            apart = [*DEFAULT_OP_BLOCK_LIST, *keep]
            return convert_float_to_float16(copy, keep_io_types=True, op_block_list=apart)
    except (ValueError, TypeError, RuntimeError) as exc:
        raise ArtefactRefused(f"the model cannot be converted to fp16: {exc}") from exc
