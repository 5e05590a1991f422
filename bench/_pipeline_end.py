"""Processes of the pipeline benchmark: one ``sensor``, or the ``naive`` node. Figures go to standard output as JSON."""

from __future__ import annotations

import array
import contextlib
import gc
import json
import math
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import rclpy
from geometry_msgs.msg import Pose
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from unique_identifier_msgs.msg import UUID

sys.path.append(str(Path(__file__).resolve().parent))
from _sync_peer import ExhaustiveSearch
from _synthetic import sensor_set, sweep
from start import cloud_message

from percept_ros.config import Config
from percept_ros.core.tracking import Tracker
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.geometric import GeometricDetector
from percept_ros.detectors.predictor import PathPredictor
from percept_ros.msg import FrameReady, ObjectClassification, ObstacleTrack, ObstacleTrackArray, PredictedPath
from percept_ros.nodes.convert import camera_info, stamp_ns, time_message
from percept_ros.nodes.handles import HandleEncoder
from percept_ros.nodes.qos import HANDLE_QOS, LATCHED_QOS, SENSOR_QOS, TRACK_QOS
from percept_ros.observe.trace import new_text
from percept_ros.pipeline import Pipeline
from percept_ros.runtime import realtime
from percept_ros.runtime.ring import RingWriter
from percept_ros.types import CameraCalibration, CameraFrame, FrameResult, PointCloud

HEIGHT, WIDTH = 900, 1600
LIDAR = "lidar"
MATCH_S = 60.0
SLOP_NS, QUEUE = 50_000_000, 10


def calibration() -> CameraCalibration:
    """A pinhole camera."""
    K = np.array([[1200.0, 0.0, WIDTH / 2], [0.0, 1200.0, HEIGHT / 2], [0.0, 0.0, 1.0]])
    return CameraCalibration(WIDTH, HEIGHT, K, np.zeros(5))


class Sensor:
    """Publishes one sensor on a time grid that all sensors share: through a ring, or as an ordinary message."""

    def __init__(self, name: str, ring: bool, points: int) -> None:
        self.node = rclpy.create_node(f"{'camera_' if name != LIDAR else ''}{name}", namespace="/percept")
        self.name, self.ring = name, ring
        noise = np.random.default_rng(1).integers(0, 255, (2, HEIGHT, WIDTH, 3), np.uint8)
        self.takes = [(pixels, sweep(points, 0, seed), cloud_message(points)) for seed, pixels in enumerate(noise)]
        self.number, self.pid = 0, os.getpid()
        self.encoder = HandleEncoder()
        self.writer = RingWriter(f"bench-pipeline-{name}", slots=12, headroom=0.25)
        topic = "lidar" if name == LIDAR else f"camera_{name}"
        kind = FrameReady if ring else PointCloud2 if name == LIDAR else Image
        self.publisher = self.node.create_publisher(
            kind, f"{topic}/frame" if ring else f"/{topic}/raw", HANDLE_QOS if ring else SENSOR_QOS
        )
        if ring and name != LIDAR:
            info = self.node.create_publisher(CameraInfo, f"{topic}/camera_info", LATCHED_QOS)
            info.publish(camera_info(calibration(), name, self.node.get_clock().now().to_msg()))

    def send(self, at_ns: int) -> None:
        """Two takes in turn: a sensor that repeats itself would be taken for frozen."""
        pixels, sweep_, message = self.takes[self.number % 2]
        self.number += 1
        if self.ring:
            began_ns = time.monotonic_ns()
            if self.name == LIDAR:
                cloud = PointCloud(LIDAR, at_ns, LIDAR, sweep_.points, sweep_.intensity)
                handle = self.writer.write_cloud(cloud)
            else:
                handle = self.writer.write_image(pixels, at_ns)
            trace = new_text(1.0, self.pid, began_ns, began_ns, time.monotonic_ns())
            self.publisher.publish(self.encoder.encode(handle, self.name, trace))
        elif self.name == LIDAR:
            message.header.stamp = time_message(at_ns)
            self.publisher.publish(message)
        else:
            data = array.array("B")
            data.frombytes(memoryview(pixels).cast("B"))
            image = Image(height=HEIGHT, width=WIDTH, encoding="bgr8", step=3 * WIDTH, data=data)
            image.header.stamp, image.header.frame_id = time_message(at_ns), self.name
            self.publisher.publish(image)


