"""One process of the transport benchmark: ``publish`` a camera, or ``receive`` all of them. Figures go to standard output."""

from __future__ import annotations

import array
import contextlib
import functools
import gc
import json
import resource
import sys
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from percept_ros.errors import InputError
from percept_ros.msg import FrameReady
from percept_ros.nodes.handles import HandleDecoder, HandleEncoder
from percept_ros.runtime import realtime
from percept_ros.runtime.ring import RingReader, RingWriter

HEIGHT, WIDTH = 900, 1600
FRAME = "camera_optical"
QOS = QoSProfile(depth=5, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def header(stamp_ns: int) -> Header:
    made = Header(frame_id=FRAME)
    made.stamp.sec, made.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    return made


def stamp_of(message: Any) -> int:
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


def image_message(pixels: np.ndarray, stamp_ns: int) -> Image:
    """The quickest way to fill a message (array.array; assigning the ndarray would take 300 ms)."""
    data = array.array("B")
    data.frombytes(memoryview(pixels).cast("B"))
    return Image(header=header(stamp_ns), height=HEIGHT, width=WIDTH, encoding="bgr8", step=3 * WIDTH, data=data)


def publish(kind: str, camera: int, rate_hz: float, frames: int, fifo: int) -> dict[str, Any]:
    realtime.apply(realtime.TaskTiming(priority=fifo))
    node = Node(f"camera_{camera}")
    ring = kind.startswith("ring")
    publisher = node.create_publisher(FrameReady if ring else Image, f"/camera_{camera}", QOS)
    writer = RingWriter(f"bench-{camera}", slots=8)
    pixels = np.random.default_rng(camera).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    spare, copies_ns, encoder = np.empty_like(pixels), [], HandleEncoder()
    began_ns: dict[int, int] = {}
    while publisher.get_subscription_count() < 1:
        time.sleep(0.01)
    time.sleep(0.5)
    gc.freeze()
    gc.disable()
    before_s, period_ns = cpu_s(), int(1e9 / rate_hz)
    next_ns = time.monotonic_ns() + camera * period_ns // 8
    for _ in range(frames):
        realtime.sleep_until(next_ns)
        next_ns += period_ns
        now_ns = stamp_ns = time.monotonic_ns()
        if kind == "ring":
            with writer.open_image(HEIGHT, WIDTH, stamp_ns) as slot:
                slot.array[...] = pixels  # as a decoder draws; the picture is there when the clock starts
                now_ns = time.monotonic_ns()
            publisher.publish(encoder.encode(slot.handle, FRAME))
        elif ring:
            publisher.publish(encoder.encode(writer.write_image(pixels, now_ns), FRAME))
        else:
            publisher.publish(image_message(pixels, now_ns))
        began_ns[stamp_ns] = now_ns
        if ring and camera == 0:  # the floor, measured between frames
            realtime.sleep_until(now_ns + period_ns // 2)
            start_ns = time.perf_counter_ns()
            np.copyto(spare, pixels)
            copies_ns.append(time.perf_counter_ns() - start_ns)
    used_s = cpu_s() - before_s
    time.sleep(0.5)
    writer.close()
    node.destroy_node()
    memcpy_ms = float(np.median(copies_ns)) / 1e6 if copies_ns else 0.0
    return {"began_ns": list(began_ns.items()), "cpu_ms_per_frame": used_s * 1e3 / frames, "memcpy_ms": memcpy_ms}


class Receiver(Node):
    """Takes what all cameras send, looks at pixels of each image, and keeps camera, stamp and when it did."""

    def __init__(self, kind: str, cameras: int) -> None:
        super().__init__("fusion")
        self.seen: list[tuple[int, int, int]] = []
        self.reader = RingReader(keep_segments=2 * cameras)
        self.lost = 0
        for camera in range(cameras):
            ring = kind.startswith("ring")
            message, callback = (
                (FrameReady, functools.partial(self.on_ready, camera, HandleDecoder()))
                if ring
                else (Image, functools.partial(self.on_image, camera))
            )
            self.create_subscription(message, f"/camera_{camera}", callback, QOS, raw=ring)

    def on_image(self, camera: int, message: Image) -> None:
        pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        self.look(camera, pixels, stamp_of(message))

    def on_ready(self, camera: int, decoder: HandleDecoder, raw: bytes) -> None:
        handle = decoder.decode(raw).handle
        try:
            frame = self.reader.view(handle)
        except InputError:
            self.lost += 1
            return
        self.look(camera, frame.array, handle.stamp_ns)
        if not frame.still_valid():
            self.seen.pop()
            self.lost += 1

    def look(self, camera: int, pixels: np.ndarray, stamp_ns: int) -> None:
        assert pixels[::64, ::64].sum() > 0
        self.seen.append((camera, stamp_ns, time.monotonic_ns()))


def receive(kind: str, cameras: int, fifo: int) -> dict[str, Any]:
    realtime.apply(realtime.TaskTiming(priority=fifo))
    node = Receiver(kind, cameras)
    executor = EventsExecutor()
    executor.add_node(node)
    print("ready", flush=True)
    gc.freeze()
    gc.disable()
    before_s = cpu_s()
    with contextlib.suppress(ExternalShutdownException, KeyboardInterrupt):
        while rclpy.ok():
            executor.spin_once(0.2)  # spin() waits for a deadline that overflows, and so never sleeps
    used_s = cpu_s() - before_s
    node.reader.close()
    return {"seen": node.seen, "lost": node.lost, "cpu_ms_per_frame": used_s * 1e3 / max(len(node.seen), 1)}


def main() -> None:
    plan = json.loads(sys.argv[1])
    rclpy.init()
    role = plan.pop("role")
    result = publish(**plan) if role == "publish" else receive(**plan)
    rclpy.try_shutdown()
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
