"""Model folder of an existence model trained on simulated drives: weights, manifest, card, reliability curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from percept_ros.core.existence import ExistenceModel, save_existence
from percept_ros.detectors.open import open_detector
from percept_ros.evaluate.mot_report import reliability_chart
from percept_ros.inference.manifest import write_manifest
from percept_ros.train.existence_card import CARD, manifest
from percept_ros.train.existence_drives import BEAMS, drives
from percept_ros.train.existence_sim import GROUPS, RECIPE, judged, learn

LICENCE = "Apache-2.0"
KEYS = ("objects", "recall", "precision", "mota", "id_switches", "fragments")


def train_folder(
    detector: str, out: Path, *, drives: int, seconds: float, seed: int, note: Callable[[str], None]
) -> dict[str, Any]:
    """Simulate, detect, train, judge, write. Returns ``judged`` of the drives held out, and sha256 by file."""
    driven = _driven(detector, seed, drives, seconds, note)
    quarter = max(1, drives // 4)
    taught, choose, test = driven[: -2 * quarter], driven[-2 * quarter : -quarter], driven[-quarter:]
    model = learn(taught, choose, out.name, note)
    found = judged(test, model)
    hashes = {"frozen.json": save_existence(model, out / "frozen.json")}
    for label, curve in found["reliability"].items():
        (out / f"reliability_{label}.svg").write_text(reliability_chart(curve), encoding="utf-8")
    split = (len(taught), len(choose), len(test))
    (out / CARD).write_text(_card(model, found, detector, split, seconds, seed), encoding="utf-8")
    write_manifest(manifest(out.name, hashes, LICENCE), out)
    return {**found, "sha256": hashes}


def _driven(detector: str, seed: int, count: int, seconds: float, note: Callable[[str], None]) -> list[Any]:
    opened = open_detector(detector)
    opened.load()
    try:
        return list(drives(opened, seed, count, seconds, note))
    finally:
        opened.close()


def _card(
    model: ExistenceModel,
    found: Mapping[str, Any],
    detector: str,
    split: tuple[int, int, int],
    seconds: float,
    seed: int,
) -> str:
    chosen = next(iter(model.parameters.values()))
    lines = [
        f"# {model.name}: is a track of {detector} a real object?",
        "",
        f"The tracker's existence for {detector}: {RECIPE.members} networks of {RECIPE.hidden} tanh units, averaged, over {len(RECIPE.features)} causal",
        f"features of a track; one for each of {', '.join(GROUPS)}. `tracking.existence_model: auto` uses it while {detector} is",
        "first in `detector.chain` and answers; whenever another model answers, the Bayes update stands in.",
        "",
        f"- Trained on simulated LiDAR drives alone, seed {seed}: {split[0]} drives of {seconds:g} s taught, {split[1]} chose the thresholds,",
        f"  {split[2]} judged (below); {', '.join(str(b) for b in sorted(set(BEAMS)))} beams. No real data took part: on real sweeps it is as good as",
        "  the simulator is like them, and it has not been judged there.",
        "- A live track is real in a frame when it is the nearest to a true object within 2 m.",
        f"- Again: `percept train existence --data sim --detector {detector} --drives {sum(split)} --seconds {seconds:g} --seed {seed} -o {model.name}`.",
        f"- Licence of the weights: {LICENCE}.",
        "",
        "Simulated drives that neither taught nor chose, as `percept replay` scores them (2 m, within 50 m, every object that returned a point):",
        "",
        "| existence | " + " | ".join(KEYS) + " |",
        "|---" * (len(KEYS) + 1) + "|",
    ]
    for name, label in (("tracks", "learned"), ("bayes", "Bayes update")):
        row = found[name]
        lines.append(
            f"| {label} | "
            + " | ".join(f"{row[k]:.3f}" if row[k] < 1 and k in KEYS[1:4] else f"{row[k]:g}" for k in KEYS)
            + " |"
        )
    for label, curve in found["reliability"].items():
        lines += [
            "",
            f"## {label}: predicted existence against the share that was real",
            "",
            f"![reliability](reliability_{label}.svg)",
            "",
            f"{curve['rows']} rows; mean error {curve.get('ece', 0):.4f}, Brier {curve.get('brier', 0):.4f}.",
        ]
    thresholds = ", ".join(f"{name} {value:g}" for name, value in chosen.items())
    lines += ["", f"Tracker parameters that go with it: {thresholds}.", ""]
    return "\n".join(lines)
