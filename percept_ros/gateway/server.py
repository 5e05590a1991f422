"""uvicorn around the application: sockets, TLS, token; runs in the main thread, or in one of its own (tests, nodes)."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from pathlib import Path
from types import TracebackType

import uvicorn

from percept_ros.config import GatewayConfig
from percept_ros.errors import ConfigError, SetupError
from percept_ros.gateway.app import Gateway
from percept_ros.gateway.guard import is_loopback

_log = logging.getLogger(__name__)
_START_S, _STOP_S, _KEEP_S = 20.0, 5, 60


def read_token(config: GatewayConfig) -> str:
    """The token that callers must send, "" = none. Raises ConfigError for a file that cannot be read or is empty."""
    if not config.token_file:
        return ""
    try:
        lines = Path(config.token_file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"gateway.token_file '{config.token_file}' cannot be read: {exc}") from exc
    token = lines[0].strip() if lines else ""
    if len(token) < 16 or not token.isascii() or any(c in token for c in ' ;,"\\'):
        raise ConfigError(f"gateway.token_file '{config.token_file}' must hold a token of 16 or more plain characters")
    return token


def warnings_of(config: GatewayConfig, token: str) -> list[str]:
    """What is risky about a configuration, for people."""
    if is_loopback(config.host):
        return []
    found = []
    if not token:
        found.append(f"anybody who reaches {config.host} may call: set gateway.token_file")
    if not config.certificate:
        found.append("calls travel in the clear: set gateway.certificate and gateway.key")
    return found


class Server:
    """One listening socket. ``run`` blocks until told to stop; as a context manager it runs in a thread."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway, self._config = gateway, gateway.config.gateway
        for text in warnings_of(self._config, read_token(self._config)):
            _log.warning("gateway: %s", text)
        self._server = _Quiet(_uvicorn_config(gateway, self._config))
        self._socket = listen(self._config)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        return f"http{'s' if self._config.certificate else ''}://{name}:{port}"

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Finish what is being answered and return from ``run``."""
        self._server.should_exit = True

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self.run, name="percept-gateway", daemon=True)
        self._thread.start()
        until = time.monotonic() + _START_S
        while not self._server.up.wait(0.05):
            if not self._thread.is_alive() or time.monotonic() > until:
                self._socket.close()
                raise SetupError("the gateway did not start: see its log")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join(_START_S)


class _Quiet(uvicorn.Server):
    """Says when it is up; leaves signals alone outside the main thread."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


def listen(config: GatewayConfig) -> socket.socket:
    """A bound socket. Raises ConfigError when address or port cannot be had."""
    try:
        family = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((config.host, config.port))
        except OSError:
            bound.close()
            raise
    except OSError as exc:
        raise ConfigError(f"gateway cannot listen on {config.host} port {config.port}: {exc}") from exc
    return bound


def _uvicorn_config(gateway: Gateway, config: GatewayConfig) -> uvicorn.Config:
    if bool(config.certificate) != bool(config.key):
        raise ConfigError("gateway.certificate and gateway.key go together: set both or none")
    made = uvicorn.Config(
        gateway.app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=_STOP_S,
        timeout_keep_alive=_KEEP_S,
        h11_max_incomplete_event_size=65536,
        ssl_certfile=config.certificate or None,
        ssl_keyfile=config.key or None,
        ws="none",
    )
    try:
        made.load()
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"gateway.certificate or gateway.key cannot be used: {exc}") from exc
    return made
