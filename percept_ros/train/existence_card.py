"""model.yaml, model card and reliability curves of a folder of existence models, from what they give on held-out sequences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from percept_ros.core.existence import FEATURES, load_existence
from percept_ros.evaluate import mot_run
from percept_ros.evaluate.kitti_tracking import CLASSES
from percept_ros.evaluate.mot_report import reliability_chart
from percept_ros.inference.manifest import Artefact, Manifest, Step, Tensor, write_manifest

LICENCE = "CC BY-NC-SA 3.0"
CARD = "README.md"
FORMAT = "tracker"


def write_card(out: Path, root: Path, camera: str, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Score the folds in ``out`` on the sequences they never saw; write model.yaml, README.md and the curves. Returns scores."""
    tracked = mot_run.track_all(root, [], camera or None, out)
    scores = {label: mot_run.score(tracked, label, 0.25) for label in CLASSES}
    for label, found in scores.items():
        (out / f"reliability_{label.lower()}.svg").write_text(reliability_chart(found["reliability"]), encoding="utf-8")
    (out / CARD).write_text(_card(out.name, camera, scores, _innovations(tracked), out), encoding="utf-8")
    write_manifest(manifest(out.name, hashes, LICENCE), out)
    return scores


def manifest(name: str, hashes: Mapping[str, str], licence: str) -> Manifest:
    """Manifest of a folder of existence models; the tracker reads them itself, ``frozen.json`` first."""
    order = sorted(hashes, key=lambda file: (file != "frozen.json", file))
    return Manifest(
        name=name,
        kind="existence",
        inputs=(Tensor("evidence", (-1, len(FEATURES)), "float32"),),
        outputs=(Tensor("existence", (-1, 1), "float32"),),
        preprocess=Step("track_evidence", {"features": list(FEATURES)}),
        artefacts=tuple(Artefact(file, FORMAT, "fp32", hashes[file], part=Path(file).stem) for file in order),
        licence=licence,
        card=CARD,
    )


def _innovations(tracked: list[mot_run.Tracked]) -> dict[str, dict[str, Any]]:
    return {label: mot_run.innovation(tracked, label) for label in CLASSES}


def _card(name: str, camera: str, scores: Mapping[str, Any], innovations: Mapping[str, Any], out: Path) -> str:
    frozen = load_existence(out / "frozen.json")
    flag = f" --camera {camera}" if camera else ""
    seen = f"PointRCNN 3D boxes and {camera} 2D boxes" if camera else "PointRCNN 3D boxes"
    lines = [
        f"# {name}: is a track a real object?",
        "",
        f"The tracker's existence for {seen} on KITTI: small networks (tanh units, several starts averaged) over",
        f"{len(FEATURES)} causal features of a track, one network a class, and the thresholds chosen with them. `frozen.json` was trained",
        f"on all {len(frozen.trained_on)} sequences; `without_NNNN.json` on all but one, to judge that one.",
        "",
        "- Trained on: KITTI tracking, sequences " + " ".join(frozen.trained_on) + ".",
        f"- Licence of the weights: {LICENCE}, as the data: **not for commercial use**. The package's default does not use them.",
        f"- Recipe: `percept train existence --root KITTI_MOT{flag} -o {name}` (numpy and scipy, minutes on one core): the tracker",
        "  keeps every track to its time limit; a live track is true in a frame when it matches a label at 3D IoU 0.25; weighted cross-entropy",
        "  with weight decay. Networks of a fold come from its own training sequences alone; its thresholds for cars are those that do best",
        "  on the other sequences, each tracked by the fold that had not seen that one.",
        "- Set once while looking at all ten sequences, so the figures are somewhat optimistic: which features, the candidate thresholds,",
        "  those of pedestrians (too few to choose by), life limits, measurement noise, and the height by which cars are placed.",
        "",
        "Every figure below is on sequences that the model had not seen (leave one sequence out), 3D IoU 0.25:",
        "",
        "| class | sAMOTA | without the rounding | MOTA | IDS | FRAG | FP | FN |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for label, s in scores.items():
        shares = " | ".join(f"{s[k]:.2f}" for k in ("sAMOTA", "sAMOTA_unrounded", "MOTA"))
        lines.append(f"| {label} | {shares} | {s['IDS']} | {s['FRAG']} | {s['FP']} | {s['FN']} |")
    for label, s in scores.items():
        lines += _reliability(label, s["reliability"], innovations[label])
    chosen = "; ".join(f"{k}: " + ", ".join(f"{n} {v:g}" for n, v in p.items()) for k, p in frozen.parameters.items())
    lines += ["", f"Tracker parameters that go with `frozen.json`: {chosen}.", ""]
    return "\n".join(lines)


def _reliability(label: str, curve: Mapping[str, Any], innovation: Mapping[str, Any]) -> list[str]:
    lines = [
        "",
        f"## {label}: predicted existence against the share that was true",
        "",
        f"![reliability](reliability_{label.lower()}.svg)",
        "",
        f"Every live track in every frame ({curve['rows']} rows); mean error {curve.get('ece', 0):.4f}, Brier {curve.get('brier', 0):.4f}.",
        "",
        "| predicted | rows | mean predicted | observed |",
        "|---|---|---|---|",
    ]
    for row in curve["bins"]:
        span = f"{row['from']:.1f} to {row['from'] + 0.1:.1f}"
        lines.append(f"| {span} | {row['rows']} | {row['predicted']:.3f} | {row['observed']:.3f} |")
    if innovation["matches"]:
        nis = f"{innovation['mean_nis']:.2f} a degree of freedom, {100 * innovation['beyond_95']:.1f} % beyond the 95 % point"
        lines += ["", f"Normalised innovations squared: {nis}."]
    return lines
