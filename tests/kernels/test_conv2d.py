"""The operator conv2d: every kind of window. Of Winograd more is in test_winograd.py."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from kernel_cases import ISAS, SIDES, assert_close, assert_same_bits, lanes
from linear_cases import (
    EXACT,
    answer,
    assert_exact,
    compute,
    conv_config,
    gemm_variants,
    make_inputs,
    noise,
)

from luthier.errors import KernelError
from luthier.kernels import ACTIVATIONS, Conv2d, _kernels, fields, space

FULL = {"bias": True, "residual": True, "activation": "relu"}

WINDOWS = {
    "3x3": {"h": 7, "w": 9, "r": 3, "s": 3, "pads": (1, 1, 1, 1)},
    "no padding": {"h": 7, "w": 9, "r": 3, "s": 3},
    "asymmetric": {"h": 6, "w": 5, "r": 3, "s": 3, "pads": (0, 2, 3, 1)},
    "strided": {"h": 9, "w": 11, "r": 3, "s": 3, "pads": (1, 1, 1, 1), "strides": (2, 3)},
    "dilated": {"h": 9, "w": 8, "r": 3, "s": 2, "pads": (2, 1, 2, 3), "dilations": (2, 3)},
    "all at once": {"h": 9, "w": 10, "r": 2, "s": 3, "pads": (1, 2, 0, 1), "strides": (2, 2),
                    "dilations": (3, 2)},
    "5x5": {"h": 6, "w": 7, "r": 5, "s": 5, "pads": (2, 2, 2, 2)},
    "row": {"h": 4, "w": 9, "r": 1, "s": 7, "pads": (0, 3, 0, 3)},
    "column": {"h": 9, "w": 3, "r": 7, "s": 1, "pads": (3, 0, 3, 0)},
    "larger than the image": {"h": 2, "w": 3, "r": 5, "s": 6, "pads": (3, 3, 2, 2)},
    "rows of padding only": {"h": 2, "w": 3, "r": 2, "s": 2, "pads": (5, 1, 6, 1)},
    "columns of padding only": {"h": 3, "w": 2, "r": 2, "s": 2, "pads": (1, 5, 1, 6)},
    "one pixel": {"h": 1, "w": 1, "r": 3, "s": 3, "pads": (1, 1, 1, 1)},
    "1x1 strided": {"h": 7, "w": 6, "r": 1, "s": 1, "strides": (2, 2)},
    "1x1 padded": {"h": 3, "w": 4, "r": 1, "s": 1, "pads": (1, 0, 0, 2)},
    "1x1": {"h": 5, "w": 7, "r": 1, "s": 1},
}  # fmt: skip


def algorithms(workload: Conv2d) -> list[str]:
    return ["im2col", "direct", *["pointwise"] * workload.pointwise]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", WINDOWS.values(), ids=list(WINDOWS))
def test_windows(window, isa):
    for n, c, k, groups in ((1, 3, lanes(isa) + 2, 1), (2, 5, 6, 1), (1, 6, 10, 2), (2, 4, 4, 4)):
        workload = Conv2d(n=n, c=c, k=k, groups=groups, **window, **FULL)
        for algo in algorithms(workload):
            for side in SIDES:
                assert_exact(workload, conv_config(algo, isa), side=side)
                assert_exact(workload, conv_config(algo, isa, mc=2), gaps=(3, 2, 1), side=side)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algo", ["pointwise", "im2col", "direct"])
def test_every_tile(algo, isa):
    window = WINDOWS["1x1" if algo == "pointwise" else "3x3"]
    for mr, nv, ku in gemm_variants(isa):
        # A row of mr pixels and the columns of one full and one narrower panel.
        columns = (2 * nv - 1) * lanes(isa) - 1
        workload = Conv2d(n=1, c=3, k=columns, **{**window, "h": 2, "w": mr}, bias=True)
        assert_exact(workload, conv_config(algo, isa, mr=mr, nv=nv, ku=ku, mc=mr))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algo", ["pointwise", "im2col", "direct"])
def test_blocks(algo, isa):
    window = WINDOWS["1x1" if algo == "pointwise" else "3x3"]
    workload = Conv2d(n=2, c=9, k=2 * lanes(isa) + 3, **window, **FULL)
    for mc in (1, 3, 8, 100):
        for nc, kc, split_n, threads in (
            (1, 1, 0, 1),
            (20, 7, 1, 2),
            (100, 26, 0, 3),
            (9, 1, 1, 1),
        ):
            knobs = {"mc": mc, "nc": nc, "kc": kc, "split_n": split_n, "threads": threads}
            assert_exact(workload, conv_config(algo, isa, nv=2, **knobs), seed=mc + nc)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, isa):
    params = EXACT.get(activation, (0.0, 0.0))
    for algo in ("im2col", "direct"):
        workload = Conv2d(
            n=1, c=4, k=12, groups=2, **WINDOWS["3x3"], **FULL | {"activation": activation}
        )
        if activation in EXACT:
            assert_exact(workload, conv_config(algo, isa), params=params, gaps=(0, 5, 0))
        else:
            i = make_inputs(workload)
            y = compute(workload, conv_config(algo, isa), i, params)
            assert_close(y, answer(workload, i, params), 8, 1e-6)


def random_workload(rng: random.Random) -> Conv2d:
    """A small legal convolution."""
    groups = rng.choice((1, 1, 1, 2, 3))
    while True:
        sizes = {
            name: rng.randint(1, most) for name, most in (("h", 9), ("w", 9), ("r", 4), ("s", 4))
        }
        pads = tuple(rng.choice((0, 0, 1, 2, 4)) for _ in range(4))
        try:
            return Conv2d(
                n=rng.choice((1, 1, 2)),
                c=groups * rng.randint(1, 6),
                k=groups * rng.choice((1, 3, 8, 17, 33)),
                **sizes,
                pads=rng.choice((pads, (0, 0, 0, 0))),
                strides=(rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2, 3))),
                dilations=(rng.choice((1, 1, 2)), rng.choice((1, 1, 3))),
                groups=groups,
                bias=rng.random() < 0.5,
                residual=rng.random() < 0.3,
                activation=rng.choice(list(EXACT)),
                threads=rng.choice((1, 2)),
            )
        except ValueError:
            continue  # the window did not fit


@pytest.mark.parametrize("seed", range(40))
def test_random_workloads_and_configs(seed):
    rng = random.Random(seed)
    for _ in range(8):
        workload = random_workload(rng)
        config = rng.choice(space("conv2d", workload).configs)
        gaps = tuple(rng.choice((0, 0, 1, 5)) for _ in range(3))
        how = {"params": EXACT[workload.activation], "gaps": gaps, "side": rng.choice(SIDES)}
        assert_exact(workload, config, rng.randrange(1000), **how)
        isa, (mr, nv, ku) = rng.choice([(i, v) for i in ISAS for v in gemm_variants(i)])
        tile = {"isa": isa, "mr": mr, "nv": nv, "ku": ku}
        assert_exact(workload, {**config, **tile}, rng.randrange(1000), **how)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algo", ["im2col", "direct"])
def test_the_same_bits_for_any_number_of_threads(algo, isa):
    workload = Conv2d(n=2, c=13, k=40, **WINDOWS["all at once"], **FULL)
    i = make_inputs(workload, kind=noise)
    results = [
        compute(workload, conv_config(algo, isa, threads=t, split_n=s, mc=3, nc=16), i)
        for t, s in ((1, 0), (2, 0), (2, 1), (3, 1))
    ]
    assert_same_bits(results)
    assert_close(results[0], answer(workload, i), 0, 3e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("algo", ["im2col", "direct"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinities_spread_as_in_numpy(value, algo, isa):
    workload = Conv2d(n=1, c=3, k=9, **WINDOWS["3x3"], bias=True, activation="relu")
    i = make_inputs(workload)
    i.x[0, 2, 3, 1] = value
    with np.errstate(invalid="ignore"):
        expected = answer(workload, i)
    y = compute(workload, conv_config(algo, isa), i)
    assert np.array_equal(y, expected, equal_nan=True)
    assert not np.isfinite(expected).all()


def test_no_images():
    workload = Conv2d(n=0, c=3, k=4, **WINDOWS["3x3"])
    for algo in ("im2col", "direct"):
        assert_exact(workload, conv_config(algo, "scalar"))


BAD = [
    {"n": -1},
    {"n": 1 << 40},
    {"ih": 0},
    {"iw": 1 << 33},
    {"ih": (1 << 31) - 1, "iw": (1 << 31) - 1},
    {"oh": (1 << 31) - 1, "ow": (1 << 31) - 1},
    {"kh": (1 << 31) - 1, "kw": (1 << 31) - 1},
    {"ic": 0},
    {"oc": -4},
    {"sh": 0},
    {"sw": (1 << 31) - 1, "ow": (1 << 31) - 1},
    {"dh": -1},
    {"pt": -1},
    {"pl": -1},
    {"pl": 1 << 62},
    {"pt": 1 << 62},
    {"groups": 0},
    {"groups": 3},
    {"ldx": 3},
    {"ldy": 3},
    {"ldx": 1 << 62},
    {"ldr": -1},
    {"algo": 0},
    {"algo": 6},
    {"algo": -1},
    {"isa": 99},
    {"mr": 100},
    {"mc": 0},
    {"nc": 0},
    {"kc": 0},
    {"threads": 0},
    {"act": 99},
    {"x": None},
    {"w": None},
    {"y": None},
    {"work": None},
    {"algo": 1, "work": None},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_the_driver_refuses(bad):
    workload = Conv2d(n=1, c=4, k=4, **WINDOWS["3x3"])
    i, config = make_inputs(workload), conv_config("direct", "scalar")
    sound = {
        **fields.workload_fields(workload),
        **fields.config_fields(config),
        **{"x": i.x, "w": fields.pack_weights(workload, i.w, config)},
        "y": np.zeros((1, 7, 9, 4), np.float32),
    }
    _kernels.call("conv2d", sound)
    with pytest.raises(KernelError, match="conv2d"):
        _kernels.call("conv2d", {**sound, **bad})


def test_pointwise_refuses_other_windows():
    for window in ("1x1 strided", "1x1 padded", "3x3"):
        workload = Conv2d(n=1, c=4, k=4, **WINDOWS[window])
        with pytest.raises(KernelError, match="out of range"):
            assert_exact(workload, conv_config("pointwise", "scalar"))


def test_direct_refuses_too_many_taps():
    workload = Conv2d(n=1, c=1, k=1, h=33, w=33, r=33, s=32)
    assert_exact(replace(workload, r=32), conv_config("direct", "scalar"))
    with pytest.raises(KernelError, match="out of range"):
        assert_exact(workload, conv_config("direct", "scalar"))
