"""Every test starts from the same numbers."""

from __future__ import annotations

import float_models
import pytest


@pytest.fixture(autouse=True)
def _reseed() -> None:
    float_models.reseed()
