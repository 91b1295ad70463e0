"""Fixtures of the tuner's tests."""

from __future__ import annotations

from pathlib import Path

import doubles
import pytest

from luthier.tuner import Database, Device, LocalMeasurer


@pytest.fixture
def device() -> Device:
    return Device("cpu-1 of board-1", "cpu-1", "neon")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "records.jsonl")


@pytest.fixture
def measurer(monkeypatch: pytest.MonkeyPatch):
    """A measurer whose worker runs the doubles."""
    monkeypatch.setenv("PYTHONPATH", str(Path(doubles.__file__).parent))
    with LocalMeasurer(doubles.QUICK, timeout=20, module="doubles", space=doubles.space) as local:
        yield local
