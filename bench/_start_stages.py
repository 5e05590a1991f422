"""Where a cold start's time goes: does what the container does, step by step, and prints milliseconds of each, and those of
the processor."""

from __future__ import annotations

import sys
import time

START_NS = time.monotonic_ns()

import json  # noqa: E402
import os  # noqa: E402

EXEC_NS = int(sys.argv[1])


def main() -> None:
    stages = {"interpreter": (START_NS - EXEC_NS) / 1e6}
    spent = {"interpreter": time.process_time() * 1e3}
    last, last_s = time.monotonic_ns(), time.process_time()

    def lap(name: str) -> None:
        nonlocal last, last_s
        now, now_s = time.monotonic_ns(), time.process_time()
        stages[name], spent[name] = (now - last) / 1e6, (now_s - last_s) * 1e3
        last, last_s = now, now_s

    from percept_ros.runtime.spawn import prepare

    prepare()
    lap("prepare worker")
    from percept_ros.nodes.lean import lean_imports

    lean_imports()
    import rclpy

    lap("import rclpy")
    from percept_ros.nodes import container

    lap("import nodes")
    rclpy.init(args=sys.argv[2:])
    lap("rclpy.init")
    nodes = container.make()
    lap("make nodes")
    from percept_ros.build import build_pipeline
    from percept_ros.nodes import parameters
    from percept_ros.nodes.later_paths import without_path_model

    config = next(parameters.read(node) for node in nodes if node.get_name() == "fusion")
    pipeline = build_pipeline(without_path_model(config))
    lap("load detectors")
    print(json.dumps({"stages": stages, "cpu": spent}), flush=True)
    pipeline.close()
    os._exit(0)  # nodes that were never spun are not worth a tidy end


if __name__ == "__main__":
    main()
