"""Which data set is trained how: clock and sizes of the network, folds, licence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from percept_ros.core.path_gate import SkillSettings
from percept_ros.evaluate import prediction_data as data
from percept_ros.evaluate.prediction_data import Trajectory
from percept_ros.evaluate.prediction_folds import ALL, fold_folder, folds
from percept_ros.train.predictor import PredictorRecipe, train
from percept_ros.train.predictor_export import export
from percept_ros.train.predictor_network import PathShape

Report = Callable[[str], None]
WALKS = PathShape(
    step_s=data.ETH_STEP_S,
    width=7,
    horizon=12,
    frame_steps=2,
    small_m=0.08,
    reach_m=1.5,
    lags=(1, 3, 4, 5, 6, 7),
    members=8,
)
SAME_DATA = SkillSettings(prior_weight=300.0, modesty=0.97)
RECIPES = {
    "kitti": PredictorRecipe(skill=SAME_DATA),
    "sim": PredictorRecipe(history=31, stride=8, steps=400),
    "bags": PredictorRecipe(history=31, stride=5, steps=400),
    "eth_ucy": PredictorRecipe(
        WALKS,
        history=8,
        first_step=4,
        stride=2,
        picked=3,
        steps=800,
        part_steps=200,
        paces=(0.6, 1.67),
        noises_m=(0.005, 0.1),
        noise_weight=0.7,
        shares=(0.0, 1.0),
        skill=SAME_DATA,
    ),
}
LICENCES = {
    "kitti": ("labels of KITTI tracking sequences", "CC-BY-NC-SA-3.0"),
    "sim": ("simulated drives through the tracker", "Apache-2.0"),
    "bags": ("tracks of recordings", "as the recordings'"),
    "eth_ucy": (
        "ETH and UCY pedestrian trajectories, and copies of other paces (0.6, 1.67) and with 5 to 100 mm of noise",
        "LicenseRef-research-only",
    ),
}


def train_set(
    name: str,
    root: Path,
    out: Path,
    held_out: bool,
    drives: int,
    seed: int,
    steps: int,
    report: Report,
    bags: Sequence[Path] = (),
) -> dict[str, Any]:
    """Train on one data set into ``out``: folds and ``all`` with ``held_out``, else (and for sim and bags) one model."""
    recipe = replace(RECIPES[name], seed=seed)
    recipe = replace(recipe, steps=steps or recipe.steps)
    command = f"percept train predictor --seed {seed}{f' --drives {drives}' if name == 'sim' else ''} --data "
    if bags:
        from percept_ros.evaluate.prediction_bags import bags as read_bags

        return {out.name: _train_one(name, read_bags(bags), out, recipe, report, f"{command}BAG...")}
    jobs = _jobs(name, root, out, held_out, drives, seed)
    return {
        folder.name: _train_one(name, trajectories, folder, recipe, report, command + name)
        for folder, trajectories in jobs
    }


def _jobs(
    name: str, root: Path, out: Path, held_out: bool, drives: int, seed: int
) -> list[tuple[Path, Sequence[Trajectory]]]:
    """Model folder and what it is trained on."""
    if name == "sim":
        from percept_ros.evaluate.prediction_sim import drives as simulate
        from percept_ros.evaluate.prediction_sim import need

        return [(out, need(simulate(1000 * seed + 1, drives)))]
    if name == "kitti":
        every = data.kitti(root)
        if not held_out:
            return [(out, every)]
        groups = folds([t.sequence for t in every])
        jobs = [(fold_folder(out, g), [t for t in every if t.sequence not in g]) for g in groups]
        return [*jobs, (out / ALL, every)]
    if not held_out:
        tests = data.eth_ucy(root, "test")
        return [(out, [t for part in tests.values() for t in part])]
    parts = [data.eth_ucy(root, part) for part in ("train", "val")]
    return [(fold_folder(out, [s]), [*parts[0][s], *parts[1][s]]) for s in data.SCENES]


def _train_one(
    name: str, trajectories: Sequence[Trajectory], folder: Path, recipe: PredictorRecipe, report: Report, command: str
) -> dict[str, Any]:
    report(f"{folder.name}: {len(trajectories)} trajectories")
    graph, filters, metrics = train(trajectories, recipe, report)
    what, licence = LICENCES[name]
    facts = {
        "data": what,
        "licence": licence,
        "command": command,
        "ratios": metrics,
        "skill": recipe.skill,
    }
    export(graph, filters, trajectories, folder, f"predictor_{name}", facts)
    return metrics
