"""Bodies of ``POST /v1/perceive``: msgpack or multipart in, a sensor set or tensors out, everything checked.

Two steps: ``unpack`` makes one nested mapping of a body (cheap; the binary parts are not looked into), ``read_sensors`` and
``read_tensors`` decode it (costly; meant for a worker). Whatever a caller sends ends in an InputError that says what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from percept_ros.errors import ConfigError, InputError
from percept_ros.gateway.fields import PerceiveFields, TensorFields
from percept_ros.settings import parse

MSGPACK = ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack")
MULTIPART = "multipart/form-data"
MAX_NODES, MAX_DEPTH, MAX_META_BYTES, MAX_TEXT = 20_000, 8, 256_000, 4096
_BINARY = re.compile(r"points\.data|(images|tensors)\.[^.]+\.data")
_IMAGE_PART = re.compile(r"images\.([A-Za-z0-9_]{1,64})")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A request after the first step: one of the two is None."""

    sensors: PerceiveFields | None
    tensors: TensorFields | None


async def unpack(content_type: str, body: bytes) -> Unpacked:
    """The typed fields of a body. Raises InputError (reasons: media_type, syntax, shape, field)."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind in MSGPACK:
        tree = unpack_msgpack(body)
    elif kind == MULTIPART:
        tree = await unpack_multipart(content_type, body)
    else:
        raise InputError(
            f"content type '{kind[:80]}' is not taken: send application/msgpack or {MULTIPART}", "media_type"
        )
    return typed(tree)


def unpack_msgpack(body: bytes) -> Any:
    """What a msgpack body holds."""
    try:
        return msgpack.unpackb(body, raw=False, strict_map_key=True, max_ext_len=0, max_str_len=MAX_TEXT)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as exc:
        raise InputError(
            f"body of {len(body)} bytes is no msgpack: {type(exc).__name__} {str(exc)[:200]}", "syntax"
        ) from exc


async def unpack_multipart(content_type: str, body: bytes) -> Any:
    """Parts ``meta`` (JSON), ``points`` (float32) and ``images.<name>`` (JPEG, PNG) as one nested mapping."""

    async def stream() -> AsyncIterator[bytes]:
        yield body

    headers = Headers({"content-type": content_type})
    parser = MultiPartParser(headers, stream(), max_files=40, max_fields=40, max_part_size=MAX_META_BYTES)  # type: ignore[arg-type]
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError, KeyError, UnicodeError, AssertionError) as exc:
        raise InputError(f"body of {len(body)} bytes is no multipart form: {str(exc)[:200]}", "syntax") from exc
    try:
        parts: dict[str, Any] = {}
        for name, value in form.multi_items():
            parts[name] = value.encode() if isinstance(value, str) else await value.read()
        return _joined(parts)
    finally:
        await form.close()


def _joined(parts: Mapping[str, bytes]) -> dict[str, Any]:
    meta = _meta(parts.get("meta", b"{}"))
    for name, data in parts.items():
        if name == "meta":
            continue
        if name == "points":
            _section(meta, "points")["data"] = data
        elif found := _IMAGE_PART.fullmatch(name):
            _section(_section(meta, "images"), found[1])["data"] = data
        else:
            raise InputError(f"part '{name[:80]}' is not known: send meta, points and images.NAME", "field")
    return meta


def _meta(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_META_BYTES:
        raise InputError(f"part 'meta' of {len(text)} bytes is too large, at most {MAX_META_BYTES} are taken", "shape")
    try:
        meta = json.loads(text.decode())
    except (ValueError, RecursionError) as exc:
        raise InputError(f"part 'meta' is no JSON: {str(exc)[:200]}", "syntax") from exc
    if not isinstance(meta, dict):
        raise InputError(f"part 'meta' must hold a JSON object, got {type(meta).__name__}", "syntax")
    return meta


def _section(tree: dict[str, Any], name: str) -> dict[str, Any]:
    section = tree.setdefault(name, {})
    if not isinstance(section, dict):
        raise InputError(f"'{name}' must be a mapping, got {type(section).__name__}", "shape")
    return section


def typed(tree: Any) -> Unpacked:
    """The fields of a nested mapping. Raises InputError for unknown keys, wrong types and values out of range."""
    if not isinstance(tree, Mapping):
        raise InputError(f"body must be a mapping, got {type(tree).__name__}", "shape")
    _check_shape(tree)
    kind: type[Any] = TensorFields if "tensors" in tree else PerceiveFields
    try:
        fields = parse(kind, tree)
    except (ConfigError, OverflowError) as exc:
        raise InputError(str(exc).replace("config ", "field ", 1)[:400], "field") from exc
    return Unpacked(None, fields) if kind is TensorFields else Unpacked(fields, None)


def _check_shape(tree: Mapping[Any, Any]) -> None:
    """Refuse what is too deep or too large to be looked at, and bytes where no data belong."""
    left, waiting = MAX_NODES, list[tuple[str, int, Any]]([("", 0, tree)])
    while waiting:
        path, depth, node = waiting.pop()
        left -= 1
        if left < 0 or depth > MAX_DEPTH:
            raise InputError(f"body holds more than {MAX_NODES} values or is nested deeper than {MAX_DEPTH}", "shape")
        if isinstance(node, Mapping):
            waiting += [(_below(path, key), depth + 1, value) for key, value in node.items()]
        elif isinstance(node, (list, tuple)):
            if len(node) > MAX_NODES:
                raise InputError(f"list '{path}' holds {len(node)} values, at most {MAX_NODES} are taken", "shape")
            waiting += [(f"{path}[]", depth + 1, value) for value in node]
        elif isinstance(node, (bytes, bytearray)) and not _BINARY.fullmatch(path):
            raise InputError(f"field '{path[:80]}' holds bytes, expected text or numbers", "field")
        elif isinstance(node, str) and len(node) > MAX_TEXT:
            raise InputError(f"field '{path[:80]}' holds {len(node)} characters, at most {MAX_TEXT} are taken", "field")


def _below(path: str, key: Any) -> str:
    if not isinstance(key, str) or len(key) > 64:
        raise InputError(f"keys must be text of at most 64 characters, got one in '{path[:80]}'", "field")
    return f"{path}.{key}" if path else key


def read_tensors(fields: TensorFields) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Name -> array. Raises InputError for data that does not fill its shape, and for values that are not finite."""
    arrays = {}
    for name, item in fields.tensors.items():
        kind, count = np.dtype(item.dtype), 1
        for size in item.shape:
            count *= size
        if count * kind.itemsize != len(item.data):
            wanted = f"{item.dtype}{list(item.shape)} takes {count * kind.itemsize}"
            raise InputError(f"tensor '{name}' holds {len(item.data)} bytes, {wanted}", "truncated")
        try:
            array = np.frombuffer(item.data, kind.newbyteorder("<")).astype(kind, copy=False).reshape(item.shape)
        except ValueError as exc:  # empty, with other sides beyond what an array can have
            raise InputError(f"tensor '{name}' cannot have shape {list(item.shape)[:16]}: {exc}", "shape") from exc
        if kind.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"tensor '{name}' holds NaN or infinity", "not_finite")
        arrays[name] = array
    return arrays
