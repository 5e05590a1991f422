"""The TensorRT code against the real Python bindings of 10.x and 11.x, over libraries that answer as where CUDA cannot start."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import small_graphs
import vendor_cache

CHILD = Path(__file__).with_name("tensorrt_child.py")


def child(*args: str) -> dict[str, Any]:
    """Answer of tensorrt_child.py."""
    command = [sys.executable, str(CHILD), *args]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False, env=vendor_cache.child_env()
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stderr[-3000:]}"
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("stubs")

    @cache
    def answer(major: int) -> dict[str, Any]:
        site = vendor_cache.bindings(major)
        stubs = vendor_cache.tensorrt_stubs(folder, major)
        onnx = small_graphs.affine(folder / "affine.onnx")
        return child("bindings", ":".join(map(str, stubs)), str(site), str(onnx))

    return answer


@pytest.mark.parametrize("major", [10, 11])
class TestBindings:
    def test_version(self, ask: Any, major: int) -> None:
        assert ask(major)["version"] == vendor_cache.BINDINGS[major]

    def test_every_attribute_that_is_used_exists(self, ask: Any, major: int) -> None:
        assert ask(major)["missing"] == []

    def test_the_stand_in_has_nothing_that_the_real_one_lacks(self, ask: Any, major: int) -> None:
        assert ask(major)["extras"] == []

    def test_subclasses_work_on_the_real_base_classes(self, ask: Any, major: int) -> None:
        answer = ask(major)
        assert answer["logged"] == ["heard"]
        assert answer["recorded"] == [1, "kept", ["kept"]]
        assert answer["stepped"] is True
        assert answer["allocator"] == 7

    def test_dtypes(self, ask: Any, major: int) -> None:
        assert ask(major)["dtypes"] == ["float32", "float16", "int8", "int64", "bool"]
        assert ask(major)["bf16"].startswith("ArtefactRefused")

    def test_without_cuda_the_back_end_is_unavailable(self, ask: Any, major: int) -> None:
        for who in ("runtime", "builder"):
            assert ask(major)[who].startswith(
                f"EngineUnavailable: TensorRT {vendor_cache.BINDINGS[major]} cannot start"
            )
