"""How fast the simulator is: processor time of a sweep, of a training scene and of a drive's frame.

    python bench/simulate.py [--seconds 3] [--seed 1]

Prints one JSON object. Rates are per core: best (sweep) or mean (scenes, frames) of processor time, not wall time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import numpy as np

from percept_ros.simulate.drive import SimulateConfig, simulate_drive
from percept_ros.simulate.lidar import lidar_model, sweep, sweep_columns
from percept_ros.simulate.scenes import random_scene, scan
from percept_ros.simulate.sensors import random_lidar
from percept_ros.simulate.world import World


def processor_s(work: Callable[[], object]) -> float:
    """Processor time of one call, all threads together."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def sweeps(seed: int, runs: int = 10) -> dict[str, float]:
    """The 64-beam LiDAR alone in a street of a drive."""
    world = World(20.0, seed)
    for _ in range(100):
        world.step()
    moment, model = world.look(), lidar_model(64)
    _, time_s = sweep_columns(model)
    mount = np.eye(4)
    mount[2, 3] = 1.85
    poses = moment.ego.poses(time_s.astype(np.float64)) @ mount
    poses[:, :3, 3] -= moment.origin
    took = [
        processor_s(lambda n=n: sweep(moment.solids, moment.patch.ground, model, poses, n))  # type: ignore[misc]
        for n in range(runs)
    ]
    points = len(sweep(moment.solids, moment.patch.ground, model, poses, 0).points)
    return {"points": points, "solids": len(moment.solids), "scans_per_s": 1.0 / min(took)}


def scenes(seed: int, count: int = 20) -> dict[str, float]:
    """Training samples: drawing the scene and scanning it with 64 beams."""
    points = []

    def one(index: int) -> None:
        rng = np.random.default_rng((seed, index))
        points.append(len(scan(random_scene(rng), rng, random_lidar(rng, "hdl64")).points))

    took = [processor_s(lambda n=n: one(n)) for n in range(count)]  # type: ignore[misc]
    return {"points": float(np.mean(points)), "scenes_per_s": 1.0 / float(np.mean(took))}


def drive(seed: int, seconds: float, cameras: int) -> dict[str, float]:
    """A whole drive without writing it."""
    wall = time.perf_counter()
    took = processor_s(lambda: list(simulate_drive(SimulateConfig(seconds=seconds, cameras=cameras), seed)))
    frames = seconds * 10
    return {
        "processor_ms_per_frame": 1e3 * took / frames,
        "wall_ms_per_frame": 1e3 * (time.perf_counter() - wall) / frames,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    result = {
        "lidar": sweeps(args.seed),
        "scenes": scenes(args.seed),
        "drive_lidar": drive(args.seed, args.seconds, 0),
        "drive_6_cameras": drive(args.seed, args.seconds, 6),
    }
    json.dump(result, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
