"""luthier-runner for aarch64 on emulated cores; `test_arm.py` says what that needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import runner
import small_model
from arm_root import AARCH64
from emulation import need, output
from remote_cases import QUICK, WORKLOADS, check_configs

from luthier.target import profile
from luthier.tuner.link import emulator
from luthier.tuner.remote import RemoteMeasurer

pytestmark = pytest.mark.xdist_group("runner")


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    need(AARCH64.missing())
    runner.build("aarch64")


@pytest.mark.parametrize("core", ["cortex-a53", "raspberry-pi-5"])
def test_answers_are_right(core: str) -> None:
    target = profile(core)
    with RemoteMeasurer(emulator(target), QUICK, timeout=60, target=target) as measurer:
        for key in WORKLOADS:
            check_configs(measurer, key, 6)


def test_the_command_checks_a_model(tmp_path: Path) -> None:
    model = small_model.write_model(tmp_path / "small.onnx")
    words = ["tune", str(model), "--device", "qemu", "--cpu", "cortex-a72", "--level", "quick"]
    out = output([sys.executable, "-m", "luthier.cli", *words, "--shape", "x=1,3,8,8"])
    assert "emulated: answers were checked, and nothing is recorded" in out
    assert " ok" in out and "wrong" not in out and "crash" not in out
