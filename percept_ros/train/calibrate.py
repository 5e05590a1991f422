"""What a score means: shifts each class so that 0.3 is its best working point on simulated scans not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from percept_ros.core.bev import BevRasteriser
from percept_ros.core.decode import CentreHeads, decode_centres
from percept_ros.evaluate.detection import Found, Judged, Reference, judge
from percept_ros.train.bird_eye_network import BirdEyeNetwork
from percept_ros.train.scans import CLASSES, Scan, load_scan
from percept_ros.train.windows import GRID
from percept_ros.types import F32, F64

WORKING_SCORE = 0.3
RANGE_M, LEAST_RETURNS = 40.0, 20
_SCORES = np.round(np.arange(0.2, 0.61, 0.02), 2)


def best_scores(network: BirdEyeNetwork, scans: Sequence[Path], heads: CentreHeads | None = None) -> F64:
    """(C,) score of each class with the best F1 over ``scans``, objects within 40 m that returned 20 points."""
    heads, raster = heads or CentreHeads(), BevRasteriser(GRID)
    frames = [_frame(network, raster, load_scan(file), heads) for file in scans]
    raster.close()
    return np.array([_best(judge(frames, kind)) for kind in CLASSES])


@torch.no_grad()
def _frame(network: BirdEyeNetwork, raster: BevRasteriser, scan: Scan, heads: CentreHeads) -> tuple[Found, Reference]:
    heat, box = _answers(network, raster.rasterise(scan.points))
    boxes, scores, shares = decode_centres(heat, box, heads)
    kinds = np.array([int(c) for c in CLASSES])
    found = Found(boxes, kinds[np.argmax(shares, axis=1)], scores, np.hypot(boxes[:, 0], boxes[:, 1]) < RANGE_M)
    counted = (np.hypot(scan.boxes[:, 0], scan.boxes[:, 1]) < RANGE_M) & (scan.inside >= LEAST_RETURNS)
    known = scan.classes >= 0
    return found, Reference(scan.boxes, np.where(known, kinds[scan.classes], 0), counted & known)


def _answers(network: BirdEyeNetwork, image: F32) -> tuple[F32, F32]:
    with torch.autocast("cpu", torch.bfloat16):
        heat, box = network(torch.from_numpy(image).to(memory_format=torch.channels_last))
    return torch.sigmoid(heat.float())[0].numpy(), box.float()[0].numpy()


def _best(judged: Judged) -> float:
    """The score with the best F1; the working score itself where nothing is found."""
    objects = len(judged.reference_score)
    if not objects:
        return WORKING_SCORE
    right = np.array([(judged.reference_score >= s).sum() for s in _SCORES])
    said = np.array([(judged.scores >= s).sum() for s in _SCORES])
    return float(_SCORES[np.argmax(2.0 * right / (said + objects))]) if right.any() else WORKING_SCORE


@torch.no_grad()
def shift_scores(network: BirdEyeNetwork, scores: F64) -> None:
    """Move the heat of each class so that what scored ``scores`` (C,) scores 0.3."""
    last = network.heat[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    odds = np.log(WORKING_SCORE / (1 - WORKING_SCORE)) - np.log(scores / (1 - scores))
    last.bias += torch.from_numpy(odds.astype(np.float32))
