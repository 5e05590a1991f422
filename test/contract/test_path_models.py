"""What every shipped path network keeps to, whatever it was trained on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from percept_ros.core.path_features import GROUPS
from percept_ros.detectors.path_model import PathModel, PathState
from percept_ros.errors import ArtefactRefused, EngineClosed, ManifestError

MODELS = Path(__file__).parents[2] / "models"
FOLDERS = sorted(f.parent for f in MODELS.glob("predictor_*/**/model.yaml"))


@pytest.fixture(params=FOLDERS, ids=[str(f.relative_to(MODELS)) for f in FOLDERS])
def network(request: pytest.FixtureRequest) -> Iterator[PathModel]:
    found = PathModel(request.param)
    found.load()
    yield found
    found.close()


def test_there_are_shipped_networks() -> None:
    assert MODELS / "predictor_sim" in FOLDERS


def steady(network: PathModel, count: int, steps: int) -> tuple[np.ndarray, PathState]:
    """Offsets and state after going straight on at 0.5 m a step."""
    state, moved = network.empty(count), np.tile([[0.5, 0.0]], (count, 1))
    for step in range(steps):
        fresh = np.full(count, step == 0)
        answer = network.step(moved, moved / network.input.step_s, np.arange(count) % len(GROUPS), fresh, state)
        state = answer.state
    return answer.offsets_m, state


def test_a_path_is_finite_and_its_state_advances(network: PathModel) -> None:
    offsets, state = steady(network, 3, 4)
    assert offsets.shape == (3, network.steps, 2)
    assert np.isfinite(offsets).all()
    assert state.ages.tolist() == [4.0] * 3
    np.testing.assert_allclose(state.windows, np.tile([0.5, 0.0], (3, state.windows.shape[1], 1)), atol=1e-6)


def test_a_fresh_track_does_not_read_the_state(network: PathModel) -> None:
    moved, groups = np.full((2, 2), 0.3), np.zeros(2, np.int64)
    clean = network.empty(2)
    dirty = PathState(*(a + 7.0 for a in (clean.window, clean.age, clean.hidden, clean.cell)))
    new = np.ones(2, np.bool_)
    one = network.step(moved, moved, groups, new, clean).offsets_m.copy()
    two = network.step(moved, moved, groups, new, dirty).offsets_m
    np.testing.assert_array_equal(one, two)


def test_the_same_input_gives_the_same_path(network: PathModel) -> None:
    np.testing.assert_array_equal(steady(network, 3, 5)[0].copy(), steady(network, 3, 5)[0])


def test_sigma_is_positive_and_grows(network: PathModel) -> None:
    moved, groups = np.full((3, 2), 0.2), np.arange(3)
    answer = network.step(moved, moved, groups, np.ones(3, np.bool_), network.empty(3))
    assert (answer.sigma_m > 0).all()
    assert (answer.sigma_m[:, -1] > answer.sigma_m[:, 0]).all()


def test_the_card_names_the_licence(network: PathModel) -> None:
    manifest = network.manifest
    card = (Path(manifest.folder) / manifest.card).read_text(encoding="utf-8")
    assert manifest.licence
    assert manifest.licence in card
    if manifest.name == "predictor_kitti":
        assert "CC-BY-NC-SA-3.0" in card
    assert "percept train predictor" in card


def test_before_load_and_after_close_it_refuses() -> None:
    found = PathModel(MODELS / "predictor_sim")
    still, groups = np.zeros((1, 2)), np.zeros(1, np.int64)
    with pytest.raises(EngineClosed):
        found.step(still, still, groups, np.ones(1, np.bool_), found.empty(1))
    found.load()
    found.close()
    found.close()
    with pytest.raises(EngineClosed):
        found.step(still, still, groups, np.ones(1, np.bool_), found.empty(1))


@pytest.mark.parametrize(
    ("key", "value"),
    [("kind", "detector"), ("classes", ["car", "tram", "bicycle"]), ("preprocess", {"kind": "voxels"})],
)
def test_a_model_of_another_kind_is_refused(tmp_path: Path, key: str, value: object) -> None:
    folder = shutil.copytree(MODELS / "predictor_sim", tmp_path / "other")
    text = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))
    text[key] = value
    (folder / "model.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    with pytest.raises(ManifestError):
        PathModel(folder).load()


def test_a_changed_artefact_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(MODELS / "predictor_sim", tmp_path / "changed")
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ArtefactRefused):
        PathModel(folder).load()
