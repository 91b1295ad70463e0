"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """``real_model("mnist12")``: the folder of a real model with its test data.

    The models are in $LUTHIER_TEST_MODELS, or else in ../shared/models next to the repository;
    the test is skipped where the model is absent.
    """
    default = Path(__file__).parents[2] / "shared" / "models"
    root = Path(os.environ.get("LUTHIER_TEST_MODELS") or default)

    def find(name: str) -> Path:
        folder = root / name
        if not (folder / "model.onnx").exists():
            pytest.skip(f"no real model {name} in {root} (set LUTHIER_TEST_MODELS)")
        return folder

    return find
