"""What tests on emulated cores share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 1800
"""Time that an emulated command gets, on a machine that has other things to do, too."""


def need(missing: Sequence[str]) -> None:
    """Skip tests that need absent programs; under LUTHIER_REQUIRE_ARM they fail instead."""
    if missing and not os.environ.get("LUTHIER_REQUIRE_ARM"):
        pytest.skip(f"Arm tests need {', '.join(missing)}")
    assert not missing, f"Arm tests need {', '.join(missing)}"


def output(command: Sequence[str]) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def on(*cores: str) -> pytest.MarkDecorator:
    """The test runs once on each of these cores; tests of one core make a group of pytest-xdist."""
    marks = [pytest.param(core, marks=pytest.mark.xdist_group(core)) for core in cores]
    return pytest.mark.parametrize("core", marks)
