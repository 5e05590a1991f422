"""Groups of detectors in the place of a chain: routing, shadows, canary, corrupt artefacts, change at run time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_scene import scan, sensors

from percept_ros.build import build_pipeline, group_opener
from percept_ros.config import Config, ExperimentConfig, load_config
from percept_ros.detectors.chain import DetectorChain
from percept_ros.detectors.compare import compare
from percept_ros.detectors.experiment import ExperimentDetector
from percept_ros.detectors.experiment_log import read_records
from percept_ros.errors import ArtefactRefused, ConfigError, InferenceError, ManifestError, ModelError
from percept_ros.inference.experiment import GroupPlan, Plan
from percept_ros.inference.experiment_artefacts import fallback_note, group_manifest, parse_name, stage
from percept_ros.inference.manifest import find_model
from percept_ros.types import Detections, SensorSet

PLAN = """
name: trial
control: a
groups: {a: {}, b: {share: SHARE}, c: {}}
shadow: [c]
"""
SET = sensors(np.zeros((4, 3), np.float32) + 5.0)


def frames(count: int) -> list[SensorSet]:
    return [replace(SET, stamp_ns=10**18 + index * 10**8) for index in range(count)]


def boxes(*x_m: float, score: float = 0.9, car: int = 1) -> Detections:
    rows = np.array([[x, 0.0, 0.8, 4.5, 1.9, 1.6, 0.0] for x in x_m]).reshape(-1, 7)
    count = len(rows)
    classes = np.eye(8)[np.full(count, car)]
    return Detections(
        5, "base_link", rows, np.full(count, score), classes, np.full((count, 2), np.nan), np.ones(count, np.uint32)
    )


class Fake:
    """Answers one car at ``x_m``; may fail, or refuse to load."""

    takes_cameras = False

    def __init__(self, name: str, x_m: float, fault: Exception | None = None, refusal: Exception | None = None) -> None:
        self.model, self.artefact_sha256 = f"{name}@fp32", name
        self.x_m, self.fault, self.refusal = x_m, fault, refusal
        self.calls = 0
        self.closed = False

    def load(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def detect(self, sensors: SensorSet, *, deadline_ns: int | None = None) -> Detections:
        self.calls += 1
        if self.fault is not None:
            raise self.fault
        return boxes(self.x_m)

    def close(self) -> None:
        self.closed = True


class Bench:
    """An experiment over fakes; ``made`` holds every fake by group, in order of making."""

    def __init__(self, tmp_path: Path, text: str, **fakes: dict[str, object]) -> None:
        self.made: dict[str, list[Fake]] = {}
        self.fakes = fakes
        self.file = tmp_path / "plan.yaml"
        self.file.write_text(text)
        self.log = tmp_path / "log"
        config = ExperimentConfig(plan=str(self.file), watch_s=0.0, log=str(self.log))
        self.detector = ExperimentDetector(config, self.open, wait=True)
        self.said: list[str] = []
        self.detector.on_change = self.said.append

    def open(self, name: str, group: GroupPlan, plan: Plan) -> DetectorChain:
        place = {"a": 10.0, "b": 20.0, "c": 30.0}.get(name, 40.0)
        fake = Fake(name, **{"x_m": place, **self.fakes.get(name, {})})  # type: ignore[arg-type]
        self.made.setdefault(name, []).append(fake)
        return DetectorChain([fake])

    def run(self, count: int) -> list[tuple[str, float]]:
        answers = []
        for one in frames(count):
            found = self.detector.detect(one)
            answers.append((self.detector.group, float(found.boxes[0, 0])))
        self.detector.settle()
        return answers


@contextmanager
def experiment(tmp_path: Path, text: str = PLAN.replace("SHARE", "0.5"), **fakes: dict[str, object]) -> Iterator[Bench]:
    bench = Bench(tmp_path, text, **fakes)
    bench.detector.load()
    try:
        yield bench
    finally:
        bench.detector.close()


def test_frames_are_dealt_and_what_looks_on_is_never_published(tmp_path: Path) -> None:
    with experiment(tmp_path) as bench:
        answers = bench.run(200)
        assert {group for group, _ in answers} == {"a", "b"}
        assert {x for _, x in answers} == {10.0, 20.0}
        assert sum(group == "b" for group, _ in answers) == pytest.approx(100, abs=25)
        assert bench.made["c"][0].calls == 200
        state = bench.detector.state
    assert state["frames"] == {
        "a/answer/ok": state["answered"]["a"],
        "b/answer/ok": state["answered"]["b"],
        "c/shadow/ok": 200,
    }
    shadows = [record for record in read_records(bench.log) if record.role == "shadow"]
    assert {record.disagreement for record in shadows} == {1.0}
    assert len(list((bench.log / "worst").glob("c-*.npz"))) == 6


def test_a_wish_is_for_one_frame(tmp_path: Path) -> None:
    with experiment(tmp_path, PLAN.replace("SHARE", "0.0")) as bench:
        bench.detector.ask("b")
        assert [group for group, _ in bench.run(3)] == ["b", "a", "a"]
        bench.detector.ask("unknown")
        assert bench.run(1) == [("a", 10.0)]
        bench.detector.configure(replace(ExperimentConfig(plan=str(bench.file)), group="b"))
        assert {group for group, _ in bench.run(3)} == {"b"}


def test_a_group_that_fails_is_covered_by_control(tmp_path: Path) -> None:
    with experiment(tmp_path, b={"fault": InferenceError("broken")}) as bench:
        assert set(bench.run(50)) == {("a", 10.0)}
        counts = bench.detector.log.counts
        assert counts["b", "answer", "failed"] > 10
        covered = [record for record in bench.detector.log.recent if record.fallback]
        assert {record.fallback for record in covered} == {"b failed: InferenceError"}


def test_a_group_that_cannot_be_loaded_is_left_out_and_said(tmp_path: Path) -> None:
    with experiment(tmp_path, b={"refusal": ArtefactRefused("sha256 differs")}) as bench:
        assert set(bench.run(20)) == {("a", 10.0)}
        assert "sha256 differs" in bench.detector.state["notes"]["b"]
        assert any("group 'b'" in text for text in bench.detector.refused)
    with (
        pytest.raises(ModelError, match="control group 'a' cannot be used"),
        experiment(tmp_path, a={"refusal": ArtefactRefused("bad")}),
    ):
        pass


def test_a_new_plan_takes_over_between_two_frames(tmp_path: Path) -> None:
    with experiment(tmp_path, PLAN.replace("SHARE", "0.0")) as bench:
        assert set(bench.run(5)) == {("a", 10.0)}
        bench.file.write_text(PLAN.replace("SHARE", "0.0").replace("control: a", "control: b"))
        bench.detector.look()
        assert bench.made["a"][0].closed is False, "the old plan answers until the next frame"
        assert set(bench.run(5)) == {("b", 20.0)}
        bench.detector.look()
        assert bench.made["a"][0].closed is True
        bench.file.write_text("control: nobody")
        with pytest.raises(ConfigError):
            bench.detector.look()
        assert set(bench.run(5)) == {("b", 20.0)}
        assert len(bench.said) == 1


CANARY = PLAN.replace("shadow: [c]", "canary: {group: b, share: 0.5}").replace("SHARE", "0.0")


def test_a_failing_canary_is_stopped_for_good(tmp_path: Path) -> None:
    with experiment(tmp_path, CANARY, b={"fault": InferenceError("broken")}) as bench:
        assert set(bench.run(60)) == {("a", 10.0)}
        canary = bench.detector.state["canary"]
        assert canary["stopped"]
        assert canary["reason"].startswith("failure")
        tried = bench.made["b"][0].calls
        assert tried < 10
        assert bench.said[0].startswith("canary 'b' is stopped")
        bench.detector.ask("b")
        bench.run(20)
        assert bench.made["b"][0].calls == tried, "not even by name"
    with experiment(tmp_path, CANARY) as again:
        again.run(20)
        assert again.detector.state["canary"]["stopped"], "a restart does not try again"
    with experiment(tmp_path, CANARY + "# mended\n") as mended:
        mended.run(5)
        assert not mended.detector.state["canary"]["stopped"]


def test_a_canary_that_sees_other_things_is_stopped(tmp_path: Path) -> None:
    with experiment(tmp_path, CANARY) as bench:
        answers = bench.run(100)
        assert bench.detector.state["canary"]["reason"].startswith("disagreement")
        assert {group for group, _ in answers[-50:]} == {"a"}


def test_an_equal_canary_goes_on(tmp_path: Path) -> None:
    plan = CANARY.replace("share: 0.5}", "share: 0.5, slower: 100.0}")  # time is not at stake here
    with experiment(tmp_path, plan, b={"x_m": 10.0}) as bench:
        groups = [group for group, _ in bench.run(100)]
        assert bench.detector.state["canary"]["rates"]["disagreement"] == 0.0
        assert groups[-50:].count("b") > 10


def test_differences_are_counted() -> None:
    assert compare(boxes(), boxes()).disagreement == 0.0
    assert compare(boxes(10.0), boxes(10.5)).disagreement == 0.0
    one = compare(boxes(10.0, 30.0), boxes(10.2))
    assert (one.matched, one.only_a, one.only_b) == (1, 1, 0)
    assert one.disagreement == pytest.approx(1 - 2 / 3)
    assert one.offset_m == pytest.approx(0.2)
    assert compare(boxes(10.0), boxes(10.0, car=2)).disagreement == 1.0
    assert compare(boxes(10.0), boxes(10.0, 50.0, score=0.1)).disagreement == 0.0, "unsure boxes count for nothing"


# Artefacts of groups, with the model that is shipped


def test_names_of_artefacts() -> None:
    found = parse_name("lidar_pillars_tensorrt10.16_int8.plan")
    assert found is not None
    assert (found.model, found.runtime, found.precision, found.ext) == (
        "lidar_pillars",
        "tensorrt10.16",
        "int8",
        "plan",
    )
    assert str(found) == "lidar_pillars_tensorrt10.16_int8.plan"
    assert parse_name("model.onnx") is None


def test_a_corrupt_artefact_falls_back_within_its_group(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "next"
    manifest = stage("lidar_pillars", folder, ["int8", "fp32"], postprocess={"score_threshold": 0.2})
    assert [a.file for a in manifest.artefacts] == ["lidar_pillars_onnx_int8.onnx", "lidar_pillars_onnx_fp32.onnx"]
    assert manifest.postprocess.params["score_threshold"] == 0.2
    assert fallback_note(folder, manifest.artefacts[0].sha256) == ""
    with (folder / manifest.artefacts[0].file).open("r+b") as file:
        file.truncate(1000)
    plan = "name: x\ncontrol: now\ngroups: {now: {chain: [geometric]}, next: {share: 1.0}}\n"
    (tmp_path / "plan.yaml").write_text(plan)
    config = ExperimentConfig(plan=str(tmp_path / "plan.yaml"), watch_s=0.0)
    made = ExperimentDetector(config, group_opener(Config(), "thread"))
    try:
        made.load()
        found = made.detect(replace(sensors(scan([[15, 2, 0.8, 4.5, 1.9, 1.6, 0.3]], columns=2000)), stamp_ns=10**18))
        assert made.group == "next"
        assert made.model == "lidar_pillars@fp32"
        assert len(found.boxes) >= 1
        assert "lidar_pillars_onnx_fp32.onnx runs in its place" in made.state["notes"]["next"]
        assert "sha256" in made.state["notes"]["next"]
    finally:
        made.close()


def test_a_name_that_lies_is_refused(tmp_path: Path) -> None:
    manifest = stage("lidar_pillars", tmp_path, ["int8"])
    text = (tmp_path / "model.yaml").read_text()
    (tmp_path / "lidar_pillars_onnx_fp32.onnx").write_bytes((tmp_path / manifest.artefacts[0].file).read_bytes())
    (tmp_path / "model.yaml").write_text(text.replace("lidar_pillars_onnx_int8.onnx", "lidar_pillars_onnx_fp32.onnx"))
    with pytest.raises(ManifestError, match="its name says"):
        group_manifest(tmp_path)
    with pytest.raises(ManifestError, match="no artefact of precision fp16"):
        stage("lidar_pillars", tmp_path / "other", ["fp16"])


def test_the_pipeline_says_which_group_answered(tmp_path: Path) -> None:
    assert find_model("lidar_pillars").is_dir()
    (tmp_path / "plan.yaml").write_text("name: x\ncontrol: shapes\ngroups: {shapes: {chain: [geometric]}}\n")
    overrides = {"experiment": {"plan": str(tmp_path / "plan.yaml")}, "detector": {"isolation": "thread"}}
    with build_pipeline(load_config(None, overrides)) as pipeline:
        result = pipeline.process(replace(SET, stamp_ns=10**18), 10**18)
        assert (result.group, result.model) == ("shapes", "geometric")
        assert pipeline.detector.breakers == ("shapes/geometric: closed",)
