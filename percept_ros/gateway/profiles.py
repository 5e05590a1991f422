"""Profiles of the nodes over HTTP: what there is, and each as a flame graph."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from percept_ros.errors import InputError
from percept_ros.gateway.guard import Refusal
from percept_ros.observe.profiles import ProfileStore

FLAME_POLICY = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline';"
    " frame-ancestors 'none'; base-uri 'none'",
}
_SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Profiles:
    """Reads the folders that nodes keep under ``observe.profile_folder`` ("" = none are kept)."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).expanduser() if folder else None

    def listed(self) -> dict[str, list[dict[str, Any]]]:
        """Service -> its profiles, newest first."""
        if self._folder is None or not self._folder.is_dir():
            return {}
        services = sorted(path for path in self._folder.iterdir() if path.is_dir() and _SERVICE.fullmatch(path.name))
        return {path.name: [dataclasses.asdict(entry) for entry in ProfileStore(path).entries()] for path in services}

    def flame(self, service: str, name: str) -> str:
        """One profile as a page of its own. Raises Refusal (404) when there is none of that name."""
        if self._folder is None or not _SERVICE.fullmatch(service) or not (self._folder / service).is_dir():
            raise Refusal(404, "profile", f"no profiles of '{service}': see /v1/profiles")
        try:
            return ProfileStore(self._folder / service).flame_html(name)
        except InputError as exc:
            raise Refusal(404, "profile", str(exc)) from exc
