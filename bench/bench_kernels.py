"""pytest-benchmark: the untuned kernels on layers of real models, on every instruction set."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.bench.workloads import WORKLOADS
from luthier.kernels import Runner, Workload, default_config, isas, native_target


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("name", WORKLOADS)
def test_kernel(benchmark: Any, name: str, isa: str) -> None:
    from dataclasses import replace

    workload = Workload.parse(WORKLOADS[name])
    found = isas()
    target = replace(native_target(), isas=found[: found.index(isa) + 1])
    runner = Runner(workload, default_config(workload, target))
    benchmark.group = name
    benchmark.extra_info["workload"] = workload.key
    benchmark(runner.run)
    if benchmark.stats:
        benchmark.extra_info["gflops"] = workload.flops / benchmark.stats["median"] / 1e9
