"""Flame graphs: folded stacks as one page of SVG, readable without a network."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

_WIDTH_PX, _ROW_PX, _TEXT_PX = 1200, 18, 7.0
_NARROWEST_PX = 0.4


@dataclass(slots=True)
class _Node:
    weight: float = 0.0
    children: dict[str, _Node] = field(default_factory=dict)


def flame_html(title: str, stacks: Mapping[str, float], unit: str) -> str:
    """A page with the flame graph of ``stacks`` (outermost frame at the bottom) and the heaviest functions in a table."""
    root, depth = _tree(stacks)
    height_px = (depth + 1) * _ROW_PX
    boxes: list[str] = []
    if root.weight:
        _draw(boxes, "all", root, 0.0, 0, height_px, root.weight, unit)
    picture = (
        f'<svg viewBox="0 0 {_WIDTH_PX} {height_px}" width="100%" font-family="monospace" font-size="11" '
        f'role="img" aria-label="flame graph">{"".join(boxes)}</svg>'
    )
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{weight:.0f}</td><td>{100 * weight / root.weight:.1f} %</td></tr>"
        for name, weight in heaviest(stacks)
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        "<style>body{font:14px sans-serif;margin:1.5em}rect{stroke:#fff;stroke-width:.5}td{padding:0 1em 0 0}"
        "td+td{text-align:right}text{pointer-events:none}</style>"
        f"<h1>{escape(title)}</h1><p>{root.weight:.0f} {unit}. The wider, the more; hover for figures.</p>{picture}"
        f"<h2>Heaviest by themselves</h2><table>{rows}</table></html>"
    )


def heaviest(stacks: Mapping[str, float], number: int = 25) -> list[tuple[str, float]]:
    """Functions by their own weight (innermost frames), the heaviest first."""
    own: dict[str, float] = {}
    for stack, weight in stacks.items():
        leaf = stack.rpartition(";")[2]
        own[leaf] = own.get(leaf, 0.0) + weight
    return sorted(own.items(), key=lambda item: -item[1])[:number]


def _tree(stacks: Mapping[str, float]) -> tuple[_Node, int]:
    root, depth = _Node(), 0
    for stack, weight in stacks.items():
        root.weight += weight
        node, frames = root, stack.split(";")
        depth = max(depth, len(frames))
        for frame in frames:
            node = node.children.setdefault(frame, _Node())
            node.weight += weight
    return root, depth


def _draw(
    boxes: list[str], name: str, node: _Node, x_px: float, level: int, height_px: float, total: float, unit: str
) -> None:
    width_px = _WIDTH_PX * node.weight / total
    if width_px < _NARROWEST_PX:
        return
    y_px = height_px - (level + 1) * _ROW_PX
    shown = escape(name[: int(width_px / _TEXT_PX)]) if width_px > 3 * _TEXT_PX else ""
    share = 100 * node.weight / total
    boxes.append(
        f"<g><title>{escape(name)}: {node.weight:.0f} {unit}, {share:.1f} %</title>"
        f'<rect x="{x_px:.1f}" y="{y_px:.0f}" width="{width_px:.1f}" height="{_ROW_PX}" fill="{_colour(name)}"/>'
        f'<text x="{x_px + 3:.1f}" y="{y_px + 13:.0f}">{shown}</text></g>'
    )
    for child_name, child in sorted(node.children.items()):
        _draw(boxes, child_name, child, x_px, level + 1, height_px, total, unit)
        x_px += _WIDTH_PX * child.weight / total


def _colour(name: str) -> str:
    code = zlib.crc32(name.encode())
    return f"hsl({code % 40 + 10} {60 + code // 64 % 30}% {60 + code // 4096 % 15}%)"
