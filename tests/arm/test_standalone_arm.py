"""Programs without Python, built for aarch64 and run under emulation."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from emulation import need
from standalone_cases import NAMES, Built, build_cases


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    need([tool for tool in ("aarch64-linux-gnu-gcc", "qemu-aarch64") if not shutil.which(tool)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CFLAGS", "-O1")  # to be quick; answers are the same
        emulator = ["qemu-aarch64", "-cpu", "cortex-a53"]
        return build_cases(tmp_path_factory.mktemp("program"), "cortex-a53", emulator)


@pytest.mark.parametrize("name", ["small", *NAMES])
def test_answers_are_those_of_this_machine(built: Built, name: str) -> None:
    """Integers to the bit, floats but for the order of sums."""
    if name not in built.sources:
        pytest.skip(f"{name} is not here")
    for got, expected in zip(built.run(name), built.expected(name), strict=True):
        if "qop" in name:
            np.testing.assert_array_equal(got, expected)
        else:
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.ptp(expected))
