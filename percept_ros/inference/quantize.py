"""Post-training static quantisation of an ONNX to int8 (Q/DQ nodes, per channel), with a report of what it costs.

The loss of an output is 1 - cosine similarity between the fp32 and the int8 answer on frames that were not used for
calibration, channel by channel (the shortest axis after the batch, so that small scores beside large coordinates count),
weighted by each channel's peak up to 1. An int8 file that loses more than the bound is not written.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from percept_ros.errors import ArtefactRefused, EngineUnavailable, InputError
from percept_ros.inference.engine import Tensors
from percept_ros.inference.onnx import OnnxEngine
from percept_ros.inference.onnx_checks import check_model, parse_model
from percept_ros.inference.options import EngineOptions

METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
TARGETS = ("cpu", "tensorrt")
CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass(frozen=True, slots=True)
class OutputLoss:
    """fp32 against int8 of one output over all frames of the report. loss: mean over the frames."""

    name: str
    loss: float
    worst_loss: float
    largest_error: float
    largest_value: float


@dataclass(frozen=True, slots=True)
class AccuracyReport:
    """What quantisation cost and gained. loss: the largest of the outputs'. Times: median of a run, one thread."""

    outputs: tuple[OutputLoss, ...]
    loss: float
    bound: float
    calibration_frames: int
    report_frames: int
    fp32_ms: float
    int8_ms: float
    fp32_bytes: int
    int8_bytes: int


@dataclass(frozen=True, slots=True)
class QuantizeOrder:
    """How to quantise.

    target: ``cpu`` (unsigned activations, quickest in ONNX Runtime) or ``tensorrt`` (signed and symmetric, as TensorRT
    wants). method: how ranges are found. bound: largest loss accepted. exclude: names of nodes left in fp32.
    keep_last: leave the convolutions that make the outputs in fp32: little work, and where rounding shows.
    """

    target: str = "cpu"
    method: str = "minmax"
    bound: float = 0.02
    exclude: tuple[str, ...] = ()
    keep_last: bool = True
    operators: tuple[str, ...] = (
        "Conv",
        "MatMul",
        "Gemm",
        "ConvTranspose",
        "Relu",
        "Add",
        "Concat",
        "MaxPool",
        "Resize",
    )


def quantize(source: Path, file: Path, frames: Sequence[Tensors], order: QuantizeOrder | None = None) -> AccuracyReport:
    """Write ``file``, the int8 form of ``source``, calibrated on every second frame and judged on the others.

    Raises InputError for fewer than four frames, ArtefactRefused when the loss exceeds the bound.
    """
    how = order or QuantizeOrder()
    if len(frames) < 4:
        raise InputError(f"quantisation needs 4 frames or more to calibrate and to judge, got {len(frames)}")
    check_model(source)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".quantize-") as folder:
        made = Path(folder) / file.name
        _quantize_static(_prepared(source, Path(folder)), made, frames[::2], how)
        report = compare(source, made, frames[1::2], how.bound, len(frames[::2]))
        if report.loss > how.bound:
            raise ArtefactRefused(refusal(source, report))
        made.replace(file)
    return report


def compare(
    fp32: Path, int8: Path, frames: Sequence[Tensors], bound: float, calibration_frames: int = 0
) -> AccuracyReport:
    """Run both files on the same frames."""
    expected, fp32_ms = _answers(fp32, frames)
    found, int8_ms = _answers(int8, frames)
    losses = tuple(_loss(name, [e[name] for e in expected], [f[name] for f in found]) for name in expected[0])
    return AccuracyReport(
        outputs=losses,
        loss=max(item.loss for item in losses),
        bound=bound,
        calibration_frames=calibration_frames,
        report_frames=len(frames),
        fp32_ms=fp32_ms,
        int8_ms=int8_ms,
        fp32_bytes=fp32.stat().st_size,
        int8_bytes=int8.stat().st_size,
    )


def refusal(source: Path, report: AccuracyReport) -> str:
    """Why an int8 file was not kept."""
    worst = max(report.outputs, key=lambda item: item.loss)
    return (
        f"int8 of '{source}' loses {report.loss:.4f} at output '{worst.name}' (1 - cosine similarity, over"
        f" {report.report_frames} frames), the bound is {report.bound:g}: nothing was written. Calibrate on more frames,"
        " try another --method, or leave the last layers out (--exclude)"
    )


def load_frames(folder: Path, limit: int = 200) -> list[dict[str, npt.NDArray[Any]]]:
    """Calibration frames: one .npz a frame, arrays by input name. Raises InputError."""
    files = sorted(folder.glob("*.npz"))[:limit]
    if not files:
        raise InputError(f"no .npz files in '{folder}': a frame is one .npz with an array for each input of the model")
    frames = []
    for file in files:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                frames.append({name: arrays[name] for name in arrays.files})
        except (OSError, ValueError) as exc:
            raise InputError(f"calibration frame '{file}' cannot be read: {exc}") from exc
    return frames


