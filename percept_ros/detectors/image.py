"""2D detection in camera images: letterbox, one network for all cameras, decoding, suppression per class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from percept_ros.core.decode2d import Decode, Yolov8Params, YoloxParams, decode_yolov8, decode_yolox, suppress
from percept_ros.errors import EngineClosed, InferenceError, InputError, ManifestError
from percept_ros.inference.engine import InferenceEngine
from percept_ros.inference.manifest import Manifest, find_model, load_manifest
from percept_ros.inference.model import open_model
from percept_ros.inference.options import EngineOptions
from percept_ros.settings import setting
from percept_ros.types import F32, F64, U8, CameraFrame, Detections2D, SensorSet


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How an image is fitted into the network's input; the aspect ratio is kept."""

    width_px: int = setting(416, "input width", low=32, high=4096)
    height_px: int = setting(416, "input height", low=32, high=4096)
    pad_value: float = setting(114.0, "value of the border", low=0.0, high=255.0)
    channels: str = setting("bgr", "order of the channels", choices=("bgr", "rgb"))
    scale: float = setting(1.0, "pixels are multiplied by this", low=1e-9, high=1e9)
    mean: tuple[float, ...] = setting((), "subtracted after scaling, a channel each")
    std: tuple[float, ...] = setting((), "divided by, a channel each")
    anchor: str = setting("top_left", "where the image lies in the input", choices=("top_left", "centre"))

    def placement(self, width_px: int, height_px: int) -> tuple[float, int, int]:
        """Ratio of input to image pixels, and the image's left and top in the input."""
        ratio = min(self.width_px / width_px, self.height_px / height_px)
        if self.anchor == "top_left":
            return ratio, 0, 0
        return (
            ratio,
            (self.width_px - round(width_px * ratio)) // 2,
            (self.height_px - round(height_px * ratio)) // 2,
        )

    def fill(self, image: U8, out: F32) -> None:
        """Write ``image`` (height, width, 3) BGR into ``out`` (3, height_px, width_px)."""
        ratio, left, top = self.placement(image.shape[1], image.shape[0])
        size = (max(1, round(image.shape[1] * ratio)), max(1, round(image.shape[0] * ratio)))
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR))
        if self.channels == "rgb":
            small = small[:, :, ::-1]
        out[:] = self.pad_value
        out[:, top : top + size[1], left : left + size[0]] = small.transpose(2, 0, 1)
        if self.scale != 1.0:
            out *= np.float32(self.scale)
        if self.mean:
            out -= np.asarray(self.mean, np.float32)[:, None, None]
        if self.std:
            out /= np.asarray(self.std, np.float32)[:, None, None]


_PARAMS: dict[str, type[YoloxParams] | type[Yolov8Params]] = {"yolox": YoloxParams, "yolov8": Yolov8Params}


