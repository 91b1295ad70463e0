"""The operator qconv2d: three algorithms, every kind of window, to the bit."""

from __future__ import annotations

import random

import numpy as np
import pytest
from kernel_cases import SIDES, lanes
from quant_cases import (
    INT8_ISAS,
    assert_bits,
    exact_types,
    qconv_config,
    quant_inputs,
    variants,
)
from test_conv2d import WINDOWS, algorithms, random_workload

from luthier.errors import KernelError
from luthier.kernels import QConv2d, _kernels, space
from luthier.kernels.quant_inputs import quant_slots

FULL = {"bias": True, "residual": True}


@pytest.mark.parametrize("isa", INT8_ISAS)
@pytest.mark.parametrize("window", WINDOWS.values(), ids=list(WINDOWS))
def test_windows(window, isa):
    types = exact_types(isa)
    for seed, (n, c, k, groups) in enumerate(
        ((1, 3, lanes(isa) + 2, 1), (2, 8, 6, 1), (1, 6, 10, 2), (2, 4, 4, 4))
    ):
        a, wt = ("u8", "s8")[seed % 2], types[seed % len(types)]
        workload = QConv2d(n=n, c=c, k=k, groups=groups, a=a, wt=wt, **window, **FULL)
        for algo in algorithms(workload):
            for side in SIDES:
                assert_bits(workload, qconv_config(algo, isa), side=side)
                assert_bits(workload, qconv_config(algo, isa, mc=2), gaps=(3, 2, 1), side=side)


@pytest.mark.parametrize("isa", INT8_ISAS)
@pytest.mark.parametrize("algo", ["pointwise", "im2col", "direct"])
def test_every_tile(algo, isa):
    window = WINDOWS["1x1" if algo == "pointwise" else "3x3"]
    for seed, (mr, nv) in enumerate(variants(isa)):
        # A row of mr pixels and the columns of one full and one narrower panel.
        columns = (2 * nv - 1) * lanes(isa) - 1
        shape = {**window, "h": 2, "w": mr, "a": ("u8", "s8")[seed % 2]}
        workload = QConv2d(n=1, c=5, k=columns, **shape, y="s8", bias=True)
        assert_bits(workload, qconv_config(algo, isa, mr=mr, nv=nv, mc=mr))


@pytest.mark.parametrize("isa", INT8_ISAS)
@pytest.mark.parametrize("algo", ["pointwise", "im2col", "direct"])
def test_blocks(algo, isa):
    window = WINDOWS["1x1" if algo == "pointwise" else "3x3"]
    workload = QConv2d(n=2, c=9, k=2 * lanes(isa) + 3, table=True, **window, **FULL)
    for mc in (1, 3, 8, 100):
        for nc, split_n, threads in ((1, 0, 1), (20, 1, 2), (100, 0, 3), (9, 1, 1)):
            knobs = {"mc": mc, "nc": nc, "split_n": split_n, "threads": threads}
            assert_bits(workload, qconv_config(algo, isa, nv=2, **knobs))


@pytest.mark.parametrize("isa", INT8_ISAS)
@pytest.mark.parametrize("y", ["s32", "f32"])
def test_sums_and_floats(isa, y):
    for algo in ("im2col", "direct"):
        workload = QConv2d(n=1, c=6, k=2 * lanes(isa) + 2, groups=2, y=y, **WINDOWS["3x3"])
        assert_bits(workload, qconv_config(algo, isa, nv=2), gaps=(0, 3, 0))


@pytest.mark.parametrize("seed", range(20))
def test_random_workloads_and_configs(seed):
    rng = random.Random(seed)
    for _ in range(6):
        shape = vars(random_workload(rng))
        shape = {name: shape[name] for name in shape if name != "activation"}
        workload = QConv2d(
            **shape,
            a=rng.choice(("u8", "s8")),
            wt=rng.choice(("s8", "s8m", "s16")),
            y=rng.choice(("u8", "s8")),
            table=rng.random() < 0.2,
        )
        config = rng.choice(space("qconv2d", workload).configs)
        gaps = tuple(rng.choice((0, 0, 1, 5)) for _ in range(3))
        assert_bits(workload, config, gaps=gaps, side=rng.choice(SIDES))


@pytest.mark.parametrize("isa", INT8_ISAS)
def test_bad_arguments_are_refused(isa):
    workload = QConv2d(n=1, c=4, k=6, bias=True, **WINDOWS["3x3"])
    good = quant_slots(workload, quant_inputs(workload, 0), qconv_config("direct", isa))
    good |= {"y": np.zeros((1, 7, 9, 6), np.uint8)}
    _kernels.call("qconv2d", good)
    huge, zero = 1 << 62, ("ih", "iw", "ic", "oh", "ow", "oc", "kh", "kw", "sh", "sw", "dh", "dw")
    for bad in (
        *({name: 0} for name in (*zero, "groups", "mc", "nc", "threads")),
        *({name: huge} for name in (*zero, "n", "pt", "pl", "ldx", "ldy", "ldr")),
        *({name: -1} for name in ("n", "pt", "pl", "algo")),
        *({name: None} for name in ("x", "w", "y", "scale")),
        {"groups": 3},
        {"ldx": 3},
        {"ldy": 5},
        {"algo": 0},
        {"algo": 3},
        {"kh": 33, "kw": 32},
        {"y_type": 2},
    ):
        with pytest.raises(KernelError, match="qconv2d: an argument is out of range"):
            _kernels.call("qconv2d", {**good, **bad})
    with pytest.raises(KernelError, match="qconv2d: no such variant"):
        _kernels.call("qconv2d", {**good, "mr": 99})
    with pytest.raises(KernelError, match="qconv2d: workspace is missing"):
        _kernels.Args("qconv2d", good).run()
