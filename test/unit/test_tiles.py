"""A camera network that looks at the whole image and at tiles of it."""

from __future__ import annotations

import numpy as np

from percept_ros.evaluate.detection_run import CAMERA
from percept_ros.evaluate.tiles import detect_tiled
from percept_ros.types import CameraCalibration, CameraFrame, Detections2D, ObjectClass, SensorSet

SMALL_PX = np.array([300.0, 100.0, 340.0, 130.0])
LARGE_PX = np.array([350.0, 20.0, 590.0, 190.0])


class ShortSighted:
    """Sees one bright thing in an image if it is at least an eighth as wide as the image; surer in pieces."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, ...]] = []

    @property
    def model(self) -> str:
        return "short-sighted"

    def load(self) -> None:
        """Nothing to load."""

    def close(self) -> None:
        """Nothing to close."""

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> dict[str, Detections2D]:
        image = sensors.cameras[CAMERA].image
        self.pieces.append(image.shape[:2])
        bright = np.argwhere(image[..., 0] > 0)
        boxes = np.zeros((0, 4))
        if len(bright):
            (y0, x0), (y1, x1) = bright.min(0), bright.max(0) + 1
            boxes = np.array([[x0, y0, x1, y1]], np.float64)[[x1 - x0 >= image.shape[1] / 8]]
        score = 0.9 if image.shape[1] < 300 else 0.6
        kinds = np.full(len(boxes), int(ObjectClass.CAR), np.int64)
        return {CAMERA: Detections2D(CAMERA, 7, boxes, np.full(len(boxes), score), kinds)}


def look(shown_px: np.ndarray) -> tuple[Detections2D, ShortSighted]:
    """What is seen of a bright box in an image of 600 x 200."""
    image = np.zeros((200, 600, 3), np.uint8)
    x0, y0, x1, y1 = shown_px.astype(int)
    image[y0:y1, x0:x1] = 255
    frame = CameraFrame(CAMERA, 7, CAMERA, image, CameraCalibration(600, 200, np.eye(3), np.zeros(0)))
    camera = ShortSighted()
    return detect_tiled(camera, SensorSet(7, None, {CAMERA: frame}, {}, (CAMERA,), {}), CAMERA), camera


def test_what_is_too_small_in_the_whole_image_is_found_in_a_tile_once() -> None:
    seen, camera = look(SMALL_PX)
    assert camera.pieces == [(200, 600)] + [(200, 200)] * 5
    np.testing.assert_allclose(seen.boxes_px, SMALL_PX[None])
    assert seen.scores.tolist() == [0.9]
    assert (seen.camera, seen.stamp_ns) == (CAMERA, 7)


def test_pieces_of_a_large_object_do_not_count() -> None:
    seen, _ = look(LARGE_PX)
    np.testing.assert_allclose(seen.boxes_px, LARGE_PX[None])
    assert seen.scores.tolist() == [0.6]


def test_nothing_is_seen_where_nothing_is() -> None:
    seen, _ = look(np.array([10.0, 10.0, 10.0, 10.0]))
    assert len(seen.boxes_px) == len(seen.scores) == len(seen.class_ids) == 0
