"""Profiles over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from percept_ros.config import load_config
from percept_ros.gateway.app import Gateway, make_gateway
from percept_ros.gateway.server import Server
from percept_ros.observe.profiles import CPU, Profile, ProfileStore


def gateway(folder: str) -> Gateway:
    return make_gateway(
        load_config(
            None,
            {
                "detector": {"chain": ["geometric"], "isolation": "thread"},
                "observe": {"profile_folder": folder},
                "gateway": {"port": 0},
            },
        )
    )


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    ProfileStore(tmp_path / "fusion").add(Profile(CPU, 1.5e9, 2.0, {"main;work <b>": 7.0}), "slow frames")
    (tmp_path / ".hidden").mkdir()
    with Server(gateway(str(tmp_path))) as server, httpx.Client(base_url=server.url, timeout=60.0) as made:
        yield made


def test_listed_and_drawn(client: httpx.Client) -> None:
    listed = client.get("/v1/profiles").json()
    assert list(listed) == ["fusion"]
    (entry,) = listed["fusion"]
    assert (entry["kind"], entry["total"], entry["reason"]) == (CPU, 7.0, "slow frames")
    page = client.get(f"/v1/profiles/fusion/{entry['name']}")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "work <b>" not in page.text
    assert "work" in page.text


@pytest.mark.parametrize("path", ["fusion/none", "lidar/cpu-1", ".hidden/x", "%2e%2e/x", "fusion/..%2f..%2fetc"])
def test_unknown_names_are_not_found(client: httpx.Client, path: str) -> None:
    assert client.get(f"/v1/profiles/{path}").status_code == 404


def test_no_folder_is_no_profiles() -> None:
    with Server(gateway("")) as server, httpx.Client(base_url=server.url, timeout=60.0) as client:
        assert client.get("/v1/profiles").json() == {}
        assert client.get("/v1/profiles/fusion/x").status_code == 404
