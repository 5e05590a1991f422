"""Fixtures of the engine contract."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_cases import CASES, KERNELS, Case, compiled


@pytest.fixture(scope="session")
def engines_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the affine engine's shared object."""
    folder = tmp_path_factory.mktemp("engines")
    compiled(KERNELS / "engines" / "affine.cpp", folder / "affine.so")
    return folder


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path, engines_folder: Path) -> Case:
    return CASES[request.param](tmp_path, engines_folder)
