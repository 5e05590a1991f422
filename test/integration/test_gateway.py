"""The gateway over real sockets: answers, deadlines, back-pressure, limits, token, streams, health."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest

from percept_ros.config import Config, load_config
from percept_ros.core.tracking import Tracker
from percept_ros.detectors.chain import DetectorChain
from percept_ros.errors import ConfigError
from percept_ros.gateway.app import Gateway, make_gateway
from percept_ros.gateway.drive import body_of
from percept_ros.gateway.perceiver import Perceiver
from percept_ros.gateway.server import Server, read_token, warnings_of
from percept_ros.pipeline import Pipeline
from percept_ros.simulate.drive import SimulateConfig, simulate_drive
from percept_ros.types import Detections, SensorSet

PERCEIVE = "/v1/perceive"
MSGPACK = {"content-type": "application/msgpack"}


def configured(**gateway: Any) -> Config:
    return load_config(
        None,
        {
            "gateway": {"port": 0, "deadline_ms": 20000.0, "longest_deadline_ms": 30000.0, **gateway},
            "detector": {"chain": ["geometric"], "isolation": "thread"},
            "budget": {"detect_ms": 10000.0},
        },
    )


@pytest.fixture(scope="module")
def drive() -> list[SensorSet]:
    config = SimulateConfig(seconds=0.6, cameras=1, beams=32, width_px=160, height_px=90, threads=1)
    return [frame.sensors for frame in simulate_drive(config, 2)]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    made = make_gateway(configured(max_body_mb=4.0, max_points=60_000, viewers=2, sessions=3))
    with Server(made) as server:
        made.url = server.url  # type: ignore[attr-defined]
        wait_until_ready(server.url)
        yield made


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=30.0) as made:  # type: ignore[attr-defined]
        yield made


def wait_until_ready(url: str, **options: Any) -> None:
    for _ in range(2000):
        if httpx.get(f"{url}/healthz/readiness", **options).status_code == 200:
            return
    raise AssertionError("the gateway was never ready")


def post(client: httpx.Client, body: bytes, **headers: str) -> httpx.Response:
    return client.post(
        PERCEIVE, content=body, headers={**MSGPACK, **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


def test_a_session_tracks_what_single_frames_only_detect(client: httpx.Client, drive: list[SensorSet]) -> None:
    answers = [post(client, body_of(sensors, "car")) for sensors in drive]
    assert {answer.status_code for answer in answers} == {200}
    last = answers[-1].json()
    assert last["frame_id"] == "odom"
    assert last["model"] == "geometric"
    assert last["fallback"] is False
    confirmed = {track["id"] for track in last["tracks"] if track["state"] == "confirmed"}
    before = {track["id"] for track in answers[-2].json()["tracks"]}
    assert confirmed
    assert confirmed & before
    assert answers[-1].headers["x-percept-mode"] == last["mode"].lower()
    alone = post(client, body_of(drive[-1])).json()
    assert alone["detections"] == last["detections"]
    assert not {track["id"] for track in alone["tracks"]} & before


def test_msgpack_comes_back_when_asked_for(client: httpx.Client, drive: list[SensorSet]) -> None:
    body = body_of(drive[0])
    packed = post(client, body, accept="application/msgpack")
    assert packed.headers["content-type"] == "application/msgpack"
    assert msgpack.unpackb(packed.content)["detections"] == post(client, body).json()["detections"]


def test_multipart_is_taken(client: httpx.Client, drive: list[SensorSet]) -> None:
    cloud = drive[0].cloud
    assert cloud is not None
    meta = {"stamp_ns": drive[0].stamp_ns, "points": {"base_SE3_sensor": drive[0].base_SE3["lidar"].ravel().tolist()}}
    answer = client.post(PERCEIVE, data={"meta": json.dumps(meta)}, files={"points": ("p", cloud.points.tobytes())})
    assert answer.status_code == 200
    assert answer.json()["detections"] == post(client, body_of(drive[0], images=False)).json()["detections"]


def test_a_frame_out_of_order_is_refused(client: httpx.Client, drive: list[SensorSet]) -> None:
    assert post(client, body_of(drive[1], "order")).status_code == 200
    answer = post(client, body_of(drive[0], "order"))
    assert answer.status_code == 422
    assert answer.json()["error"]["reason"] == "out_of_order"


def test_past_the_deadline_the_last_tracks_go_on(
    client: httpx.Client, gateway: Gateway, drive: list[SensorSet]
) -> None:
    for sensors in drive[:-1]:
        post(client, body_of(sensors, "late"))
    known = gateway.perceiver.session("late")
    assert known is not None
    assert known.last is not None
    wide = replace(drive[-1], cloud=replace(drive[-1].cloud, points=np.tile(drive[-1].cloud.points, (3, 1))))  # type: ignore[union-attr,type-var]
    answer = post(client, body_of(wide, "late"), x_deadline_ms="1")
    assert answer.status_code == 504
    tree = answer.json()
    assert tree["error"]["reason"] == "deadline"
    assert tree["fallback"]["fallback"] is True
    assert tree["fallback"]["mode"] == "COASTING"
    assert {t["id"] for t in tree["fallback"]["tracks"]} == {row.tobytes().hex() for row in known.last.tracks.id}
    nothing = post(client, body_of(wide), x_deadline_ms="1").json()["fallback"]
    assert (nothing["mode"], nothing["tracks"]) == ("STALE", [])


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "1e9", "soon"])
def test_impossible_deadlines_are_refused(client: httpx.Client, wrong: str) -> None:
    assert post(client, b"", x_deadline_ms=wrong).status_code == 400


def test_what_is_too_large_is_refused_and_the_caller_gets_to_know(client: httpx.Client) -> None:
    body = bytes(6_000_000)
    declared = post(client, body)
    chunked = client.post(PERCEIVE, content=(body[i : i + 65536] for i in range(0, len(body), 65536)), headers=MSGPACK)
    points = msgpack.packb(
        {"stamp_ns": 1, "points": {"data": bytes(12 * 70_000), "base_SE3_sensor": np.eye(4).ravel().tolist()}}
    )
    assert (declared.status_code, chunked.status_code, post(client, points).status_code) == (413, 413, 422)
    assert post(client, b"x", content_encoding="gzip").status_code == 415


def test_sessions_are_bounded(client: httpx.Client, gateway: Gateway, drive: list[SensorSet]) -> None:
    for index in range(5):
        post(client, body_of(drive[0], f"s{index}", images=False))
    assert gateway.perceiver.sessions == ("s2", "s3", "s4")
    assert client.delete("/v1/sessions/s3").status_code == 200
    assert client.delete("/v1/sessions/s3").status_code == 404


def test_a_stream_shows_frames_and_viewers_are_bounded(
    client: httpx.Client, gateway: Gateway, drive: list[SensorSet]
) -> None:
    post(client, body_of(drive[0], "shown"))
    with client.stream("GET", "/v1/tracks/stream") as stream, client.stream("GET", "/v1/tracks/stream") as other:
        lines, more = stream.iter_lines(), other.iter_lines()
        first, second = event(lines), event(more)
        assert first["stamp_ns"] == second["stamp_ns"] == str(drive[0].stamp_ns)
        assert client.get("/v1/tracks/stream").status_code == 429
        post(client, body_of(drive[1], "shown"))
        following = event(lines)
        assert following["stamp_ns"] == str(drive[1].stamp_ns)
        assert following["session"] == "shown"
        assert following["cameras"] == list(drive[1].cameras)
        assert following["points"]
    (name,) = drive[1].cameras
    assert client.get(f"/v1/cameras/{name}.jpg").content.startswith(b"\xff\xd8\xff")
    assert client.get("/v1/cameras/none.jpg").status_code == 404
    assert client.get("/v1/tracks").json()["stamp_ns"] == drive[1].stamp_ns


def event(lines: Iterator[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
    return found


def test_health_status_metrics_and_the_document(client: httpx.Client) -> None:
    for kind in ("liveness", "readiness"):
        assert client.get(f"/healthz/{kind}").json()["ok"] is True
    assert client.get("/healthz/semantic").status_code in (200, 503)
    assert client.get("/healthz/other").status_code == 404
    status = client.get("/status").json()
    assert status["ready"] is True
    assert status["models"] == [["geometric"]]
    text = client.get("/metrics").text
    assert "percept_end_to_end_seconds_bucket" in text
    assert 'percept_gateway_requests_total{ab_result="none",path="/v1/perceive",status="200"}' in text
    assert client.get("/openapi.json").json()["openapi"] == "3.0.3"
    assert client.get("/nowhere").status_code == 404
    assert client.get(PERCEIVE).status_code == 405


def test_pages_and_hosts_from_elsewhere_are_turned_away(client: httpx.Client) -> None:
    assert client.get("/status", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/status", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/status", headers={"origin": "http://localhost:1"}).status_code == 200
    page = client.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]


class Gated:
    """A detector that answers when it is let."""

    model, artefact_sha256, takes_cameras = "gated", "", False

    def __init__(self) -> None:
        self.let = threading.Event()
        self.entered = threading.Semaphore(0)

    def load(self) -> None:
        pass

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        self.entered.release()
        assert self.let.wait(30.0)
        return Detections.empty(sensors.stamp_ns, "base_link")

    def close(self) -> None:
        pass


def test_a_full_queue_answers_429_and_a_stuck_worker_504(drive: list[SensorSet]) -> None:
    config, detector = configured(queue=2, workers=1), Gated()

    def build(given: Config) -> Pipeline:
        chain = DetectorChain([detector])
        chain.load()
        return Pipeline(chain, None, Tracker(given.tracking), base_frame="base_link", detect_ms=1e5)

    made = Gateway(Perceiver(config, build))
    bodies = [body_of(sensors, images=False) for sensors in drive[:3]]
    with (
        Server(made) as server,
        ThreadPoolExecutor(3) as pool,
        httpx.Client(base_url=server.url, timeout=30.0) as client,
    ):
        wait_until_ready(server.url)
        running = pool.submit(post, client, bodies[0])
        assert detector.entered.acquire(timeout=20.0)
        stuck = pool.submit(post, client, bodies[1], x_deadline_ms="100").result()
        assert stuck.status_code == 504
        waiting = [pool.submit(post, client, body) for body in bodies[1:]]
        while made.perceiver.entered < 3:
            client.get("/healthz/liveness")
        refused = post(client, bodies[0])
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["reason"] == "resource_exhausted"
        detector.let.set()
        assert [future.result().status_code for future in (running, *waiting)] == [200, 200, 200]
        assert made.perceiver.entered == 0


def test_groups_are_asked_for_by_header_and_named_in_the_answer(tmp_path: Path, drive: list[SensorSet]) -> None:
    plan = "{name: x, control: a, groups: {a: {chain: [geometric]}, b: {chain: [geometric]}, c: {chain: [geometric]}}, shadow: [c]}"
    (tmp_path / "plan.yaml").write_text(plan)
    experiment = replace(Config().experiment, plan=str(tmp_path / "plan.yaml"), watch_s=0.0)
    with Server(make_gateway(replace(configured(), experiment=experiment))) as server:
        wait_until_ready(server.url)
        with httpx.Client(base_url=server.url, timeout=30.0) as client:
            body = body_of(drive[0], images=False)
            usual, asked = (
                post(client, body),
                post(client, body, x_ab_test_group="b", traceparent=f"00-{5:032x}-{7:016x}-01"),
            )
            assert (usual.headers["x-ab-result"], usual.json()["group"]) == ("a", "a")
            assert (asked.headers["x-ab-result"], asked.json()["group"]) == ("b", "b")
            assert asked.json()["trace_id"] == f"{5:032x}"
            assert post(client, body, x_ab_test_group="nobody").headers["x-ab-result"] == "a"
            assert post(client, body, x_ab_test_group="no body").status_code == 400
            text = client.get("/metrics").text
            assert 'ab_result="b",path="/v1/perceive",status="200"' in text
            assert "percept_experiment_frames_total" in text
            assert client.get("/status").json()["experiment"][0]["answered"] == {"a": 2, "b": 1}


def test_a_token_is_asked_for(tmp_path: Path) -> None:
    secret = "a-token-of-enough-length"
    (tmp_path / "token").write_text(secret + "\n")
    config = configured(token_file=str(tmp_path / "token"))
    made = make_gateway(config, token=read_token(config.gateway))
    with Server(made) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/healthz/liveness").status_code == 200
        assert client.get("/status").status_code == 401
        assert client.get("/status", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/status", headers={"authorization": f"Bearer {secret}"}).status_code == 200
        assert secret not in client.get("/status", headers={"authorization": f"Bearer {secret}"}).text
        assert client.get("/").status_code == 401
        assert client.get("/", params={"token": secret}).status_code == 200
        assert client.get("/status").status_code == 200, "the page's cookie is the token"


def test_bad_settings_are_said(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("short")
    with pytest.raises(ConfigError, match="16 or more"):
        read_token(configured(token_file=str(tmp_path / "short")).gateway)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(configured(token_file=str(tmp_path / "none")).gateway)
    with pytest.raises(ConfigError, match="go together"):
        Server(make_gateway(configured(certificate="x.pem")))
    assert len(warnings_of(configured(host="0.0.0.0").gateway, "")) == 2
    assert warnings_of(configured().gateway, "") == []


def test_tls(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    made = make_gateway(configured(certificate=str(certificate), key=str(key)))
    with Server(made) as server:
        assert server.url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(certificate))
        assert httpx.get(f"{server.url}/healthz/liveness", verify=trust).status_code == 200
