"""From a checkpoint to a model folder: ONNX, INT8, manifest and a report of what INT8 changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from percept_ros.core.bev import BevRasteriser
from percept_ros.core.decode import CentreHeads, decode_centres
from percept_ros.errors import ModelError
from percept_ros.inference.half import to_half
from percept_ros.inference.manifest import Artefact, Manifest, Step, Tensor, sha256_of, write_manifest
from percept_ros.settings import to_dict
from percept_ros.train.bird_eye_network import BirdEyeNetwork, ExportedNetwork
from percept_ros.train.calibrate import shift_scores
from percept_ros.train.scans import CLASSES, load_scan
from percept_ros.train.windows import GRID
from percept_ros.types import F32, F64

if TYPE_CHECKING:
    from torch import nn

OPSET = 17
WORKING_SCORE = 0.3
LARGEST_LOSS = 0.02
LIDAR_HEADS = CentreHeads(iou=0.25)
"""Seen from above a trailer and its tractor overlap by up to 0.2 of their union, and must not suppress each other."""
Feed = dict[str, F32]


@dataclass(frozen=True, slots=True)
class Order:
    """What to write. module: network with the sigmoid inside, outputs heat and box. example: inputs by name.

    dynamic: input name -> name of its dynamic first axis. preprocess: the manifest's. calibrate, judge: inputs of frames
    that INT8 is calibrated and judged on. half: also write fp16, with operators of these types left in fp32; None = do not.
    exclude: names of nodes that are not quantised.
    """

    name: str
    module: nn.Module
    example: Mapping[str, torch.Tensor]
    preprocess: Step
    calibrate: Sequence[Feed] | Iterator[Feed]
    judge: Sequence[Feed] | Iterator[Feed]
    dynamic: Mapping[str, str] = field(default_factory=dict)
    version: str = "1"
    heads: CentreHeads = CentreHeads()
    half: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()


def load_averaged(network: BirdEyeNetwork, checkpoint: Path) -> BirdEyeNetwork:
    """``network`` with the running average of a checkpoint, ready to infer."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network.load_state_dict(state["averaged"])
    network.eval()
    return network


def lidar_order(
    checkpoint: Path, scans: Sequence[Path], name: str = "lidar_pillars", working_scores: F64 | None = None
) -> Order:
    """How lidar_pillars is written; the even ``scans`` calibrate INT8, the odd ones judge it.

    working_scores: (C,) score of each class that shall become 0.3 (see calibrate.py); None leaves scores as they are.
    """
    side = GRID.size
    network = load_averaged(BirdEyeNetwork(), checkpoint)
    if working_scores is not None:
        shift_scores(network, working_scores)
    return Order(
        name,
        ExportedNetwork(network),
        {"bev": torch.zeros(1, GRID.channels, side, side)},
        Step("bev_raster", to_dict(GRID)),
        _drawn(scans[::2]),
        _drawn(scans[1::2]),
        heads=LIDAR_HEADS,
    )


def _drawn(scans: Sequence[Path]) -> Iterator[Feed]:
    raster = BevRasteriser(GRID)
    for file in scans:
        yield {"bev": raster.rasterise(load_scan(file).points).copy()}


def export_folder(order: Order, folder: Path) -> dict[str, Any]:
    """Write fp32 and INT8 artefacts and model.yaml; returns what INT8 changed.

    Raises ModelError when INT8 loses more than one box in fifty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    full, small = folder / "model.onnx", folder / "model_int8.onnx"
    _write_onnx(order, full)
    _quantise(full, small, order)
    report = compare(full, small, order.judge, order.heads)
    if report["boxes_lost"] > LARGEST_LOSS * max(50, report["boxes"]):
        raise ModelError(
            f"INT8 of '{order.name}' loses {report['boxes_lost']} of {report['boxes']} boxes, over 2 percent"
        )
    write_manifest(_manifest(order, _files(order, folder)), folder)
    return report


def _files(order: Order, folder: Path) -> dict[str, Path]:
    """Precision -> file, in order of preference; writes the fp16 one where it is asked for."""
    files = {"int8": folder / "model_int8.onnx", "fp32": folder / "model.onnx"}
    if order.half is not None:
        import onnx

        files["fp16"] = folder / "model_fp16.onnx"
        onnx.save(to_half(onnx.load(str(files["fp32"])), order.half), str(files["fp16"]))
    return files


def _write_onnx(order: Order, file: Path) -> None:
    torch.onnx.export(
        order.module,
        tuple(order.example.values()),
        str(file),
        opset_version=OPSET,
        input_names=list(order.example),
        output_names=["heat", "box"],
        dynamic_axes={name: {0: axis} for name, axis in order.dynamic.items()},
        dynamo=False,
    )


class _Calibration:
    """Hands frames to the quantiser."""

    def __init__(self, feeds: Sequence[Feed] | Iterator[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def _quantise(file: Path, out: Path, order: Order) -> None:
    """Post-training static INT8 (Q/DQ, weights per channel, activations unsigned) of the convolutions."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(file), str(prepared), skip_symbolic_shape=bool(order.dynamic))
    quantize_static(
        str(prepared),
        str(out),
        _Calibration(order.calibrate),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        calibrate_method=CalibrationMethod.MinMax,
        op_types_to_quantize=["Conv", "Add", "Relu", "Concat", "Resize"],
        nodes_to_exclude=[*_last_nodes(prepared), *_geometry(prepared), *order.exclude],
    )
    prepared.unlink()


