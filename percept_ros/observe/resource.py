"""Who speaks: the resource attributes of every trace, metric and log line."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from percept_ros import __version__
from percept_ros.observe.tier import Tier

NAMESPACE = "percept_ros"


@dataclass(frozen=True, slots=True)
class Identity:
    """A service as OpenTelemetry names it. instance: one running copy (vehicle, host)."""

    service: str
    instance: str
    tier: Tier
    pid: int
    version: str = __version__

    @property
    def attributes(self) -> dict[str, str | int]:
        """Resource attributes by their OpenTelemetry names."""
        return {
            "service.namespace": NAMESPACE,
            "service.name": f"{NAMESPACE}.{self.service}",
            "service.version": self.version,
            "service.instance.id": f"{self.instance}/{self.service}/{self.pid}",
            "service.sla.tier": self.tier.name,
            "process.pid": self.pid,
        }

    def beside(self, service: str, pid: int) -> Identity:
        """Another process of the same instance."""
        return Identity(service, self.instance, self.tier, pid, self.version)


def identify(service: str, tier: Tier, instance: str = "") -> Identity:
    """This process. instance: host name when empty."""
    return Identity(service, instance or socket.gethostname(), tier, os.getpid())
