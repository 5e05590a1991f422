"""The ASGI application: routes, and what each error becomes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from percept_ros import __version__
from percept_ros.config import Config
from percept_ros.errors import (
    DeadlineExceeded,
    InputError,
    ModelError,
    PerceptError,
    ResourceExhausted,
    TensorMismatch,
)
from percept_ros.gateway.answer import JSON, MSGPACK, encode, error_answer, frame_answer
from percept_ros.gateway.feed import Feed
from percept_ros.gateway.guard import Guard, Refusal, read_body
from percept_ros.gateway.health import Checks
from percept_ros.gateway.metrics import CONTENT_TYPE, GatewayMetrics
from percept_ros.gateway.openapi import document
from percept_ros.gateway.perceiver import Perceiver
from percept_ros.gateway.profiles import FLAME_POLICY, Profiles
from percept_ros.gateway.request import unpack
from percept_ros.gateway.runner import Done, Job
from percept_ros.observe.telemetry import open_telemetry

PAGE = Path(__file__).with_name("page")
PERCEIVE = "/v1/perceive"
_GROUP = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_SYNTAX = {"media_type": 415, "syntax": 400, "shape": 400}
_GRACE_S = 0.05
"""How long past its deadline a call waits for the worker to say so itself."""
_log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class Gateway:
    """The application around one perceiver. ``token``: what callers must send, "" = nothing."""

    def __init__(self, perceiver: Perceiver, *, token: str = "") -> None:
        self.perceiver, self.config = perceiver, perceiver.config
        limits = self.config.gateway
        self.feed = Feed(limits.viewers)
        perceiver.on_frame = self.feed.take
        self.metrics = GatewayMetrics(perceiver, self.feed)
        self.metrics.others = lambda: perceiver.telemetry.exposition()[0]
        self.checks = Checks(perceiver, self.feed)
        self.profiles = Profiles(self.config.observe.profile_folder)
        self._started = time.monotonic()
        self._document = encode(document(limits, token=bool(token)), JSON)
        self.app = Starlette(
            routes=self._routes(),
            middleware=[Middleware(Guard, config=limits, token=token)],
            exception_handlers={HTTPException: _http_error, Exception: _defect},
            lifespan=self._lifespan,
        )

    def _routes(self) -> list[Route | Mount]:
        return [
            Route("/", self._page, methods=["GET"]),
            Mount("/page", StaticFiles(directory=PAGE), name="page"),
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route(PERCEIVE, self._timed(PERCEIVE, self._perceive), methods=["POST"]),
            Route("/v1/tracks", self._timed("/v1/tracks", self._tracks), methods=["GET"]),
            Route("/v1/tracks/stream", self._timed("/v1/tracks/stream", self._stream), methods=["GET"]),
            Route("/v1/cameras/{name}", self._timed("/v1/cameras", self._camera), methods=["GET"]),
            Route("/v1/sessions/{name}", self._timed("/v1/sessions", self._forget), methods=["DELETE"]),
            Route("/v1/profiles", self._timed("/v1/profiles", self._profiles), methods=["GET"]),
            Route("/v1/profiles/{service}/{name}", self._timed("/v1/profiles", self._flame), methods=["GET"]),
            Route("/healthz/{kind}", self._health, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/status", self._status, methods=["GET"]),
        ]

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Load models beside the event loop, so that liveness answers meanwhile."""
        loading = asyncio.create_task(run_in_threadpool(self.checks.load))
        try:
            yield
        finally:
            self.checks.draining = True
            await asyncio.wait([loading])
            await run_in_threadpool(self.perceiver.close)
            await run_in_threadpool(self.perceiver.telemetry.close)

    # Calls

    def _timed(self, path: str, handler: Handler) -> Handler:
        async def timed(request: Request) -> Response:
            begin = time.perf_counter()
            try:
                response = await handler(request)
            except (PerceptError, Refusal) as exc:
                response = _error(exc)
            group = response.headers.get("x-ab-result", "")
            self.metrics.call(path, response.status_code, time.perf_counter() - begin, group)
            return response

        return timed

    async def _perceive(self, request: Request) -> Response:
        arrived_ns = time.monotonic_ns()
        deadline_ns = arrived_ns + int(self._deadline_ms(request) * 1e6)
        group, shadow = _group(request, "x-ab-test-group"), _group(request, "x-shadow")
        media = MSGPACK if MSGPACK in request.headers.get("accept", "") else JSON
        self.perceiver.enter()
        try:
            limits = self.config.gateway
            body = await read_body(request, int(limits.max_body_mb * 1e6), limits.body_timeout_s)
            unpacked = await unpack(request.headers.get("content-type", ""), body)
            del body
            session = self.perceiver.session(_session(unpacked.sensors.session)) if unpacked.sensors else None
            trace = request.headers.get("traceparent", "")[:200]
            job = Job(unpacked, session, deadline_ns, arrived_ns, media, group, shadow, trace)
            return await self._answer(job)
        finally:
            self.perceiver.leave()

    async def _answer(self, job: Job) -> Response:
        left_s = (job.deadline_ns - time.monotonic_ns()) * 1e-9 + _GRACE_S
        try:
            done = await asyncio.wait_for(self.perceiver.answer(job), max(0.0, left_s))
        except (DeadlineExceeded, asyncio.TimeoutError) as exc:
            return self._late(job, exc)
        if done.mode:
            self.metrics.frame(done.mode, done.model, done.queue_ms)
        return Response(done.body, 200, _headers(done), job.media)

    def _late(self, job: Job, exc: Exception) -> Response:
        text = str(exc) or "the worker did not answer in time"
        fallback = self.perceiver.coast(job) | {"fallback": True}
        body = encode(error_answer("deadline", text, fallback=fallback), job.media)
        return Response(body, 504, {"x-percept-fallback": fallback["mode"].lower()}, job.media)

    def _deadline_ms(self, request: Request) -> float:
        limits, text = self.config.gateway, request.headers.get("x-deadline-ms")
        if text is None:
            return limits.deadline_ms
        try:
            wanted = float(text)
        except ValueError:
            wanted = math.nan
        if not 1.0 <= wanted <= limits.longest_deadline_ms:
            raise Refusal(
                400, "deadline", f"x-deadline-ms must be 1 to {limits.longest_deadline_ms:g}, got '{text[:40]}'"
            )
        return wanted

    async def _tracks(self, _: Request) -> Response:
        seen = self.feed.newest
        if seen is None:
            raise Refusal(404, "no_frame", "no frame was answered yet")
        return Response(encode(frame_answer(seen.result, seen.names), JSON), media_type=JSON)

    async def _stream(self, _: Request) -> Response:
        if self.feed.viewers >= self.config.gateway.viewers:
            raise ResourceExhausted(f"{self.feed.viewers} viewers look on already", 5.0)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self.feed.events(), headers=headers, media_type="text/event-stream")

    async def _camera(self, request: Request) -> Response:
        picture = await run_in_threadpool(self.feed.picture, request.path_params["name"].removesuffix(".jpg"))
        if picture is None:
            raise Refusal(404, "no_camera", "no image of this camera yet")
        return Response(picture, media_type="image/jpeg", headers={"cache-control": "no-store"})

    async def _forget(self, request: Request) -> Response:
        if not self.perceiver.forget(request.path_params["name"]):
            raise Refusal(404, "no_session", "there is no such session")
        return Response(encode({"forgotten": True}, JSON), media_type=JSON)

    # How it is doing

    async def _health(self, request: Request) -> Response:
        answer = self.checks.answer(request.path_params["kind"])
        if answer is None:
            return _error(Refusal(404, "no_check", "there are liveness, readiness and semantic"))
        return Response(encode(answer, JSON), 200 if answer["ok"] else 503, media_type=JSON)

    async def _profiles(self, _: Request) -> Response:
        return Response(encode(await run_in_threadpool(self.profiles.listed), JSON), media_type=JSON)

    async def _flame(self, request: Request) -> Response:
        service, name = request.path_params["service"], request.path_params["name"]
        page = await run_in_threadpool(self.profiles.flame, service, name)
        return Response(page, headers=FLAME_POLICY, media_type="text/html")

    async def _metrics(self, _: Request) -> Response:
        return Response(await run_in_threadpool(self.metrics.text), headers={"content-type": CONTENT_TYPE})

    async def _status(self, _: Request) -> Response:
        return Response(encode(self.status(), JSON), media_type=JSON)

    def status(self) -> dict[str, Any]:
        """Everything an operator may want to see at a glance."""
        perceiver, newest = self.perceiver, self.feed.newest
        recent = list(perceiver.latencies_ms)
        p50, p99 = (float(v) for v in np.percentile(recent, (50, 99))) if recent else (None, None)
        result = newest.result if newest else None
        return {
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "ready": perceiver.ready,
            "mode": result.mode.name if result else "STALE",
            "cause": result.cause if result else "no frame yet",
            "model": result.model if result else "",
            "group": result.group if result else "",
            "latency_ms": {"p50": p50, "p99": p99, "frames": len(recent)},
            "entered": perceiver.entered,
            "requests": perceiver.counters(),
            "faults": perceiver.faults(),
            "models": [list(p.detector.models) for p in perceiver.pipelines],
            "breakers": [list(p.breakers) for p in perceiver.pipelines],
            "experiment": [state for p in perceiver.pipelines if (state := getattr(p.detector, "state", None))],
            "refused_models": [reason for p in perceiver.pipelines for reason in p.detector.refused],
            "sessions": len(perceiver.sessions),
            "viewers": self.feed.viewers,
            "frames": self.feed.frames,
            "limits": dataclasses.asdict(self.config.gateway) | {"token_file": bool(self.config.gateway.token_file)},
        }

    async def _openapi(self, _: Request) -> Response:
        return Response(self._document, media_type=JSON)

    async def _page(self, _: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache", **PAGE_POLICY})


PAGE_POLICY = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
}


