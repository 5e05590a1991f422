from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from percept_ros.errors import ArtefactRefused, InputError
from percept_ros.inference.manifest import Artefact, Manifest, Tensor, load_manifest, sha256_of, write_manifest
from percept_ros.inference.pull import pull

SIZE = 1 << 20


def quiet(name: str, done: int, whole: int) -> None:
    pass


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A model folder with one artefact of 1 MB and a card."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "net.onnx").write_bytes(np.random.default_rng(0).bytes(SIZE))
    (folder / "CARD.md").write_text("a card")
    artefact = Artefact("net.onnx", "onnx", "fp32", sha256_of(folder / "net.onnx"))
    tensor = (Tensor("x", (1,)),)
    write_manifest(
        Manifest(name="toy", kind="predictor", inputs=tensor, outputs=tensor, artefacts=(artefact,), card="CARD.md"),
        folder,
    )
    return folder


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves ranges, and cuts the first answer of net.onnx short."""

    cuts = 1
    ranges: list[str]

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        given = self.headers.get("Range")
        start = int(given[6:-1]) if given else 0
        if given:
            Server.ranges.append(given)
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.path.endswith("net.onnx") and Server.cuts > 0:
            Server.cuts -= 1
            self.wfile.write(content[start : len(content) // 2])
            return
        self.wfile.write(content[start:])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url(source: Path) -> Iterator[str]:
    Server.cuts, Server.ranges = 1, []
    handler = lambda *args: Server(*args, directory=str(source))  # noqa: E731
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_from_a_folder_and_again(source: Path, tmp_path: Path) -> None:
    done = pull(str(source), tmp_path / "models", quiet)
    assert done.folder == tmp_path / "models" / "toy"
    assert done.fetched == ("net.onnx", "CARD.md")
    assert load_manifest(done.folder).name == "toy"
    assert sha256_of(done.folder / "net.onnx") == sha256_of(source / "net.onnx")
    assert pull(source.as_uri(), tmp_path / "models", quiet).kept == ("net.onnx",)
    assert sorted(p.name for p in (tmp_path / "models").iterdir()) == ["toy"]


def test_cut_connection_is_resumed(url: str, source: Path, tmp_path: Path) -> None:
    done = pull(url, tmp_path / "models", quiet)
    assert sha256_of(done.folder / "net.onnx") == sha256_of(source / "net.onnx")
    assert Server.ranges == [f"bytes={SIZE // 2}-"]


def test_earlier_part_is_resumed(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "toy"
    folder.mkdir(parents=True)
    (folder / ".net.onnx.part").write_bytes((source / "net.onnx").read_bytes()[:1000])
    seen: list[int] = []
    pull(str(source), tmp_path / "models", lambda name, done, whole: seen.append(done) if name == "net.onnx" else None)
    assert seen[0] > 1000
    assert sha256_of(folder / "net.onnx") == sha256_of(source / "net.onnx")


def test_part_of_another_version_is_fetched_anew(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "toy"
    folder.mkdir(parents=True)
    (folder / ".net.onnx.part").write_bytes(b"old" * 1000)
    pull(str(source), tmp_path / "models", quiet)
    assert sha256_of(folder / "net.onnx") == sha256_of(source / "net.onnx")


def test_artefacts_from_a_mirror(source: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (source / "net.onnx").rename(mirror / "net.onnx")
    done = pull(str(source), tmp_path / "models", quiet, mirror=str(mirror))
    assert "net.onnx" in done.fetched


def test_changed_file_is_refused_and_nothing_is_left(source: Path, tmp_path: Path) -> None:
    (source / "net.onnx").write_bytes(b"changed")
    with pytest.raises(ArtefactRefused, match="is not the model's file"):
        pull(str(source), tmp_path / "models", quiet)
    assert [p.name for p in (tmp_path / "models" / "toy").iterdir()] == []


@pytest.mark.parametrize("place", ["nowhere", "ftp://host/model", "file:///nonexistent/model"])
def test_impossible_sources(place: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        pull(place, tmp_path / "models", quiet)
