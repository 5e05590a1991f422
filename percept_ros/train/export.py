"""From a checkpoint to a model folder: ONNX, INT8, manifest and a report of what INT8 changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from percept_ros.core.bev import BevGrid, BevRasteriser
from percept_ros.core.decode import CentreHeads, decode_centres
from percept_ros.errors import ModelError
from percept_ros.inference.manifest import Artefact, Manifest, Step, Tensor, sha256_of, write_manifest
from percept_ros.settings import to_dict
from percept_ros.train.bird_eye_network import BirdEyeNetwork, ExportedNetwork, NetworkSize
from percept_ros.train.scans import CLASSES, load_scan
from percept_ros.train.windows import OUTPUT_STRIDE
from percept_ros.types import F32

OPSET = 17


def load_averaged(checkpoint: Path, size: NetworkSize | None = None) -> BirdEyeNetwork:
    """The running average of a checkpoint, ready to infer."""
    network = BirdEyeNetwork(size)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network.load_state_dict(state["averaged"])
    network.eval()
    return network


def export_onnx(network: BirdEyeNetwork, file: Path, grid: BevGrid) -> None:
    """Write the network with fixed batch 1 (input ``bev``, outputs ``heat`` in [0, 1] and ``box``)."""
    example = torch.zeros(1, grid.channels, grid.size, grid.size)
    torch.onnx.export(
        ExportedNetwork(network),
        (example,),
        str(file),
        opset_version=OPSET,
        input_names=["bev"],
        output_names=["heat", "box"],
        dynamo=False,
    )


def images(scans: Sequence[Path], grid: BevGrid) -> Iterator[F32]:
    """Bird's-eye images of cached scans; each is valid until the next."""
    raster = BevRasteriser(grid)
    for file in scans:
        yield raster.rasterise(load_scan(file).points)


class _Calibration:
    """Feeds images to the quantiser."""

    def __init__(self, scans: Sequence[Path], grid: BevGrid) -> None:
        self._images = images(scans, grid)

    def get_next(self) -> dict[str, F32] | None:
        image = next(self._images, None)
        return None if image is None else {"bev": image.copy()}


def quantise(file: Path, out: Path, scans: Sequence[Path], grid: BevGrid) -> None:
    """Post-training static INT8 (Q/DQ, weights per channel, activations unsigned), calibrated on ``scans``."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(file), str(prepared))
    quantize_static(
        str(prepared),
        str(out),
        _Calibration(scans, grid),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        calibrate_method=CalibrationMethod.MinMax,
        nodes_to_exclude=_last_nodes(prepared),
    )
    prepared.unlink()


def _last_nodes(file: Path) -> list[str]:
    """The two output convolutions and the sigmoid: a hundredth of the work, and the place where rounding would show."""
    import onnx

    graph = onnx.load(str(file)).graph
    producer = {name: node for node in graph.node for name in node.output}
    ends = [producer[output.name] for output in graph.output]
    return [
        n.name
        for end in ends
        for n in (end, producer.get(end.input[0]))
        if n is not None and n.op_type in ("Conv", "Sigmoid")
    ]


def compare(file: Path, other: Path, scans: Sequence[Path], grid: BevGrid, heads: CentreHeads) -> dict[str, Any]:
    """What ``other`` changes on the same images: heat difference, and boxes found by one alone (score 0.3)."""
    import onnxruntime

    first, second = (onnxruntime.InferenceSession(str(f), providers=["CPUExecutionProvider"]) for f in (file, other))
    largest, boxes, lost, shift = 0.0, 0, 0, []
    for image in images(scans, grid):
        a, b = first.run(None, {"bev": image}), second.run(None, {"bev": image})
        largest = max(largest, float(np.abs(a[0] - b[0]).max()))
        own, scores, _ = decode_centres(a[0][0], a[1][0], heads)
        others, _, _ = decode_centres(b[0][0], b[1][0], heads)
        own = own[scores >= 0.3]
        boxes += len(own)
        if len(own) == 0:
            continue
        distance = np.hypot(*(own[:, None, :2] - others[None, :, :2]).transpose(2, 0, 1))
        nearest = distance.min(axis=1) if len(others) else np.full(len(own), np.inf)
        lost += int(np.sum(nearest > 1.0))
        shift += nearest[nearest <= 1.0].tolist()
    return {
        "scans": len(scans),
        "boxes": boxes,
        "boxes_lost": lost,
        "largest_heat_difference": largest,
        "median_shift_m": float(np.median(shift)) if shift else None,
    }


def export_folder(
    network: BirdEyeNetwork,
    folder: Path,
    name: str,
    version: str,
    scans: Sequence[Path],
    grid: BevGrid,
    heads: CentreHeads,
) -> dict[str, Any]:
    """Write fp32 and INT8 artefacts and model.yaml; half of ``scans`` calibrates, half compares.

    Raises ModelError when INT8 loses more than one box in fifty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    full, small = folder / "model.onnx", folder / "model_int8.onnx"
    export_onnx(network, full, grid)
    half = len(scans) // 2
    quantise(full, small, scans[:half], grid)
    report = compare(full, small, scans[half:], grid, heads)
    if report["boxes_lost"] > 0.02 * max(50, report["boxes"]):
        raise ModelError(
            f"INT8 of '{name}' loses {report['boxes_lost']} of {report['boxes']} boxes, more than 2 percent"
        )
    write_manifest(_manifest(name, version, [small, full], grid, heads), folder)
    return report


def _manifest(name: str, version: str, files: list[Path], grid: BevGrid, heads: CentreHeads) -> Manifest:
    side = grid.size // OUTPUT_STRIDE
    precisions = ("int8", "fp32")
    artefacts = [Artefact(f.name, "onnx", p, sha256_of(f)) for f, p in zip(files, precisions, strict=True)]
    return Manifest(
        name=name,
        version=version,
        kind="detector3d",
        classes=tuple(c.name.lower() for c in CLASSES),
        inputs=(Tensor("bev", (1, grid.channels, grid.size, grid.size), "float32"),),
        outputs=(
            Tensor("heat", (1, len(CLASSES), side, side), "float32"),
            Tensor("box", (1, 10, side, side), "float32"),
        ),
        preprocess=Step("bev_raster", to_dict(grid)),
        postprocess=Step("centre_heads", asdict(heads)),
        artefacts=tuple(artefacts),
        licence="Apache-2.0",
        card="README.md",
    )