def _last_nodes(file: Path) -> list[str]:
    """The two output convolutions: a hundredth of the work, and the place where rounding would show."""
    import onnx

    graph = onnx.load(str(file)).graph
    producer = {name: node for node in graph.node for name in node.output}
    ends = [producer[output.name] for output in graph.output]
    chain = [n for end in ends for n in (end, producer.get(end.input[0])) if n is not None]
    return [n.name for n in chain if n.op_type == "Conv"]


def _geometry(file: Path) -> list[str]:
    """Whatever leads to the places where images are sampled: eight bits are far too few for a projection."""
    import onnx

    graph = onnx.load(str(file)).graph
    producer = {name: node for node in graph.node for name in node.output}
    open_ends = [node.input[1] for node in graph.node if node.op_type == "GridSample"]
    found: dict[str, None] = {}
    while open_ends:
        node = producer.get(open_ends.pop())
        if node is not None and node.name not in found:
            found[node.name] = None
            open_ends += node.input
    return list(found)


def compare(file: Path, other: Path, feeds: Sequence[Feed] | Iterator[Feed], heads: CentreHeads) -> dict[str, Any]:
    """What ``other`` changes on the same frames: heat, and boxes of ``file`` (score 0.3) with none of ``other``'s near."""
    import onnxruntime

    first, second = (onnxruntime.InferenceSession(str(f), providers=["CPUExecutionProvider"]) for f in (file, other))
    frames, largest, boxes, shifts = 0, 0.0, 0, [np.zeros(0)]
    for feed in feeds:
        a, b = first.run(["heat", "box"], feed), second.run(["heat", "box"], feed)
        largest = max(largest, float(np.abs(a[0] - b[0]).max()))
        own, scores, _ = decode_centres(a[0][0], a[1][0], heads)
        others, _, _ = decode_centres(b[0][0], b[1][0], heads)
        own, frames = own[scores >= WORKING_SCORE], frames + 1
        boxes += len(own)
        offset = own[:, None, :2] - others[None, :, :2]
        shifts.append(np.hypot(offset[..., 0], offset[..., 1]).min(axis=1, initial=np.inf))
    nearest = np.concatenate(shifts)
    kept = nearest[nearest <= 1.0]
    return {
        "frames": frames,
        "boxes": boxes,
        "boxes_lost": int(np.sum(nearest > 1.0)),
        "largest_heat_difference": largest,
        "median_shift_m": float(np.median(kept)) if len(kept) else None,
    }


def _manifest(order: Order, files: Mapping[str, Path]) -> Manifest:
    side = round(2.0 * GRID.half_m / order.heads.cell_m)
    artefacts = [Artefact(f.name, "onnx", precision, sha256_of(f)) for precision, f in files.items()]
    inputs = []
    for name, example in order.example.items():
        shape = list(example.shape)
        inputs.append(Tensor(name, (-1, *shape[1:]) if name in order.dynamic else tuple(shape), "float32"))
    usual = {name: tuple(order.example[name].shape) for name in order.dynamic}
    profile = {n: {"min": (1, *s[1:]), "usual": s, "max": (8, *s[1:])} for n, s in usual.items()}
    return Manifest(
        name=order.name,
        version=order.version,
        kind="detector3d",
        classes=tuple(c.name.lower() for c in CLASSES),
        inputs=tuple(inputs),
        outputs=(
            Tensor("heat", (1, len(CLASSES), side, side), "float32"),
            Tensor("box", (1, 10, side, side), "float32"),
        ),
        preprocess=order.preprocess,
        postprocess=Step("centre_heads", asdict(order.heads)),
        artefacts=tuple(artefacts),
        profiles=(profile,) if profile else (),  # type: ignore[arg-type]
        licence="Apache-2.0",
        card="README.md",
    )
