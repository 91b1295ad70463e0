"""The benchmark files run, and their answers are right."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from luthier.kernels import Workload, isas, native_target
from luthier.kernels.spaces import algorithm_defaults, check_config, default_config

ROOT = Path(__file__).parents[2]


def test_every_kernel_is_right_before_it_is_timed() -> None:
    options = ["-q", "-o", "addopts=", "--benchmark-disable", "-k", f"test_call and {isas()[-1]}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(ROOT / "bench" / "bench_kernels.py")],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "key",
    [
        "conv2d/f32/n1c64h56w56/k64r3s3/st1.1/p1.1.1.1/d1.1/g1/epi=bias/t1",
        "depthwise_conv2d/f32/n1c32h56w56/r3s3/st1.1/p1.1.1.1/d1.1/epi=bias/t1",
        "gemm/f32/b1m64n64k64/packed/epi=none/t1",
    ],
)
def test_each_algorithm_has_a_default(key: str) -> None:
    workload, target = Workload.parse(key), native_target()
    found = algorithm_defaults(workload, target)
    default = default_config(workload, target)
    assert default in found.values() or default["isa"] != target.isa
    assert all(check_config(workload, c) == c for c in found.values())
    assert all(config.get("algo", workload.op) == name for name, config in found.items())
