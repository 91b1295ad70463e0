"""Fixtures that several folders of tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import real_models


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """``real_model("mnist12")``: the folder of a real model with its test data.

    The models are in $LUTHIER_TEST_MODELS, or else in ../shared/models next to the repository;
    the test is skipped where the model is absent.
    """

    def find(name: str) -> Path:
        folder = real_models.find(name)
        if folder is None:
            pytest.skip(f"no real model {name} in {real_models.ROOT} (set LUTHIER_TEST_MODELS)")
        return folder

    return find
