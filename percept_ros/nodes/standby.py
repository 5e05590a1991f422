"""The fusion standby: hears what fusion hears, and publishes in its place while it is silent (see leadership.py)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from percept_ros.build import build_pipeline
from percept_ros.nodes.fusion import FusionNode
from percept_ros.nodes.leadership import standby_config
from percept_ros.nodes.names import FUSION, STANDBY
from percept_ros.pipeline import Pipeline


class StandbyNode(FusionNode):
    """Publishes the tracks of the fusion node on its topics while that one is silent; its own ``~/status`` and diagnostics."""

    output = FUSION
    standby = True

    def __init__(self, name: str = STANDBY, **options: Any) -> None:
        super().__init__(name, **options)

    def acquire(self, held: ExitStack) -> None:
        """The last model of the chain, in this process."""
        self.config, self._rank = standby_config(self.config)
        super().acquire(held)

    def _build(self) -> Pipeline:
        return build_pipeline(self.config, from_rank=self._rank)


def make() -> tuple[StandbyNode]:
    """The standby alone."""
    return (StandbyNode(),)
