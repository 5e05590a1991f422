"""``percept evaluate mot`` over a small made-up sequence, and the choice of models."""

from __future__ import annotations

import json

import numpy as np
import pytest

from percept_ros.cli import main
from percept_ros.core.existence import ExistenceModel, save_existence
from percept_ros.evaluate.kitti_io import read_labels
from percept_ros.evaluate.mot_run import choose_model

CALIBRATION = """P2: 721.5377 0 609.5593 0 0 721.5377 172.854 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 0
Tr_imu_to_velo: 1 0 0 0 0 1 0 0 0 0 1 0
"""


@pytest.fixture
def root(tmp_path):
    """One car driving ahead for 20 frames, found in each, and one false box."""
    labels, found = [], []
    for f in range(20):
        z = 15 + 0.8 * f
        labels.append(f"{f} 1 Car 0 0 0 560 150 660 220 1.5 1.8 4.0 0.0 1.65 {z} -1.5708")
        found.append(f"{f},2,560,150,660,220,8.0,1.5,1.8,4.0,0.05,1.65,{z + 0.05},-1.57,0")
    found.append("7,2,300,150,400,220,-0.5,1.5,1.8,4.0,-8,1.65,20,-1.57,0")
    for folder, name, lines in (
        ("label_02", "0042.txt", labels),
        ("calib", "0042.txt", CALIBRATION.splitlines()),
        ("detections/pointrcnn_3d/Car", "0042.txt", found),
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def test_command_prints_metrics_and_writes_results(root, tmp_path, capfd):
    out = tmp_path / "written"
    args = ["evaluate", "mot", "--root", str(root), "--model", "bayes", "--write-kitti", str(out), "--json"]
    assert main.main(args) == 0
    answer = json.loads(capfd.readouterr().out.strip().splitlines()[-1])
    assert answer["protocol"] == "bayes"
    assert answer["car"]["MOTA"] >= 90
    assert answer["car"]["IDS"] == 0
    assert answer["pedestrian"] == {"objects": 0}
    assert answer["ego_motion"] == {"0042": False}
    written = read_labels(out / "0042.txt")
    assert len(np.unique(written.track_ids)) == 1
    assert np.isfinite(written.boxes_px).all()


def test_unknown_sequences_and_missing_data_are_wrong_use(root, tmp_path):
    common = ["evaluate", "mot", "--model", "bayes", "--root"]
    assert main.main([*common, str(root), "--sequences", "0001"]) == 2
    assert main.main([*common, str(root), "--camera", "none_such"]) == 2
    (tmp_path / "empty").mkdir()
    assert main.main([*common, str(tmp_path / "empty")]) == 2


def test_a_training_sequence_is_judged_by_a_model_that_never_saw_it(tmp_path):
    save_existence(ExistenceModel({}, {}, "frozen", ("0000", "0002")), tmp_path / "frozen.json")
    save_existence(ExistenceModel({}, {}, "without_0000", ("0002",)), tmp_path / "without_0000.json")
    for sequence, name in (("0000", "without_0000"), ("0001", "frozen")):
        model = choose_model(tmp_path, sequence)
        assert model is not None
        assert model.name == name
        assert sequence not in model.trained_on
    assert choose_model(None, "0000") is None