def _prepared(source: Path, folder: Path) -> Path:
    """The model with its constants folded, in an opset (13) that has quantisation per channel."""
    import onnx.version_converter
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = parse_model(source)
    if max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 13:
        model = onnx.version_converter.convert_version(model, 13)
    onnx.save(model, str(folder / "converted.onnx"))
    try:
        quant_pre_process(str(folder / "converted.onnx"), str(folder / "prepared.onnx"), skip_symbolic_shape=True)
    except Exception as exc:  # onnxruntime raises nothing narrower
        raise ArtefactRefused(f"'{source}' cannot be prepared for quantisation: {exc}") from exc
    return folder / "prepared.onnx"


def _quantize_static(source: Path, file: Path, frames: Sequence[Tensors], how: QuantizeOrder) -> None:
    try:
        from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    except ImportError as exc:
        raise EngineUnavailable(f"onnxruntime's quantiser is not installed: {exc}") from exc
    signed = how.target == "tensorrt"
    try:
        with redirect_stdout(sys.stderr):  # the calibrator prints
            quantize_static(
                str(source),
                str(file),
                _reader(frames),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QInt8 if signed else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=getattr(CalibrationMethod, METHODS[how.method]),
                op_types_to_quantize=list(how.operators),
                nodes_to_exclude=[*how.exclude, *(_last_convolutions(source) if how.keep_last else ())],
                extra_options={"ActivationSymmetric": signed, "WeightSymmetric": True},
            )
    except (ValueError, RuntimeError, TypeError, KeyError, NotImplementedError) as exc:
        raise ArtefactRefused(f"'{source}' cannot be quantised: {exc}") from exc


def _last_convolutions(file: Path) -> list[str]:
    """Names of the convolutions that make an output, alone or before one more operator."""
    graph = parse_model(file).graph
    producer = {name: node for node in graph.node for name in node.output}
    names = []
    for output in graph.output:
        node = producer.get(output.name)
        if node is not None and node.op_type not in CONVOLUTIONS and node.input:
            node = producer.get(node.input[0])
        if node is not None and node.name and node.op_type in CONVOLUTIONS:
            names.append(node.name)
    return names


def _reader(frames: Sequence[Tensors]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            self.left: Iterator[Tensors] = iter(frames)

        def get_next(self) -> dict[str, Any] | None:
            frame = next(self.left, None)
            return None if frame is None else dict(frame)

        def rewind(self) -> None:
            self.left = iter(frames)

    return Reader()


def _answers(file: Path, frames: Sequence[Tensors]) -> tuple[list[dict[str, npt.NDArray[Any]]], float]:
    engine = OnnxEngine(file, EngineOptions())
    engine.load()
    answers, times_ms = [], []
    try:
        for frame in frames:
            start_ns = time.perf_counter_ns()
            outputs = engine.infer(frame)
            times_ms.append((time.perf_counter_ns() - start_ns) * 1e-6)
            answers.append({name: array.copy() for name, array in outputs.items()})
    finally:
        engine.close()
    return answers, float(np.median(times_ms))


def _loss(name: str, expected: list[npt.NDArray[Any]], found: list[npt.NDArray[Any]]) -> OutputLoss:
    losses = [_channel_loss(e, f) for e, f in zip(expected, found, strict=True)]
    errors = [float(np.abs(e.astype(float) - f).max(initial=0)) for e, f in zip(expected, found, strict=True)]
    values = [float(np.abs(e.astype(float)).max(initial=0)) for e in expected]
    return OutputLoss(name, float(np.mean(losses)), max(losses), max(errors), max(values))


def _channel_loss(expected: npt.NDArray[Any], found: npt.NDArray[Any]) -> float:
    a, b = _channels(expected), _channels(found)
    peaks = np.minimum(np.abs(a).max(axis=1, initial=0.0), 1.0)
    scale = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.divide((a * b).sum(axis=1), scale, out=np.zeros(len(a)), where=scale > 0)
    return (
        max(0.0, float((peaks * (1.0 - cosine)).sum() / peaks.sum()))
        if peaks.sum() > 0
        else float(np.abs(b).max(initial=0.0))
    )


def _channels(array: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(C, values): the shortest axis after the first is the channel; everything is one channel below three axes."""
    values = array.astype(np.float64)
    if values.ndim < 3:
        return values.reshape(1, -1)
    axis = 1 + int(np.argmin(values.shape[1:]))
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
