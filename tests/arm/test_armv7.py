"""The kernels on an emulated Arm core of 32 bits; `test_arm.py` says what that needs."""

from __future__ import annotations

import arm_env
import pytest
import runner
from arm_root import ARMV7
from emulation import need, output
from remote_cases import QUICK, WORKLOADS, check_configs

from luthier.tuner.link import Link, runner_path
from luthier.tuner.remote import RemoteMeasurer

CORE = "cortex-a7"

pytestmark = pytest.mark.xdist_group("armv7")


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    need(ARMV7.missing())


def test_kernels() -> None:
    arm_env.prepare(ARMV7)
    # A forked child that makes threads ends in an assertion of qemu-arm's own.
    options = ["-q", "-x", "-o", "addopts=", "-p", "no:cacheprovider", "-k", "not fork"]
    out = output(arm_env.command(["-m", "pytest", *options, "tests/kernels"], CORE, ARMV7))
    print(out.splitlines()[-1])
    assert " passed" in out and " failed" not in out


def test_the_program_answers_right() -> None:
    runner.build(ARMV7.machine)
    command = [ARMV7.emulator, "-cpu", CORE, str(runner_path(ARMV7.machine))]
    with RemoteMeasurer(lambda: Link(command), QUICK, timeout=60) as measurer:
        for key in WORKLOADS:
            check_configs(measurer, key, 6)