def sensor(name: str, ring: bool, rate_hz: float, frames: int, points: int, priority: int) -> NoReturn:
    """Send ``frames`` frames, the first at the system time that standard input names."""
    made = Sensor(name, ring, points)
    give_up_s = time.monotonic() + MATCH_S
    while made.publisher.get_subscription_count() < 1:
        if time.monotonic() > give_up_s:
            raise RuntimeError(f"nobody subscribed to '{name}' within {MATCH_S:.0f} s")
        time.sleep(0.02)
    if priority:
        realtime.raise_process(priority, above=realtime.ANSWERING if name == LIDAR else 0)
    print("matched", flush=True)
    begin_ns = int(sys.stdin.readline())
    gc.freeze()
    gc.disable()
    shift_ns = time.monotonic_ns() - time.time_ns()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for number in range(frames):
        realtime.sleep_until(begin_ns + shift_ns + int(number * 1e9 / rate_hz))
        made.send(time.time_ns())
    after = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(1.0)
    made.writer.close()
    end({"sent": frames, "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime})


class Naive:
    """What such a node looks like at first: synchronise, convert with copies, infer in the callback, publish."""

    def __init__(self, cameras: list[str]) -> None:
        self.node = rclpy.create_node("naive")
        self.names = [*cameras, LIDAR]
        self.held: list[dict[int, Any]] = [{} for _ in self.names]
        self.sync = ExhaustiveSearch(len(self.names), QUEUE, SLOP_NS, self.on_set)
        chain = DetectorChain([GeometricDetector()])
        chain.load()
        config = Config()
        tracker = Tracker(config.tracking, fixed_frame=config.frames.fixed)
        paths = PathPredictor(config.prediction, config.prediction.model)
        paths.load()
        self.pipeline = Pipeline(chain, None, tracker, predictor=paths, base_frame="base_link", detect_ms=1000.0)
        self.publisher = self.node.create_publisher(ObstacleTrackArray, "/naive/tracks", TRACK_QOS)
        self.late_ms: list[tuple[int, float]] = []
        self.engine_ms: list[float] = []
        for index, name in enumerate(self.names):
            kind, topic = (PointCloud2, "/lidar/raw") if name == LIDAR else (Image, f"/camera_{name}/raw")
            self.node.create_subscription(kind, topic, lambda message, i=index: self.on_message(i, message), SENSOR_QOS)

    def on_message(self, index: int, message: Any) -> None:
        at_ns = stamp_ns(message.header.stamp)
        queue = self.held[index]
        queue[at_ns] = message
        while len(queue) > QUEUE:
            del queue[min(queue)]
        self.sync.add(index, at_ns)

    def on_set(self, stamps: list[int]) -> None:
        messages = [queue[at_ns] for queue, at_ns in zip(self.held, stamps, strict=True)]
        frames = tuple(
            CameraFrame(name, stamp_ns(m.header.stamp), name, bridge(m), calibration())
            for name, m in zip(self.names[:-1], messages[:-1], strict=True)
        )
        raw = messages[-1]
        table = np.frombuffer(raw.data, np.float32).reshape(-1, 4).copy()
        cloud = PointCloud(LIDAR, stamps[-1], LIDAR, table[:, :3].copy(), table[:, 3].copy())
        result = self.pipeline.process(sensor_set(cloud, frames, stamps[-1]), time.time_ns())
        self.engine_ms.append(result.stage_ns["detect"] / 1e6)
        self.publisher.publish(track_array(result))
        self.late_ms.append((stamps[-1], (time.time_ns() - min(stamps)) / 1e6))


def track_array(result: FrameResult) -> ObstacleTrackArray:
    """The message, filled field by field."""
    array_, tracks = ObstacleTrackArray(mode=int(result.mode), model_id=result.model), result.tracks
    array_.header.stamp, array_.header.frame_id = time_message(tracks.stamp_ns), tracks.frame_id
    array_.tracks = [track_message(result, row) for row in range(len(tracks))]
    return array_


def track_message(result: FrameResult, row: int) -> ObstacleTrack:
    """One track with its path."""
    tracks, paths = result.tracks, result.forecasts
    x, y, z, length, width, height, yaw = (float(v) for v in tracks.boxes[row])
    track = ObstacleTrack(track_id=UUID(uuid=tracks.id[row]), existence_probability=float(tracks.existence[row]))
    track.classification = [
        ObjectClassification(label=kind, probability=float(share))
        for kind, share in enumerate(tracks.class_probabilities[row])
        if share > 0
    ]
    track.pose.pose = pose(x, y, z, yaw)
    track.pose.covariance = tracks.pose_covariance[row].ravel()
    track.twist.twist.linear.x, track.twist.twist.linear.y = (float(v) for v in tracks.velocity_mps[row])
    track.twist.twist.angular.z = float(tracks.yaw_rate_radps[row])
    track.twist.covariance = tracks.twist_covariance[row].ravel()
    track.acceleration.accel.linear.x, track.acceleration.accel.linear.y = (
        float(v) for v in tracks.acceleration_mps2[row]
    )
    track.dimensions.x, track.dimensions.y, track.dimensions.z = length, width, height
    track.is_stationary, track.state = bool(tracks.stationary[row]), int(tracks.state[row])
    track.sensors = int(tracks.sensors[row])
    track.predicted_paths = [
        PredictedPath(
            path=[pose(float(px), float(py), z, float(py_)) for px, py, py_ in paths.paths[row, k, : paths.steps[row]]],
            confidence=float(paths.confidence[row, k]),
            sigma=[float(v) for v in paths.sigma_m[row, k, : paths.steps[row]]],
            method=int(paths.method[row]),
        )
        for k in range(paths.paths.shape[1])
    ]
    return track


def pose(x: float, y: float, z: float, yaw: float) -> Pose:
    """Position and heading."""
    made = Pose()
    made.position.x, made.position.y, made.position.z = x, y, z
    made.orientation.z, made.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
    return made


def bridge(message: Any) -> np.ndarray:
    """As cv_bridge does it: a view of the bytes, then a copy."""
    return np.ndarray((message.height, message.width, 3), np.uint8, bytes(message.data)).copy()


def naive(cameras: list[str], priority: int) -> NoReturn:
    """Spin until told to stop."""
    made = Naive(cameras)
    if priority:
        realtime.raise_process(priority, above=realtime.ANSWERING)
    print("ready", flush=True)
    with contextlib.suppress(ExternalShutdownException, KeyboardInterrupt):
        rclpy.spin(made.node)
    used = resource.getrusage(resource.RUSAGE_SELF)
    end({"late_ms": made.late_ms, "engine_ms": made.engine_ms, "cpu_s": used.ru_utime + used.ru_stime})


def end(figures: dict[str, Any]) -> NoReturn:
    """Print the figures and be gone: participants that are destroyed while they discover each other's end may hang."""
    print(json.dumps(figures), flush=True)
    os._exit(0)


def main() -> None:
    plan = json.loads(sys.argv[1])
    if plan["priority"]:
        realtime.raise_process(plan["priority"], starting=True)
    rclpy.init()
    role = plan.pop("role")
    if role == "sensor":
        sensor(**plan)
    naive(**plan)


if __name__ == "__main__":
    main()
