from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

import percept_ros
from percept_ros.errors import ArtefactRefused, DeadlineExceeded, EngineClosed, InferenceError, NonFiniteOutput
from percept_ros.inference.engine import TensorSpec
from percept_ros.inference.scripted import ScriptedEngine, ScriptedStep

X = TensorSpec("x", (-1, 2), np.dtype(np.float32))
Y = TensorSpec("y", (-1, 3), np.dtype(np.float32))
INPUT = {"x": np.zeros((4, 2), np.float32)}


def scripted(*steps: ScriptedStep, repeat: str = "cycle") -> ScriptedEngine:
    engine = ScriptedEngine.of((X,), (Y,), steps, repeat=repeat)
    engine.load()
    return engine


def answers(engine: ScriptedEngine, calls: int) -> list[str]:
    """What each call did: "ok" or the name of its error."""
    found = []
    for _ in range(calls):
        try:
            engine.infer(INPUT)
            found.append("ok")
        except InferenceError as exc:
            found.append(type(exc).__name__)
    return found


def test_steps_cycle_or_stay_at_the_last() -> None:
    steps = ScriptedStep(), ScriptedStep(fault="error"), ScriptedStep(fault="nan")
    cycle = ["ok", "InferenceError", "NonFiniteOutput"]
    assert answers(scripted(*steps), 6) == cycle * 2
    assert answers(scripted(*steps, repeat="last"), 5) == [*cycle, "NonFiniteOutput", "NonFiniteOutput"]


def test_given_outputs_and_zeros() -> None:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    engine = scripted(ScriptedStep(outputs={"y": values}), ScriptedStep())
    np.testing.assert_array_equal(engine.infer(INPUT)["y"], values)
    np.testing.assert_array_equal(engine.infer(INPUT)["y"], np.zeros((4, 3)))


def test_mismatch_and_leak() -> None:
    engine = scripted(ScriptedStep(fault="mismatch"), ScriptedStep(fault="leak"))
    assert engine.infer(INPUT)["y"].shape == (11,)
    assert engine.infer(INPUT)["y"].shape == (4, 3)


@pytest.mark.parametrize("step", [ScriptedStep(fault="hang"), ScriptedStep(delay_s=3600.0)])
def test_deadline_cuts_delays_and_hangs_off(step: ScriptedStep) -> None:
    with pytest.raises(DeadlineExceeded):
        scripted(step).infer(INPUT, deadline_ns=time.monotonic_ns() + 1_000_000)


def test_close_ends_a_hanging_call() -> None:
    engine = scripted(ScriptedStep(fault="hang"))
    caught: list[Exception] = []

    def call() -> None:
        try:
            engine.infer(INPUT)
        except EngineClosed as exc:
            caught.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    while engine.calls == 0:
        pass
    engine.close()
    thread.join(10)
    assert len(caught) == 1


def test_crash_ends_the_process() -> None:
    code = (
        "import numpy as np\n"
        "from percept_ros.inference.engine import TensorSpec\n"
        "from percept_ros.inference.scripted import ScriptedEngine, ScriptedStep\n"
        "e = ScriptedEngine.of((TensorSpec('x', (1,), np.dtype('f4')),), (), [ScriptedStep(fault='crash')])\n"
        "e.load(); e.infer({'x': np.zeros(1, 'f4')})\n"
    )
    root = str(Path(percept_ros.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": root, "PATH": ""}, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGABRT


def write_script(folder: Path, **changes: object) -> Path:
    tree = {
        "inputs": [{"name": "x", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "shape": [-1, 3]}],
        "recording": "outputs.npz",
        **changes,
    }
    (folder / "script.yaml").write_text(yaml.safe_dump(tree))
    return folder / "script.yaml"


def test_recorded_outputs_are_played_in_turn(tmp_path: Path) -> None:
    recorded = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    np.savez(tmp_path / "outputs.npz", y=recorded)
    engine = ScriptedEngine(write_script(tmp_path))
    engine.load()
    for i in range(5):
        np.testing.assert_array_equal(engine.infer(INPUT)["y"], recorded[i % 2])
    engine.close()


@pytest.mark.parametrize(
    "changes", [{"recording": "none.npz"}, {"steps": [{"fault": "boom"}]}, {"steps": [{"delay_s": -1}]}, {"typo": 1}]
)
def test_wrong_scripts_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    np.savez(tmp_path / "outputs.npz", y=np.zeros((1, 4, 3), np.float32))
    with pytest.raises(ArtefactRefused, match=r"script\.yaml"):
        ScriptedEngine(write_script(tmp_path, **changes)).load()


def test_recorded_nan_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "outputs.npz", y=np.full((1, 4, 3), np.inf, np.float32))
    engine = ScriptedEngine(write_script(tmp_path))
    engine.load()
    with pytest.raises(NonFiniteOutput, match="12 of 12"):
        engine.infer(INPUT)
