"""``percept convert`` and ``percept replay`` as users and checks call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import small_bags as small

from percept_ros.cli.main import main


def test_replay_prints_one_json_object_and_writes_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = small.write_drive(tmp_path / "drive.mcap", 6)
    assert main(["replay", str(bag), "-o", str(tmp_path / "out"), "--pictures", "1", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    wanted = {
        "frames_in",
        "frames_out",
        "tracks_confirmed",
        "tracks_over_2s",
        "latency_ms",
        "stages_ms",
        "drops",
        "modes",
    }
    assert wanted <= set(summary)
    assert summary["frames_out"] == 6
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["report.html", "summary.json", "tracks.mcap"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary


def test_replay_prints_a_table_and_reads_renamed_topics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = small.write_drive(tmp_path / "drive.mcap", 3)
    arguments = ["--remap", "/lidar/points:=/top", "--no-report"]
    assert main(["replay", str(bag), "-o", str(tmp_path / "out"), *arguments]) == 0
    assert "frames answered" in capsys.readouterr().out
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--remap", "/lidar/pionts:=/top"], "did you mean '/lidar/points'"),
        (["--remap", "lidar"], "should read /topic_in_bag:=/other_name"),
        (["--config", "nowhere.yaml"], "cannot be read"),
    ],
)
def test_wrong_use_of_replay_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    bag = small.write_drive(tmp_path / "drive.mcap", 2)
    assert main(["replay", str(bag), "-o", str(tmp_path / "out"), *arguments]) == 2
    assert text in capsys.readouterr().err


def test_a_misspelt_configuration_key_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = small.write_drive(tmp_path / "drive.mcap", 2)
    (tmp_path / "c.yaml").write_text("lidar: {min_rnge_m: 2.0}\n")
    assert main(["replay", str(bag), "-o", str(tmp_path / "out"), "--config", str(tmp_path / "c.yaml")]) == 2
    assert "lidar.min_rnge_m" in capsys.readouterr().err


def test_a_bag_in_which_nothing_can_be_answered_is_status_1(tmp_path: Path) -> None:
    bag = small.write_drive(tmp_path / "drive.mcap", 2, transforms=False)
    assert main(["replay", str(bag), "-o", str(tmp_path / "out"), "--json"]) == 1


def test_convert_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "kitti-drive", str(tmp_path), "-o", str(tmp_path / "x.mcap"), "--json"]) == 2
    assert "calib.txt' is missing" in capsys.readouterr().err
    assert main(["convert", "waymo", str(tmp_path), "-o", str(tmp_path / "x.mcap")]) == 2


@pytest.mark.parametrize("verb", ["convert", "replay"])
def test_help_has_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"percept {verb}" in capsys.readouterr().out
