"""The OpenAPI document, made from the same field lists that the parser reads."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from percept_ros import __version__
from percept_ros.config import GatewayConfig
from percept_ros.gateway.fields import PerceiveFields, TensorFields
from percept_ros.types import Mode

_PLAIN = {int: "integer", float: "number", str: "string", bool: "boolean"}
_NAME = {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"}


def schema_of(kind: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of a settings type."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return schema_of(next(a for a in args if a is not type(None)), meta)
    if dataclasses.is_dataclass(kind):
        return _object(typing.cast("type[Any]", kind))
    if origin is tuple:
        return {"type": "array", "items": schema_of(args[0], meta), "maxItems": 16}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = schema_of(args[1], {})
        return {"type": "object", "additionalProperties": item, "maxProperties": 3}
    if kind is bytes:
        return {"type": "string", "format": "binary"}
    schema: dict[str, Any] = {"type": _PLAIN[kind]}
    for name, key in (("low", "minimum"), ("high", "maximum")):
        if meta.get(name) is not None:
            schema[key] = meta[name]
    if meta.get("choices"):
        schema["enum"] = list(meta["choices"])
    return schema


def _object(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    properties = {}
    for item in dataclasses.fields(kind):
        properties[item.name] = schema_of(hints[item.name], item.metadata) | {"description": item.metadata["doc"]}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _parameter(name: str, doc: str, schema: dict[str, Any], place: str = "header") -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "description": doc, "schema": schema}


def _answer(doc: str, schema: dict[str, Any] | None = None, kind: str = "application/json") -> dict[str, Any]:
    return {"description": doc, "content": {kind: {"schema": schema or {"type": "object"}}}}


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["reason", "message"],
            "properties": {"reason": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
_FRAME = {
    "type": "object",
    "required": ["stamp_ns", "frame_id", "mode", "model", "group", "tracks", "detections"],
    "properties": {
        "mode": {"type": "string", "enum": [mode.name for mode in Mode]},
        "tracks": {"type": "array", "items": {"type": "object"}},
        "detections": {"type": "array", "items": {"type": "object"}},
        "fallback": {"type": "boolean"},
    },
}
_REFUSED = {
    400: "the body cannot be read, or a header is wrong",
    408: "the body did not arrive in time",
    413: "the body is too large",
    415: "this kind of body is not taken",
    422: "the body says something impossible",
    429: "no worker is free: come back after Retry-After seconds",
    503: "no model is loaded, or its process ended",
}


def _perceive(config: GatewayConfig) -> dict[str, Any]:
    sensors, tensors = _object(PerceiveFields), _object(TensorFields)
    sensors["required"], tensors["required"] = ["stamp_ns"], ["tensors"]
    deadline = {"type": "number", "minimum": 1, "maximum": config.longest_deadline_ms}
    answers = {str(status): _answer(doc, _ERROR) for status, doc in _REFUSED.items()}
    late = {**_ERROR, "required": ["error", "fallback"], "properties": {**_ERROR["properties"], "fallback": _FRAME}}  # type: ignore[dict-item]
    form = {
        "type": "object",
        "properties": {
            "meta": {"type": "string", "description": "JSON: the fields of the msgpack body without data"},
            "points": {"type": "string", "format": "binary"},
            "images.front": {"type": "string", "format": "binary", "description": "one part images.NAME a camera"},
        },
    }
    return {
        "operationId": "perceive",
        "summary": "Detect, track and predict on one sensor set; or run a model on raw tensors",
        "parameters": [
            _parameter("x-deadline-ms", "time to answer; past it the answer is 504", deadline),
            _parameter("x-ab-test-group", "experiment group that shall answer", _NAME),
            _parameter("x-shadow", "experiment group that shall see the frame too; its answer is only compared", _NAME),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/msgpack": {"schema": {"anyOf": [sensors, tensors]}},
                "multipart/form-data": {"schema": form},
            },
        },
        "responses": {
            "200": _answer(
                "tracks, or output tensors", {"anyOf": [_FRAME, {"type": "object", "required": ["outputs"]}]}
            ),
            **answers,
            "504": _answer("the deadline passed; `fallback` holds what is known without detection", late),
        },
    }


def _get(name: str, doc: str, answer: dict[str, Any], *parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    responses = {"200": answer, **{str(status): _answer(text, _ERROR) for status, text in more.items()}}
    return {"operationId": name, "summary": doc, "parameters": list(parameters), "responses": responses}


def document(config: GatewayConfig, *, token: bool) -> dict[str, Any]:
    """The whole document."""
    camera = _parameter("name", "camera", {"type": "string"}, "path")
    session = _parameter("name", "session", {"type": "string"}, "path")
    health = {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}
    unhealthy = {"503": _answer("not well", health)}
    checks = {
        f"/healthz/{kind}": {
            "get": {
                "operationId": kind,
                "summary": doc,
                "responses": {"200": _answer("well", health), **unhealthy},
            }
        }
        for kind, doc in (
            ("liveness", "the process answers"),
            ("readiness", "models are loaded"),
            ("semantic", "answers make sense"),
        )
    }
    forget = {
        "operationId": "forget_session",
        "summary": "Forget the tracks of a session",
        "parameters": [session],
        "responses": {"200": _answer("forgotten"), "404": _answer("no such session", _ERROR)},
    }
    tree: dict[str, Any] = {
        "openapi": "3.0.3",
        "info": {"title": "percept_ros gateway", "version": __version__},
        "paths": {
            "/v1/perceive": {"post": _perceive(config)},
            "/v1/tracks": {"get": _get("tracks", "The newest frame", _answer("frame", _FRAME), **{"404": "no frame yet"})},
            "/v1/cameras/{name}": {
                "get": _get(
                    "camera", "Newest image of a camera, made smaller", _answer("image", {"type": "string", "format": "binary"}, "image/jpeg"),
                    camera, **{"404": "no such camera"},
                )
            },
            "/v1/sessions/{name}": {"delete": forget},
            "/v1/profiles": {"get": _get("profiles", "Profiles of the nodes, newest first", _answer("by service"))},
            "/v1/profiles/{service}/{name}": {
                "get": _get(
                    "flame", "A profile as a flame graph", _answer("page", {"type": "string"}, "text/html"),
                    *(_parameter(part, f"{part} of a profile", {"type": "string"}, "path") for part in ("service", "name")), **{"404": "no such profile"},
                )
            },
            "/status": {"get": _get("status", "How it is doing", _answer("status"))},
            "/metrics": {"get": _get("metrics", "Prometheus figures", _answer("figures", {"type": "string"}, "text/plain"))},
            **checks,
        },
    }  # fmt: skip
    if token:
        tree["components"] = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}
        tree["security"] = [{"token": []}]
    return tree
