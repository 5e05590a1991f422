"""``percept train heading``: train what judges which end of a car is its front, for a LiDAR detector."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from percept_ros.cli.output import emit_json, emit_table, note
from percept_ros.cli.train import HELD_OUT_SEEDS, require_torch

FILE = "heading.npz"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def heading(
    out: Path = typer.Option(..., "-o", "--out", help="folder of the detector with its judge"),
    detector: str = typer.Option("lidar_pillars", help="model whose headings are judged"),
    scans: int = typer.Option(6000, min=20, help="simulated scans"),
    held_out: int = typer.Option(400, min=10, help="scans of another seed: half choose the threshold, half measure"),
    seed: int = typer.Option(0, min=0, help="seed of scans, weights and order"),
    cache: Path | None = typer.Option(None, help="folder of simulated scans, reused; else OUT/scans"),
    threads: int = typer.Option(1, min=1, help="threads of PyTorch"),
    as_json: bool = typer.Option(False, "--json", help="print one JSON object"),
) -> None:
    """Train the heading judge on simulated cars, and write the detector's model folder with it.

    Example: percept train heading --detector lidar_pillars --scans 2000 -o /tmp/pillars --json
    """
    require_torch()
    from percept_ros.detectors.learned import LearnedDetector
    from percept_ros.inference.manifest import find_model, load_manifest, sha256_of, write_manifest
    from percept_ros.train import heading as recipe
    from percept_ros.train.simulated import fill
    from percept_ros.train.threads import use_threads

    use_threads(threads)
    train, test = cache or out / "scans", out / "held_out"
    fill(train, scans, seed, note)
    fill(test, held_out, seed + HELD_OUT_SEEDS, note)
    chosen = recipe.HeadingRecipe(seed=seed)
    features = recipe.collect(sorted(train.glob("*.npz")), chosen, note)
    judge = recipe.fit(features, chosen, note)
    model = out / "model"
    shutil.copytree(find_model(detector), model, dirs_exist_ok=True)
    manifest = load_manifest(model)
    plain = {k: v for k, v in manifest.postprocess.params.items() if k != "heading"}
    write_manifest(replace(manifest, postprocess=replace(manifest.postprocess, params=plain)), model)
    asked = LearnedDetector(model)
    asked.load()
    files = sorted(test.glob("*.npz"))
    choosing = recipe.opinions(files[0::2], asked, judge)
    judge = replace(judge, threshold=recipe.choose_threshold(choosing))
    measuring = recipe.opinions(files[1::2], asked, judge)
    asked.close()
    (model / FILE).write_bytes(judge.pack())
    attached = f"{FILE}:{sha256_of(model / FILE)}"
    others = tuple(a for a in manifest.attachments if a.rpartition(":")[0] != FILE)
    judged = replace(manifest.postprocess, params={**plain, "heading": FILE})
    write_manifest(replace(manifest, postprocess=judged, attachments=(*others, attached)), model)
    metrics: dict[str, Any] = {
        "cars": len(features),
        "threshold": judge.threshold,
        "held_out_cars": len(measuring.right),
        "detector_right": float(measuring.right.mean()),
        "judged_right": recipe.share_right(measuring, judge.threshold),
        "turned": int((measuring.log_odds < judge.threshold).sum()),
    }
    if as_json:
        emit_json({"checkpoint": str(model / FILE), "model": str(model), "metrics": metrics})
    else:
        emit_table("heading", ("metric", "value"), metrics.items())
