"""Checks of tensors that all engines share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import ArtefactRefused, NonFiniteOutput, TensorMismatch
from percept_ros.inference.engine import Tensors, TensorSpec
from percept_ros.inference.options import Profile


def check_inputs(specs: tuple[TensorSpec, ...], inputs: Tensors) -> None:
    """Raise TensorMismatch unless ``inputs`` are exactly the tensors of ``specs``."""
    names = [spec.name for spec in specs]
    if unknown := [name for name in inputs if name not in names]:
        raise TensorMismatch(f"unknown input '{unknown[0]}': this model takes {', '.join(names)}")
    for spec in specs:
        if spec.name not in inputs:
            raise TensorMismatch(f"input '{spec.name}' is missing: this model takes {', '.join(names)}")
        spec.check(inputs[spec.name])


def check_finite(outputs: Tensors, engine: str) -> None:
    """Raise NonFiniteOutput when an output holds NaN or infinity."""
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not all_finite(array):
            bad = int(np.count_nonzero(~np.isfinite(array)))
            raise NonFiniteOutput(f"output '{name}' of {engine} holds {bad} of {array.size} values not finite")


def all_finite(array: npt.NDArray[Any]) -> bool:
    """Whether no value is NaN or infinite. One pass in the usual case."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(array, dtype=array.dtype if array.dtype.itemsize >= 4 else np.float32)):
            return True
    return bool(np.isfinite(array).all())


def check_specs(kind: str, found: tuple[TensorSpec, ...], expected: tuple[TensorSpec, ...], file: str) -> None:
    """Raise ArtefactRefused unless the artefact's tensors are those of the manifest (nothing expected = anything).

    A dimension that one side leaves dynamic fits any size of the other.
    """
    by_name = {spec.name: spec for spec in found}
    for want in expected:
        have = by_name.get(want.name)
        if have is None:
            names = ", ".join(by_name) or "none"
            raise ArtefactRefused(f"'{file}' has no {kind} '{want.name}' that the manifest names; it has {names}")
        if have.dtype != want.dtype:
            raise ArtefactRefused(f"{kind} '{want.name}' of '{file}' is {have.dtype}, the manifest says {want.dtype}")
        if not _same_shape(have.shape, want.shape):
            shapes = f"{list(have.shape)}, the manifest says {list(want.shape)}"
            raise ArtefactRefused(f"{kind} '{want.name}' of '{file}' has shape {shapes} (-1 = any)")
    if expected and kind == "input" and (extra := set(by_name) - {w.name for w in expected}):
        raise ArtefactRefused(f"'{file}' needs input '{sorted(extra)[0]}', which the manifest does not name")


def _same_shape(have: tuple[int, ...], want: tuple[int, ...]) -> bool:
    if len(have) != len(want):
        return False
    return all(-1 in (a, b) or a == b for a, b in zip(have, want, strict=True))


def usual_shapes(specs: Iterable[TensorSpec], profile: Profile | None) -> dict[str, tuple[int, ...]]:
    """Shape of each input to warm with: the profile's usual one, else 1 in place of each dynamic dimension."""
    shapes = {}
    for spec in specs:
        given = profile.get(spec.name) if profile else None
        shapes[spec.name] = given.usual if given else tuple(1 if d == -1 else d for d in spec.shape)
    return shapes


def warm_inputs(specs: tuple[TensorSpec, ...], profiles: tuple[Profile, ...]) -> list[Mapping[str, npt.NDArray[Any]]]:
    """Inputs of zeros, one set a profile (one set when there are none)."""
    sets: list[Mapping[str, npt.NDArray[Any]]] = []
    for profile in profiles or (None,):
        shapes = usual_shapes(specs, profile)
        sets.append({spec.name: np.zeros(shapes[spec.name], spec.dtype) for spec in specs})
    return sets