def _headers(done: Done) -> dict[str, str]:
    headers = {
        "x-percept-model": done.model,
        "server-timing": f"queue;dur={done.queue_ms:.2f}, run;dur={done.run_ms:.2f}",
    }
    if done.mode:
        headers["x-percept-mode"] = done.mode.lower()
    if done.group:
        headers["x-ab-result"] = done.group
    return headers


def _group(request: Request, header: str) -> str:
    text = request.headers.get(header, "")
    if text and not _GROUP.fullmatch(text):
        raise Refusal(400, "group", f"{header} must be 1 to 64 letters, digits or _.:-")
    return text


def _session(name: str) -> str:
    if name and not _GROUP.fullmatch(name):
        raise InputError("session must be 1 to 64 letters, digits or _.:-", "session")
    return name


def _error(exc: PerceptError | Refusal) -> Response:
    """The answer to a refused call; see docs/gateway.md for the table."""
    status, reason, headers = 503, _reason(exc), {}
    if isinstance(exc, Refusal):
        status, reason, headers = exc.status, exc.reason, exc.headers
    elif isinstance(exc, InputError):
        status, reason = _SYNTAX.get(exc.reason, 422), exc.reason
    elif isinstance(exc, TensorMismatch):
        status = 422
    elif isinstance(exc, ResourceExhausted):
        status = 429
        precise = f"{exc.retry_after_s:.3f}"
        headers = {"retry-after": str(max(1, math.ceil(exc.retry_after_s))), "x-retry-after-s": precise}
    elif isinstance(exc, ModelError):
        headers = {"retry-after": "5"}
    body = encode(error_answer(reason, str(exc)), JSON)
    return Response(body, status, headers, JSON)


def _reason(exc: Exception) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(exc).__name__).lower()


async def _http_error(_: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    reason = {404: "not_found", 405: "method"}.get(exc.status_code, "http")
    body = encode(error_answer(reason, exc.detail), JSON)
    return Response(body, exc.status_code, exc.headers, JSON)


async def _defect(_: Request, exc: Exception) -> Response:
    _log.error("defect in the gateway", exc_info=exc)
    return Response(encode(error_answer("defect", "the gateway has a defect: see its log"), JSON), 500, media_type=JSON)


def make_gateway(config: Config, *, token: str = "") -> Gateway:
    """The gateway of a configuration; models are loaded when the application starts."""
    telemetry = open_telemetry(config.observe, "gateway", warn=_log.warning)
    return Gateway(Perceiver(config, telemetry=telemetry), token=token)
