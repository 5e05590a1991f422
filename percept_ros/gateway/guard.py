"""What every call passes before it is answered: host and origin, token, size and pace of the body. Pure ASGI."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from percept_ros.config import GatewayConfig
from percept_ros.errors import InputError
from percept_ros.gateway.answer import JSON, encode, error_answer

COOKIE = "percept_token"
OPEN_PATHS = ("/healthz/",)
_DRAIN_S, _DRAIN_BYTES = 5.0, 256_000_000


class Refusal(Exception):
    """A call that is answered with an error. headers: names and values."""

    def __init__(self, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.headers = status, reason, headers or {}


class Guard:
    """Middleware: refuses foreign hosts and origins (a web page elsewhere must not steer this), and calls without the token."""

    def __init__(self, app: ASGIApp, config: GatewayConfig, token: str = "") -> None:
        self._app, self._token = app, token
        self._hosts = {config.host, *config.allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body = _Body(receive, headers)
        try:
            self._check_host(headers)
            cookie = self._check_token(scope, headers)
        except Refusal as refusal:
            await _refuse(_answering(send, body, ""), refusal)
            return
        await self._app(scope, body.receive, _answering(send, body, cookie))

    def _check_host(self, headers: Headers) -> None:
        if not self._known(host_of(headers.get("host", ""))):
            raise Refusal(421, "host", "this host name is not served: add it to gateway.allowed_hosts")
        origin = headers.get("origin", "")
        if origin and not self._known(urlsplit(origin).hostname or ""):
            raise Refusal(403, "origin", "pages of other origins may not call this gateway")

    def _known(self, host: str) -> bool:
        return "*" in self._hosts or host in self._hosts or is_loopback(host)

    def _check_token(self, scope: Scope, headers: Headers) -> str:
        """The cookie to set, "" for none. Raises Refusal without the token."""
        path = str(scope["path"])
        if not self._token or path.startswith(OPEN_PATHS):
            return ""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._right(bearer.strip()):
            return ""
        if self._right(_cookie(headers.get("cookie", ""))):
            return ""
        if path == "/" and any(
            self._right(t) for t in parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        ):
            return f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
        raise Refusal(401, "token", "a bearer token is needed", {"www-authenticate": "Bearer"})

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())


class _Body:
    """The body of a call: knows whether it came to its end, and throws the rest away.

    A server that answers and closes while data still come makes the caller lose the answer.
    """

    def __init__(self, receive: Receive, headers: Headers) -> None:
        self._receive = receive
        self._open = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers

    async def receive(self) -> Message:
        """The next part."""
        message = await self._receive()
        self._open = self._open and message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def drain(self) -> None:
        """Read the rest, within reason."""
        left, until = _DRAIN_BYTES, time.monotonic() + _DRAIN_S
        while self._open and left > 0 and (wait_s := until - time.monotonic()) > 0:
            try:
                message = await asyncio.wait_for(self.receive(), wait_s)
            except asyncio.TimeoutError:
                return
            left -= len(message.get("body", b""))


def _answering(send: Send, body: _Body, cookie: str) -> Send:
    """Reads the body to its end before the answer goes out, and adds headers."""
    extra = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
    if cookie:
        extra.append((b"set-cookie", cookie.encode()))

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            await body.drain()
            message["headers"] = [*message.get("headers", ()), *extra]
        await send(message)

    return wrapped


async def _refuse(send: Send, refusal: Refusal) -> None:
    body = encode(error_answer(refusal.reason, str(refusal)), JSON)
    headers = {"content-type": JSON, "content-length": str(len(body)), **refusal.headers}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _cookie(text: str) -> str:
    try:
        found = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def host_of(header: str) -> str:
    """Host name of a Host header, without its port."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def read_body(request: Request, limit_bytes: int, timeout_s: float) -> bytes:
    """The whole body. Raises Refusal: 413 too large, 408 too slow, 415 packed; InputError when the caller went away."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        text = f"content encoding '{encoding[:40]}' is not taken: send the body as it is"
        raise Refusal(415, "content_encoding", text)
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > limit_bytes:
        raise Refusal(413, "too_large", f"body of {declared[:20]} bytes is too large, at most {limit_bytes} are taken")
    try:
        return await asyncio.wait_for(_collect(request, limit_bytes), timeout_s)
    except asyncio.TimeoutError:
        text = f"the body did not arrive within {timeout_s:g} s"
        raise Refusal(408, "too_slow", text, {"connection": "close"}) from None
    except ClientDisconnect as exc:
        raise InputError("the caller went away", "disconnected") from exc


async def _collect(request: Request, limit_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise Refusal(413, "too_large", f"the body is too large, at most {limit_bytes} bytes are taken")
        parts.append(part)
    return b"".join(parts)