class ImageDetector:
    """Satisfies ``detectors.detector.ImageDetector`` for YOLOX and YOLOv8-style networks, by manifest."""

    def __init__(
        self, folder: Path | str, *, engine: str | None = None, precision: str | None = None, threads: int = 1
    ) -> None:
        self._folder, self._format, self._precision, self._threads = folder, engine, precision, threads
        self._manifest: Manifest | None = None
        self._engine: InferenceEngine | None = None

    @property
    def model(self) -> str:
        return self._manifest.model_id if self._manifest else Path(self._folder).name

    @property
    def artefact_sha256(self) -> str:
        return self._manifest.artefact_sha256 if self._manifest else ""

    def load(self) -> None:
        """Verify, open and warm. Raises ModelError."""
        folder = find_model(self._folder)
        manifest = load_manifest(folder)
        if manifest.kind != "detector2d" or manifest.preprocess.kind != "letterbox":
            raise ManifestError(f"model '{manifest.name}' in '{folder}' is no 2D detector with a letterbox")
        self._letterbox = manifest.preprocess.read(Letterbox)
        self._decode = _decoder(manifest, self._letterbox)
        options = EngineOptions(threads=self._threads)
        manifest, self._engine = open_model(folder, engine=self._format, precision=self._precision, options=options)
        self._engine.warm_up()
        self._manifest = manifest
        self._classes = np.array([-1 if c is None else int(c) for c in manifest.object_classes], np.int64)

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> dict[str, Detections2D]:
        """Camera name -> boxes in that camera's rectified image. All cameras in one call where the batch is dynamic."""
        if self._engine is None:
            raise EngineClosed(f"image detector '{self.model}' used before load or after close")
        frames = [frame for frame in sensors.cameras.values() if frame.image.size]
        batches = [frames] if self._engine.inputs[0].shape[0] == -1 and frames else [[frame] for frame in frames]
        found: dict[str, Detections2D] = {}
        for batch in batches:
            for frame, raw in zip(batch, self._run(self._engine, batch, deadline_ns), strict=True):
                found[frame.sensor] = self._boxes(frame, raw)
        return found

    def close(self) -> None:
        """Close the engine."""
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def _run(
        self, engine: InferenceEngine, frames: list[CameraFrame], deadline_ns: int | None
    ) -> npt.NDArray[np.floating[Any]]:
        """(B, ...) raw output of the network for a batch of images."""
        box = self._letterbox
        tensor = np.empty((len(frames), 3, box.height_px, box.width_px), np.float32)
        for row, frame in zip(tensor, frames, strict=True):
            box.fill(frame.image, row)
        (spec,) = engine.inputs
        outputs = engine.infer({spec.name: tensor.astype(spec.dtype, copy=False)}, deadline_ns=deadline_ns)
        raw = outputs[engine.outputs[0].name]
        if raw.ndim != 3 or len(raw) != len(frames):
            raise InferenceError(f"'{self.model}' gave {list(raw.shape)} for {len(frames)} images, expected (B, n, m)")
        return raw

    def _boxes(self, frame: CameraFrame, raw: npt.NDArray[np.floating[Any]]) -> Detections2D:
        try:
            boxes, scores, own = self._decode(raw)
        except InputError as exc:
            raise InferenceError(f"model '{self.model}': {exc}") from exc
        known = (own < len(self._classes)) & (self._classes[np.minimum(own, len(self._classes) - 1)] >= 0)
        boxes, scores, classes = boxes[known], scores[known], self._classes[own[known]]
        keep = suppress(boxes, scores, classes, self._decode.params.nms_iou, self._decode.params.max_boxes)
        height, width = frame.image.shape[:2]
        ratio, left, top = self._letterbox.placement(width, height)
        boxes = (boxes[keep] - (left, top, left, top)) / ratio
        boxes[:, 0::2] = np.clip(boxes[:, 0::2], 0, width)
        boxes[:, 1::2] = np.clip(boxes[:, 1::2], 0, height)
        return Detections2D(frame.sensor, frame.stamp_ns, _rectify(frame, boxes), scores[keep], classes[keep])


def _decoder(manifest: Manifest, box: Letterbox) -> Decode:
    kind = manifest.postprocess.kind
    if kind not in _PARAMS:
        raise ManifestError(f"model '{manifest.name}': postprocess '{kind}' is unknown, expected {', '.join(_PARAMS)}")
    params = manifest.postprocess.read(_PARAMS[kind])
    if isinstance(params, YoloxParams):
        return Decode(params, lambda raw: decode_yolox(raw, params, box.width_px, box.height_px))
    return Decode(params, lambda raw: decode_yolov8(raw, params))


def _rectify(frame: CameraFrame, boxes_px: F64) -> F64:
    """Boxes found in a raw image as they lie in the rectified one: enclosing their undistorted corners."""
    calibration = frame.calibration
    if frame.rectified or calibration is None or not len(boxes_px) or not np.any(calibration.D):
        return boxes_px
    corners = boxes_px[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 1, 2)
    P = calibration.projection[:, :3]
    undo = cv2.fisheye.undistortPoints if calibration.model == "equidistant" else cv2.undistortPoints
    moved = np.asarray(undo(corners, calibration.K, calibration.D, R=calibration.R, P=P)).reshape(-1, 4, 2)
    return np.hstack([moved.min(axis=1), moved.max(axis=1)])
