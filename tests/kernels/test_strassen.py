"""Strassen's algorithm in gemm and in pointwise convolutions."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from kernel_cases import ISAS, SIDES, assert_close, lanes
from linear_cases import (
    EXACT,
    answer,
    assert_exact,
    compute,
    conv_config,
    gemm_config,
    make_inputs,
    noise,
)

from luthier.errors import KernelError
from luthier.kernels import ACTIVATIONS, Conv2d, Gemm, Runner, space
from luthier.kernels.spaces import STRASSEN_ERROR, default_config

FULL = {"bias": True, "residual": True, "activation": "relu"}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_sizes(isa, side):
    halves = (1, 3, lanes(isa), lanes(isa) + 1, 2 * lanes(isa) + 5)
    for n, k in itertools.product(halves, repeat=2):
        for m in (1, 2, 5, 12):
            for mc in (1, 4, 5, 100):
                config = gemm_config(isa, strassen=1, nv=2, mc=mc)
                workload = Gemm(m=m, n=2 * n, k=2 * k, **FULL)
                assert_exact(workload, config, n + k, side=side, gaps=(3, 2, 1))
                assert_exact(replace(workload, residual=False), config, n + k, side=side)


@pytest.mark.parametrize("isa", ISAS)
def test_threads_and_batches(isa):
    for threads, mc in itertools.product((1, 2, 5), (3, 8, 100)):
        knobs = {"mc": mc, "threads": threads, "mr": 3}
        workload = Gemm(m=21, n=2 * lanes(isa) + 6, k=10, batch=3, threads=threads, **FULL)
        assert_exact(workload, gemm_config(isa, strassen=1, **knobs), gaps=(1, 2, 3))
        conv = Conv2d(n=2, c=10, h=3, w=5, k=2 * lanes(isa) + 6, r=1, s=1, **FULL)
        assert_exact(replace(conv, threads=threads), conv_config("strassen", isa, **knobs))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, isa):
    params = EXACT.get(activation, (0.0, 0.0))
    workload = Gemm(m=7, n=2 * lanes(isa) + 4, k=8, **FULL | {"activation": activation})
    i = make_inputs(workload)
    y = compute(workload, gemm_config(isa, strassen=1), i, params)
    assert_close(y, answer(workload, i, params), 8, 1e-6)


@pytest.mark.parametrize("isa", ISAS)
def test_error(isa):
    workload = Gemm(m=40, n=256, k=512)
    i = make_inputs(workload, kind=noise)
    error = np.abs(compute(workload, gemm_config(isa, strassen=1), i) - answer(workload, i))
    assert error.max() <= STRASSEN_ERROR * np.ptp(answer(workload, i))


@pytest.mark.parametrize("sizes", [{"n": 15}, {"k": 9}, {"packed": False}], ids=str)
def test_refused_sizes(sizes):
    workload = Gemm(**{"m": 6, "n": 16, "k": 10, **sizes})
    i = replace(make_inputs(workload), w=make_inputs(Gemm(m=6, n=16, k=10)).w)
    with pytest.raises(KernelError):
        compute(workload, gemm_config(ISAS[-1], strassen=1), i)


@pytest.mark.parametrize("knobs", [{"nc": 8}, {"kc": 4}, {"pack_a": 1}], ids=str)
def test_refused_blocks(knobs):
    workload = Gemm(m=6, n=16, k=10)
    with pytest.raises(KernelError):
        compute(workload, gemm_config(ISAS[-1], strassen=1, **knobs), make_inputs(workload))


def test_in_the_space_but_not_the_default() -> None:
    for workload in (
        Gemm(m=300, n=256, k=128),
        Conv2d(n=1, c=128, h=14, w=14, k=256, r=1, s=1, threads=2),
    ):
        found = [c for c in space(workload.op, workload).configs if _halved(c)]
        assert found
        assert not _halved(default_config(workload))
        assert not any(map(_halved, space(workload.op, workload, max_error=1e-7).configs))
        assert Runner(workload, found[0]).check().ok
    odd = Gemm(m=300, n=255, k=128)
    assert not any(map(_halved, space(odd.op, odd).configs))


def _halved(config: dict) -> bool:
    return config.get("algo") == "strassen" or bool(config.get("strassen"))
