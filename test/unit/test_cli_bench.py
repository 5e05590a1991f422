"""How benchmarks are found, given their options, and reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from percept_ros.cli import bench
from percept_ros.cli.bench_options import describe_options, parse_options
from percept_ros.cli.main import main
from percept_ros.errors import ConfigError


def sample(
    *,
    topics: tuple[int, ...] = (2, 7),
    seconds: float = 1.0,
    where: Path = Path("a"),
    label: str | None = None,
    fast: bool = False,
) -> dict[str, Any]:
    return {}


def test_options_of_every_type() -> None:
    words = ["--topics", "3,4", "--seconds=0.5", "--where", "b", "--fast", "--label=x=y"]
    expected = {"topics": (3, 4), "seconds": 0.5, "where": Path("b"), "fast": True, "label": "x=y"}
    assert parse_options(sample, words, "here") == expected


@pytest.mark.parametrize(
    "words",
    [["--nothing", "1"], ["stray"], ["--seconds"], ["--seconds", "soon"], ["--topics", "2,x"], ["--fast=maybe"]],
)
def test_wrong_options(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="here"):
        parse_options(sample, words, "here")


def test_description() -> None:
    assert describe_options(sample).startswith("--topics=2,7 --seconds=1.0")


def test_sync_is_found_and_right(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["bench", "sync", "--topics", "2,3", "--seconds", "0.2", "--json", "--report", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["topics_3"]["complete_sets"] == result["topics_3"]["expected_sets"]
    assert result["topics_3"]["us_per_message"] > 0
    assert {"late_camera", "time_jump", "exception"} <= result.keys()
    assert all(result[case]["ok"] for case in ("late_camera", "time_jump", "exception"))
    assert result["exception"]["peer_deadlocks"]
    assert {f.name for f in tmp_path.iterdir()} == {"sync.json", "sync.md", "sync.png"}


def test_unknown_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "nothing"]) == 2
    assert "sync" in capsys.readouterr().err


def test_installed_folder_is_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "share" / "percept_ros" / "bench"
    folder.mkdir(parents=True)
    (folder / "other.py").write_text('"""Another."""\ndef run():\n    return {"a": {"b": 1}, "ok": False}\n')
    (folder / "_part.py").write_text("")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert bench.benchmarks()["other"] == folder / "other.py"
    assert "_part" not in bench.benchmarks()
    assert main(["bench", "other"]) == 1


def test_default_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.rows_of(bench, {"a": {"b": 1}, "c": 2}) == (["figure", "value"], [["a.b", 1], ["c", 2]])
