"""Which model answers for which sequence: folders of held-out models, by the data set's own folds.

A folder of folds holds ``without_<sequence>_...`` sub-folders (trained without those sequences) and ``all``; a sequence that
no sub-folder left out gets ``all``. A plain model folder answers for everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from percept_ros.errors import ManifestError

FOLDS = 5
PREFIX = "without_"
ALL = "all"


def folds(sequences: Sequence[str], count: int = FOLDS) -> list[tuple[str, ...]]:
    """Sequences in ``count`` groups, every ``count``-th together."""
    names = sorted(set(sequences))
    return [tuple(names[i::count]) for i in range(min(count, len(names)))]


def fold_folder(root: Path, held_out: Sequence[str]) -> Path:
    """Sub-folder of the model that never saw ``held_out``."""
    return root / (PREFIX + "_".join(sorted(held_out)))


def models_for(root: Path, sequences: Sequence[str]) -> dict[Path, tuple[str, ...]]:
    """Model folder -> sequences that it answers for. Raises ManifestError when a sequence has none."""
    if (root / "model.yaml").exists():
        return {root: tuple(sorted(set(sequences)))}
    held = {n: f for f in sorted(root.glob(f"{PREFIX}*")) for n in f.name.removeprefix(PREFIX).split("_") if f.is_dir()}
    found: dict[Path, list[str]] = {}
    for name in sorted(set(sequences)):
        folder = held.get(name, root / ALL)
        if not folder.is_dir():
            raise ManifestError(f"model folder '{root}' holds no model.yaml, and no fold for sequence '{name}'")
        found.setdefault(folder, []).append(name)
    return {folder: tuple(names) for folder, names in found.items()}
