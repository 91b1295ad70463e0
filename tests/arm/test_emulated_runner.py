"""luthier-runner for aarch64 on emulated cores; `test_arm.py` says what that needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from luthier.target import profile
from luthier.tuner.link import emulator
from luthier.tuner.remote import RemoteMeasurer

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "tuner")]
import runner  # noqa: E402
from cross import PREFIXES  # noqa: E402
from remote_cases import QUICK, WORKLOADS, check_configs  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    absent = [t for t in (f"{PREFIXES['aarch64']}gcc", "qemu-aarch64") if shutil.which(t) is None]
    if absent and not os.environ.get("LUTHIER_REQUIRE_ARM"):
        pytest.skip(f"Arm tests need {', '.join(absent)}")
    runner.build("aarch64")


@pytest.mark.parametrize("core", ["cortex-a53", "raspberry-pi-5"])
def test_answers_are_right(core: str) -> None:
    target = profile(core)
    with RemoteMeasurer(emulator(target), QUICK, timeout=60, target=target) as measurer:
        for key in WORKLOADS:
            check_configs(measurer, key, 6)


def test_the_command_checks_a_model(tmp_path: Path) -> None:
    import small_model

    model = small_model.write_model(tmp_path / "small.onnx")
    words = ["tune", str(model), "--device", "qemu", "--cpu", "cortex-a72", "--level", "quick"]
    done = subprocess.run(
        [sys.executable, "-m", "luthier.cli", *words, "--shape", "x=1,3,8,8"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "emulated: answers were checked, and nothing is recorded" in done.stdout
    assert " ok" in done.stdout and "wrong" not in done.stdout and "crash" not in done.stdout
