"""Existence model: a calibrated probability that a track is a real object, from causal evidence.

The kernel computes the evidence and evaluates the model each frame (kernels/src/tracking_existence.h); this module reads
and writes model files and holds the same arithmetic in numpy for training.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from percept_ros.errors import ManifestError
from percept_ros.types import F64, NUM_CLASSES, ObjectClass

FEATURES = (
    "hit",
    "score",
    "score_mean",
    "score_max",
    "score_recent",
    "hit_rate",
    "hit_recent",
    "log_frames",
    "coast_s",
    "camera_hit",
    "camera_score",
    "camera_recent",
    "camera_rate",
    "log_range",
    "log_pixel_height",
    "occluded",
    "visible",
    "shadowed",
    "innovation",
    "speed",
    "log_hits",
    "in_view",
    "log_variance",
    "volume",
    "fast",
    "coast_unseen_s",
    "coast_occluded_s",
    "score_far",
    "coast_well_known_s",
    "camera_overlap",
    "border",
    "yaw_jitter",
    "size_jitter",
    "camera_born",
    "camera_scale",
    "camera_scale_off",
    "camera_score_mean",
)
"""Evidence of a track, in kernel order. Scores are logits; rates are in [0, 1]; recent = mean over about 0.5 s."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One network: standardised features -> tanh units (none: logistic regression) -> probability.

    mean, scale: (F,). hidden: (H, F + 1) weights and bias, H may be 0. output: (H + 1,), or (F + 1,) when H is 0.
    """

    mean: F64
    scale: F64
    hidden: F64
    output: F64

    def probability(self, features: F64) -> F64:
        """(N, F) -> (N,) probability of being a real object."""
        z = (features - self.mean) / self.scale
        if len(self.hidden):
            z = np.tanh(z @ self.hidden[:, :-1].T + self.hidden[:, -1])
        logits = z @ self.output[:-1] + self.output[-1]
        result: F64 = 1.0 / (1.0 + np.exp(-logits))
        return result

    def flat(self) -> F64:
        """Kernel layout."""
        parts = [[float(len(self.hidden))], self.mean, self.scale]
        if len(self.hidden):
            parts += [self.hidden[:, :-1].ravel(), self.hidden[:, -1]]
        return np.concatenate([*parts, self.output]).astype(np.float64)

    def to_json(self) -> dict[str, Any]:
        """Plain lists."""
        rounded = {
            k: np.char.mod("%.6g", getattr(self, k)).astype(np.float64) for k in ("mean", "scale", "hidden", "output")
        }
        return {k: v.tolist() for k, v in rounded.items()}

    @staticmethod
    def from_json(tree: Mapping[str, Any], features: Sequence[str] = FEATURES) -> Layer:
        """Inverse of ``to_json`` for a model of ``features``; others of ``FEATURES`` get no weight.

        Raises ManifestError when shapes do not fit.
        """
        width = len(features)
        mean, scale, output = (np.asarray(tree[k], np.float64) for k in ("mean", "scale", "output"))
        hidden = np.asarray(tree["hidden"], np.float64).reshape(-1, width + 1)
        expected = len(hidden) + 1 if len(hidden) else width + 1
        if mean.shape != (width,) or scale.shape != (width,) or output.shape != (expected,) or not (scale > 0).all():
            raise ManifestError(f"existence model: shapes do not fit {width} features; train it again")
        at = np.array([FEATURES.index(name) for name in features])
        wide = Layer(
            np.zeros(len(FEATURES)), np.ones(len(FEATURES)), np.zeros((len(hidden), len(FEATURES) + 1)), output
        )
        wide.mean[at], wide.scale[at] = mean, scale
        if not len(hidden):
            line = np.zeros(len(FEATURES) + 1)
            line[at], line[-1] = output[:-1], output[-1]
            return Layer(wide.mean, wide.scale, wide.hidden, line)
        wide.hidden[:, at], wide.hidden[:, -1] = hidden[:, :-1], hidden[:, -1]
        return wide


@dataclass(frozen=True, slots=True)
class ExistenceModel:
    """Networks by class and by whether a camera took part; ``parameters`` are tracker parameters chosen with them.

    layers: (class, camera) -> network. parameters: class name -> field of ClassParameters -> value.
    """

    layers: Mapping[tuple[ObjectClass, bool], Layer]
    parameters: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    name: str = ""
    trained_on: tuple[str, ...] = ()

    def flat(self) -> F64:
        """Kernel layout: offsets of (class, without and with camera), then the networks."""
        offsets, blocks, at = np.full(2 * NUM_CLASSES, -1.0), [], 2 * NUM_CLASSES
        for (kind, camera), layer in sorted(self.layers.items()):
            offsets[2 * kind + camera] = at
            blocks.append(layer.flat())
            at += blocks[-1].size
        return np.concatenate([offsets, *blocks])


def load_existence(path: Path) -> ExistenceModel:
    """Read a model file. Raises ManifestError when it cannot be used."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(tree["features"])
        if not set(names) <= set(FEATURES) or len(set(names)) != len(names):
            raise ManifestError(f"existence model '{path}' was trained on other features; train it again")
        layers = {
            (ObjectClass[item["class"]], bool(item["camera"])): Layer.from_json(item, names)
            for item in tree["networks"]
        }
        return ExistenceModel(layers, tree["parameters"], tree["name"], tuple(tree["trained_on"]))
    except (OSError, KeyError, ValueError, TypeError) as exc:
        raise ManifestError(f"existence model '{path}' cannot be used: {exc!r}") from exc


def save_existence(model: ExistenceModel, path: Path) -> str:
    """Write a model file; returns its sha256."""
    networks = [{"class": k.name, "camera": c, **v.to_json()} for (k, c), v in sorted(model.layers.items())]
    tree = {
        "name": model.name,
        "trained_on": list(model.trained_on),
        "features": list(FEATURES),
        "parameters": {k: dict(v) for k, v in model.parameters.items()},
        "networks": networks,
    }
    text = json.dumps(tree, indent=None, separators=(",", ":")) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()
