"""The kernels on an emulated Arm core: builds for aarch64 and runs the kernel tests there.

Skipped without the cross compiler and the emulator, unless LUTHIER_REQUIRE_ARM is set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 600
"""Time that the emulated tests get."""

sys.path.insert(0, str(ROOT / "tools"))
import arm_env  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def environment() -> None:
    absent = arm_env.missing_tools()
    if absent and not os.environ.get("LUTHIER_REQUIRE_ARM"):
        pytest.skip(f"Arm tests need {', '.join(absent)}")
    arm_env.prepare()


def run(*arguments: str, cpu: str = "cortex-a53") -> str:
    """Standard output of the emulated Python."""
    done = subprocess.run(
        arm_env.command(list(arguments), cpu),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize(
    ("cpu", "features"), [("cortex-a53", "asimd"), ("cortex-a76", "asimd asimdhp asimddp")]
)
def test_features_are_found(cpu: str, features: str) -> None:
    code = (
        "from luthier.kernels.cpu import native_target as t; print(*t().isas, '|', *t().features)"
    )
    assert run("-c", code, cpu=cpu).strip() == f"scalar neon | {features}"


def test_kernels() -> None:
    out = run(
        "-m", "pytest", "-q", "-x", "-o", "addopts=", "-p", "no:cacheprovider", "tests/kernels"
    )
    assert " passed" in out and " failed" not in out


def test_kernels_of_newer_cores() -> None:
    """Those by SDOT and SMMLA; the others have run on the oldest core."""
    out = run(
        *("-m", "pytest", "-q", "-x", "-o", "addopts=", "-p", "no:cacheprovider"),
        *("-k", "(neondot or neoni8mm) and (every_tile or sizes or extreme)"),
        *("tests/kernels/test_qgemm.py", "tests/kernels/test_qconv2d.py"),
        cpu="max",
    )
    assert " passed" in out and " failed" not in out


def test_a_model(tmp_path: Path) -> None:
    import numpy as np
    import small_model

    model = small_model.write_model(tmp_path / "small.onnx")
    x = np.random.default_rng(0).random((2, 3, 9, 10), np.float32)
    stored = small_model.write_set(tmp_path / "test_data_set_0", x)
    out = run("-m", "luthier.cli", "run", str(model), "--check", str(stored))
    assert "2 of 2 outputs" in out
