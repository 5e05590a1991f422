"""Dashboards, rules and the operations page name only metrics and labels that the exporter has, and every alert."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("rclpy", reason="rclpy is not installed")

from percept_ros.config import ObserveConfig
from percept_ros.nodes.baselines import BaselineWatch
from percept_ros.nodes.complaints import Complaints
from percept_ros.nodes.telemetry import node_telemetry, watch_breakers, watch_rings
from percept_ros.observe.frames import FrameRecorder
from percept_ros.observe.sender import FrameSender

ROOT = Path(__file__).parents[2]
RULES = ROOT / "config" / "prometheus" / "percept_rules.yml"
DASHBOARD = ROOT / "config" / "grafana" / "percept.json"
OUTSIDE = {"up": {"job", "instance"}}
ADDED = {"le", "service", "job", "instance"}


class Silent:
    """Stands where a node is asked for its name and its logger."""

    def get_name(self) -> str:
        return "fusion"

    def get_logger(self) -> Silent:
        return self

    def warning(self, text: str) -> None:
        pass


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every metric of fusion and camera nodes -> its labels."""
    folder = tmp_path_factory.mktemp("operations")
    with ExitStack() as held:
        config = ObserveConfig(baseline_file=str(folder / "b.db"))
        complaints = Complaints(Silent())
        telemetry = node_telemetry(Silent(), config, complaints, held)  # type: ignore[arg-type]
        sender = node_telemetry(Silent(), ObserveConfig(), complaints, held)  # type: ignore[arg-type]
        FrameSender(sender)
        FrameRecorder(telemetry)
        watch_breakers(telemetry.meter, tuple)
        watch_rings(telemetry.meter, dict)
        held.callback(BaselineWatch(telemetry, config).close)
        families = [*telemetry.meter.collect(), *sender.meter.collect()]
        assert not telemetry.meter.failed_reads
    found: dict[str, set[str]] = {}
    for family in families:
        names = [family.name]
        if family.kind == "histogram":
            names = [f"{family.name}_{part}" for part in ("bucket", "sum", "count")]
        for name in names:
            found[name] = set(family.label_names)
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


ALL = list(expressions())


@pytest.mark.parametrize(("title", "text"), ALL, ids=[f"{i}-{title}" for i, (title, _) in enumerate(ALL)])
def test_metrics_and_labels_exist(title: str, text: str, exported: dict[str, set[str]]) -> None:
    known = {**exported, **OUTSIDE}
    used = re.findall(r"\b(percept_[a-z_]+|up)\b(?:\{([^}]*)\})?", text)
    assert used, f"{title} names no metric"
    for name, selector in used:
        assert name in known, f"{title} uses {name}, which nobody exports"
        for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector):
            assert label in known[name] | ADDED, f"{title}: {name} has no label {label}"
    labels = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", text) for label in group.split(",")}
    anywhere = set().union(*(known[name] for name, _ in used)) | ADDED
    assert labels <= anywhere, f"{title} groups by {labels - anywhere}"
    assert text.count("(") == text.count(")")
    assert text.count("{") == text.count("}")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_every_alert_is_explained_and_nothing_else_is() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    named = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert sorted(named) == sorted(rule["alert"] for rule in alerts())
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "warning", "info")
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_metrics_on_the_operations_page_exist(exported: dict[str, set[str]]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported} | set(exported)
    for name in re.findall(r"`(percept_[a-z_]+)(?:\{[^`]*\})?`", page):
        assert name in bare | {"percept_ros"}, name


def test_the_dashboard_is_complete() -> None:
    board = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "row" or (panel["targets"] and panel["description"])
    assert {item["name"] for item in board["templating"]["list"]} == {"datasource", "service"}


def test_the_scrape_file_reads_the_rules() -> None:
    scrape = yaml.safe_load((RULES.parent / "scrape.yml").read_text())
    assert scrape["rule_files"] == [RULES.name]
    assert {job["job_name"] for job in scrape["scrape_configs"]} >= {"percept_ros"}
