"""The camera's second look at boxes that it did not see in the whole image."""

from __future__ import annotations

import numpy as np

from percept_ros.evaluate.detection import Found, Reference
from percept_ros.evaluate.detection_run import CAMERA, second_look
from percept_ros.types import CameraCalibration, CameraFrame, Detections2D, ObjectClass, SensorSet

CAR = int(ObjectClass.CAR)
HIDDEN_CAR_PX = np.array([300.0, 100.0, 340.0, 130.0])


class CloseCamera:
    """Sees a bright car only in pieces of the image, where it is large enough."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, ...]] = []

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> dict[str, Detections2D]:
        image = sensors.cameras[CAMERA].image
        self.pieces.append(image.shape)
        bright = np.argwhere(image[..., 0] > 0)
        boxes = np.zeros((0, 4))
        if len(bright) and image.shape[1] < 400:
            (y0, x0), (y1, x1) = bright.min(0), bright.max(0) + 1
            boxes = np.array([[x0, y0, x1, y1]], np.float64)
        kinds = np.full(len(boxes), int(ObjectClass.BUS), np.int64)
        return {CAMERA: Detections2D(CAMERA, 0, boxes, np.full(len(boxes), 0.6), kinds)}


def sensors() -> SensorSet:
    image = np.zeros((200, 600, 3), np.uint8)
    x0, y0, x1, y1 = HIDDEN_CAR_PX.astype(int)
    image[y0:y1, x0:x1] = 255
    calibration = CameraCalibration(600, 200, np.eye(3), np.zeros(0))
    frame = CameraFrame(CAMERA, 0, CAMERA, image, calibration)
    return SensorSet(0, None, {CAMERA: frame}, {}, (CAMERA,), {})


def look(boxes: np.ndarray, classes: list[int], camera: CloseCamera) -> Reference:
    found = Found(boxes, np.array(classes), np.full(len(boxes), 0.5), np.ones(len(boxes), bool))
    reference = Reference(np.array([[10.0, 10.0, 60.0, 60.0]]), np.array([CAR]), np.array([True]))
    return second_look(sensors(), camera, found, reference)


def test_a_vehicle_seen_close_up_excuses() -> None:
    seen = look(HIDDEN_CAR_PX[None] + 2.0, [CAR], CloseCamera())
    np.testing.assert_allclose(seen.boxes[1], HIDDEN_CAR_PX)
    assert seen.counted.tolist() == [True, False]
    assert seen.class_ids[1] == ObjectClass.TRUCK  # buses count with lorries


def test_where_nothing_is_the_reference_stays() -> None:
    seen = look(np.array([[480.0, 20.0, 500.0, 40.0]]), [CAR], CloseCamera())
    assert len(seen.boxes) == 1


def test_only_unmatched_vehicles_are_looked_at() -> None:
    camera = CloseCamera()
    boxes = np.array([[12.0, 10.0, 60.0, 60.0], [480.0, 20.0, 500.0, 40.0]])
    look(boxes, [CAR, int(ObjectClass.PEDESTRIAN)], camera)
    assert camera.pieces == []
