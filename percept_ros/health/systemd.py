"""Tells systemd how a service is doing: READY, STATUS, WATCHDOG, STOPPING as datagrams.

Source: sd_notify(3). Without ``NOTIFY_SOCKET`` in the environment every call does nothing.
"""

from __future__ import annotations

import os
import socket


class Notifier:
    """One socket, kept open. Never raises after construction: a service must not fail because nobody listens."""

    def __init__(self, address: str | None = None) -> None:
        given = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        self._address = "\0" + given[1:] if given.startswith("@") else given
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if given else None
        if self._socket is not None:
            self._socket.setblocking(False)
        self._last = ""

    @property
    def enabled(self) -> bool:
        """Whether somebody listens."""
        return self._socket is not None

    def ready(self) -> bool:
        """The service is up."""
        return self._send("READY=1")

    def watchdog(self) -> bool:
        """The service lives (send more often than half of ``watchdog_ns``)."""
        return self._send("WATCHDOG=1")

    def status(self, text: str) -> bool:
        """One line for ``systemctl status``; the same line is sent once."""
        line = text.replace("\n", " ")
        if line == self._last:
            return False
        self._last = line
        return self._send(f"STATUS={line}")

    def stopping(self) -> bool:
        """The service is about to end."""
        return self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket. Safe to call twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, line: str) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendto(line.encode(), self._address)
        except OSError:
            return False
        return True


def watchdog_ns() -> int:
    """Longest silence that systemd allows this process, nanoseconds; 0 = no watchdog."""
    meant = os.environ.get("WATCHDOG_PID", "")
    if meant and meant != str(os.getpid()):
        return 0
    period = os.environ.get("WATCHDOG_USEC", "")
    return int(period) * 1000 if period.isdigit() else 0
