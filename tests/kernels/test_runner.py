"""Runners: inputs from a seed, checks that notice errors, timings."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from kernel_cases import ISAS
from linear_cases import conv_config, gemm_config

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import (
    ACTIVATIONS,
    Chain,
    Conv2d,
    DepthwiseConv2d,
    Gemm,
    QConv2d,
    QGemm,
    Runner,
    default_config,
    runner,
    space,
)

EPILOGUE = {"bias": True, "residual": True, "threads": 2}
WORKLOADS = [
    Gemm(m=7, n=20, k=33, **EPILOGUE),
    Gemm(m=7, n=20, k=33, packed=False, batch=3, **EPILOGUE),
    Conv2d(n=1, c=6, h=7, w=8, k=10, r=3, s=3, pads=(1, 1, 1, 1), groups=2, **EPILOGUE),
    DepthwiseConv2d(n=2, c=21, h=7, w=8, r=3, s=3, strides=(2, 2), **EPILOGUE),
    Chain(
        (
            DepthwiseConv2d(n=1, c=9, h=7, w=8, r=3, s=3, pads=(1, 1, 1, 1), threads=2),
            Conv2d(n=1, c=9, h=7, w=8, k=10, r=1, s=1, **EPILOGUE),
        )
    ),
]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.key)
def test_run_check_and_time(workload):
    made = Runner(workload)
    assert made.config == default_config(workload)
    check = made.check()
    assert check.ok
    assert 0 <= check.max_abs < 1e-4
    assert 0 <= check.max_rel <= check.max_abs * 10
    y = made.run().copy()
    assert y.shape == made.output.shape
    assert np.ptp(y) > 0
    assert np.array_equal(Runner(workload).run(), y)
    assert not np.array_equal(Runner(workload, seed=1).run(), y)
    assert made.time(3) > 0
    assert np.array_equal(made.output, y)


QUANTISED = [
    QGemm(m=7, n=20, k=33, **EPILOGUE),
    QGemm(m=7, n=20, k=33, packed=False, wt="s16", batch=3, y="f32"),
    QConv2d(n=1, c=6, h=7, w=8, k=10, r=3, s=3, pads=(1, 1, 1, 1), groups=2, **EPILOGUE),
]


@pytest.mark.parametrize("workload", QUANTISED, ids=lambda w: w.key)
def test_quantised(workload):
    made = Runner(workload)
    assert made.config == default_config(workload)
    check = made.check()
    assert (check.ok, check.max_abs, check.max_rel) == (True, 0, 0)
    y = made.run().copy()
    assert np.ptp(y) > 0
    assert not np.array_equal(Runner(workload, seed=1).run(), y)
    assert made.time(3) > 0
    assert np.array_equal(made.output, y)
    assert len(made._steps[0]) == runner.MAX_COPIES
    made._steps[0][0] = SimpleNamespace(run=lambda: None)
    assert not made.check().ok


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_is_within_the_tolerance(activation):
    for isa in ISAS:
        workload = Gemm(m=9, n=40, k=50, bias=True, activation=activation)
        assert Runner(workload, gemm_config(isa)).check().ok


def test_long_sums_are_within_the_tolerance():
    for isa in ISAS:
        assert Runner(Gemm(m=4, n=20, k=20_000), gemm_config(isa, kc=512)).check().ok


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.key)
def test_weights_of_every_copy_are_the_same(workload, monkeypatch):
    assert len(Runner(workload)._steps[0]) == runner.MAX_COPIES
    monkeypatch.setattr(runner, "COLD_BYTES", 0)
    lonely = Runner(workload)
    assert len(lonely._steps[0]) == 1
    assert lonely.time(2) > 0
    assert lonely.check().ok


@pytest.mark.parametrize("damage", [1e-3, np.nan, np.inf])
def test_a_wrong_answer_is_noticed(damage):
    made = Runner(WORKLOADS[0])
    compute = made._steps[0][0].run

    def spoil() -> None:
        compute()
        made.output[0, 3, 5] += damage

    made._steps[0][0] = SimpleNamespace(run=spoil)
    check = made.check()
    assert not check.ok
    assert not check.max_abs < 5e-4


def test_an_output_that_was_not_written_is_noticed():
    made = Runner(WORKLOADS[0])
    made._steps[0][0] = SimpleNamespace(run=lambda: None)
    assert not made.check().ok


def test_configs_of_a_space():
    for workload in WORKLOADS:
        configs = space(workload.op, workload).configs
        for config in configs[:: max(1, len(configs) // 10)]:
            assert Runner(workload, config).check().ok


def test_empty_workloads():
    for workload in (Gemm(m=0, n=3, k=3), Gemm(m=3, n=0, k=3), Gemm(m=3, n=3, k=0)):
        made = Runner(workload, gemm_config("scalar"))
        assert made.check().ok
        assert made.time(1) >= 0


@pytest.mark.parametrize(
    ("workload", "config", "error", "text"),
    [
        (WORKLOADS[0], {}, ArgumentError, "config: expected the knobs"),
        (WORKLOADS[0], gemm_config("scalar", mr=9), ArgumentError, "config: no kernel with"),
        (WORKLOADS[0], gemm_config("scalar", mc=0), KernelError, "gemm: an argument is out of"),
        (WORKLOADS[2], conv_config("pointwise", "scalar"), KernelError, "conv2d: an argument"),
    ],
)
def test_illegal_configs(workload, config, error, text):
    with pytest.raises(error, match=text):
        Runner(workload, config).run()
    with pytest.raises(error, match=text):
        Runner(workload, config).time(1)
