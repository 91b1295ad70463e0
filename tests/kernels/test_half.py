"""Products of bf16 and fp16: tiles and ways of blocking, exact on integers; rounding; errors."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from kernel_cases import EXTREMES, SIDES, assert_same_bits, lanes
from linear_cases import (
    EXACT,
    Inputs,
    answer,
    assert_exact,
    compute,
    conv_config,
    gemm_config,
    gemm_variants,
    make_inputs,
    noise,
)

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import (
    ACTIVATIONS,
    Conv2d,
    Gemm,
    Workload,
    _kernels,
    conv2d,
    fields,
    gemm,
    space,
)
from luthier.kernels.cpu import native_target
from luthier.kernels.halves import HALF_ISAS, half_isas, rounded
from luthier.kernels.runner import Runner
from luthier.kernels.spaces import HALF_ERRORS, default_config, within
from luthier.target import Target

HALVES = _kernels.cpu_half_isas()
"""Instruction sets of this CPU that multiply halves; the tests of kernels are for these."""

FULL = {"bias": True, "residual": True, "activation": "relu"}
KINDS = ("bf16", "fp16")


def config(isa: str, **knobs: int) -> dict:
    return gemm_config(isa, **{"pack_a": 1, **knobs})


@pytest.mark.parametrize("isa", HALVES)
@pytest.mark.parametrize("side", SIDES)
def test_every_tile(isa, side):
    variants = gemm_variants(isa)
    assert len(variants) > 10
    for mr, nv, ku in variants:
        for tail in (1, lanes(isa)):
            # The unrolled loop runs twice and leaves some k over, half a word among them.
            workload = Gemm(m=mr, n=(nv - 1) * lanes(isa) + tail, k=16 * ku + 3, **FULL)
            tile = config(isa, mr=mr, nv=nv, ku=ku, prefetch=512 * (ku > 1))
            assert_exact(workload, tile, side=side)


@pytest.mark.parametrize("isa", HALVES)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
def test_sizes(isa, packed):
    columns = (0, 1, lanes(isa) - 1, lanes(isa), lanes(isa) + 1, 37)
    for n, k in itertools.product(columns, (0, 1, 2, 3, 4, 5, 31, 130)):
        for side in SIDES:
            workload = Gemm(m=1 + (3 * n + k) % 11, n=n, k=k, packed=packed, bias=True)
            assert_exact(workload, config(isa, nv=2), n * k, side=side)


@pytest.mark.parametrize("isa", HALVES)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
def test_blocks(isa, packed):
    blocks = itertools.product((1, 4, 100), (1, 20, 100), (1, 7, 8, 100), (0, 1), (1, 2))
    for seed, (mc, nc, kc, split_n, threads) in enumerate(blocks):
        batch = 1 + (not packed) * seed % 3
        workload = Gemm(
            m=13, n=2 * lanes(isa) + 5, k=23, batch=batch, packed=packed, threads=2, **FULL
        )
        knobs = {"mc": mc, "nc": nc, "kc": kc, "split_n": split_n, "threads": threads}
        gaps = (seed % 3, seed % 4, seed % 5)
        assert_exact(workload, config(isa, nv=2, **knobs), seed, side=SIDES[seed % 2], gaps=gaps)


@pytest.mark.parametrize("isa", HALVES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(isa, activation):
    workload = Gemm(m=5, n=lanes(isa) + 3, k=6, bias=True, residual=True, activation=activation)
    params = EXACT.get(activation, (0.0, 0.0))
    i = make_inputs(workload)
    got, expected = compute(workload, config(isa), i, params), answer(workload, i, params)
    np.testing.assert_allclose(got, expected, rtol=0 if activation in EXACT else 1e-6, atol=1e-6)


WINDOWS = {
    "3x3": {"h": 7, "w": 9, "r": 3, "s": 3, "pads": (1, 1, 1, 1)},
    "no padding": {"h": 5, "w": 4, "r": 3, "s": 3},
    "strided": {"h": 9, "w": 11, "r": 3, "s": 3, "pads": (0, 1, 2, 1), "strides": (2, 3)},
    "dilated": {"h": 9, "w": 8, "r": 3, "s": 2, "pads": (2, 1, 2, 3), "dilations": (2, 3)},
    "larger than the image": {"h": 2, "w": 3, "r": 5, "s": 6, "pads": (3, 3, 2, 2)},
    "1x1 strided": {"h": 7, "w": 6, "r": 1, "s": 1, "strides": (2, 2)},
    "1x1": {"h": 5, "w": 7, "r": 1, "s": 1},
}


@pytest.mark.parametrize("isa", HALVES)
@pytest.mark.parametrize("window", WINDOWS.values(), ids=list(WINDOWS))
def test_windows(window, isa):
    sizes = ((1, 3, lanes(isa) + 2, 1), (2, 8, 6, 1), (1, 8, 10, 2), (2, 6, 6, 2), (1, 12, 6, 3))
    for n, c, k, groups in sizes:
        workload = Conv2d(n=n, c=c, k=k, groups=groups, **window, **FULL)
        whole = c // groups % _kernels.half_format(isa)[2] == 0
        for algo in ("im2col", *["direct"] * whole, *["pointwise"] * workload.pointwise):
            for side in SIDES:
                assert_exact(workload, conv_config(algo, isa), side=side)
                blocks = {"mc": 2, "kc": 7, "nc": 8, "threads": 2}
                assert_exact(workload, conv_config(algo, isa, **blocks), gaps=(3, 2, 1), side=side)


@pytest.mark.parametrize("isa", HALVES)
def test_the_driver_refuses(isa):
    names = ("a", "x", "w", "y", "work")
    room = {name: np.zeros(1 << 16, np.float32) for name in names}

    def call(workload: Workload, knobs: dict) -> None:
        slots = {**fields.workload_fields(workload), **fields.config_fields(knobs), **room}
        del slots["x" if workload.op == "gemm" else "a"]
        _kernels.call(workload.op, slots)

    square = Gemm(m=6, n=6, k=6)
    call(square, config(isa))
    for knobs in ({"pack_a": 0}, {"ku": 0}, {"ku": 3}, {"strassen": 1}, {"mr": 15}):
        with pytest.raises(KernelError):
            call(square, config(isa, **knobs))
    odd = Conv2d(n=1, c=3, h=4, w=4, k=4, r=3, s=3)
    call(odd, conv_config("im2col", isa))
    for algo, ku in (("direct", 1), ("winograd2", 1), ("im2col", 0)):
        with pytest.raises(KernelError):
            call(odd, conv_config(algo, isa, ku=ku))
    with pytest.raises(KernelError):
        call(replace(odd, c=4, r=1, s=1), conv_config("strassen", isa))


@pytest.mark.parametrize("isa", HALVES)
def test_factors_are_rounded_to_nearest_even(isa):
    """A sum of one product by one is what became of the factor, in A and in both kinds of B."""
    kind = HALF_ISAS[isa][0]
    x = _values(kind)
    one = np.ones((1, 1, 1), np.float32)
    for packed in (True, False):
        rows = Gemm(m=x.size, n=1, k=1, packed=packed)
        w = one[0] if packed else one
        got = compute(rows, config(isa), Inputs(x.reshape(1, -1, 1), w, None, None))
        np.testing.assert_array_equal(got.ravel(), rounded(x, kind))
        columns = Gemm(m=1, n=x.size, k=1, packed=packed)
        w = x.reshape(1, -1) if packed else x.reshape(1, 1, -1)
        got = compute(columns, config(isa, nc=4096), Inputs(one, w, None, None))
        np.testing.assert_array_equal(got.ravel(), rounded(x, kind))


def _values(kind: str) -> np.ndarray:
    """Extremes, ties and neighbours of ties of every exponent; no denormals of bf16."""
    rng = np.random.default_rng(3)
    kept = 7 if kind == "bf16" else 10
    ties = (rng.integers(0, 1 << kept, 200) << 23 - kept) + (1 << 22 - kept)
    ties = np.concatenate([ties, ties - 1, ties + 1]).astype(np.uint32)
    exponents = rng.integers(1, 255, ties.size).astype(np.uint32) << 23
    small = rng.integers(90, 144, ties.size).astype(np.uint32) << 23  # around fp16's range
    numbers = np.concatenate([exponents + ties, small + ties]).view(np.float32)
    x = np.concatenate([numbers, -numbers, EXTREMES, np.float32([65504, 65519.99, 65520, 7e4])])
    magnitude = x.view(np.uint32) & 0x7FFFFFFF
    return x[(magnitude == 0) | (magnitude >= 1 << 23)]  # no denormals: Armv7 takes them for zeros


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_of_rounding(kind):
    """Nothing between a number and what it is rounded to is representable, nor nearer."""
    x = _values(kind)
    y = rounded(x, kind)
    finite = np.isfinite(y) & np.isfinite(x) & (np.abs(x) > (0 if kind == "bf16" else 6.2e-5))
    unit = 2.0 ** (np.floor(np.log2(np.abs(y[finite]))) - (7 if kind == "bf16" else 10))
    assert np.all(np.abs(y[finite] - x[finite].astype(np.float64)) <= unit / 2)
    np.testing.assert_array_equal(rounded(y, kind), y)
    assert np.array_equal(np.isnan(y), np.isnan(x))
    with np.errstate(over="ignore"):
        largest = 65520 if kind == "fp16" else 2.0**128 * (1 - 2.0**-9)
    assert np.array_equal(np.isinf(y), np.abs(x) >= largest)


def test_precisions_that_do_not_exist():
    with pytest.raises(ArgumentError, match="unknown precision 'fp8'"):
        rounded(np.ones(3, np.float32), "fp8")


@pytest.mark.parametrize("isa", HALVES)
def test_sums_of_noise_err_by_the_rounding_of_sums_alone(isa):
    """Against float64 on rounded factors; fp16 rounds the sums of a few products as well."""
    kind = HALF_ISAS[isa][0]
    for k in (1, 17, 300, 2000):
        workload = Gemm(m=7, n=2 * lanes(isa) + 3, k=k, bias=True)
        i = make_inputs(workload, kind=noise)
        near = Inputs(rounded(i.x, kind), rounded(i.w, kind), i.bias, None)
        expected = answer(workload, near)
        size = np.abs(near.x).astype(np.float64) @ np.abs(near.w)
        got = compute(workload, config(isa, kc=4096), i)
        unit = 2.0**-24 if kind == "bf16" else 2.0**-11
        assert np.all(np.abs(got - expected) <= 8 * unit * size + 1e-6)
        typical = np.sqrt(np.mean((got - expected) ** 2) / np.mean(expected**2))
        assert typical < (1e-6 if kind == "bf16" else 1.6e-3)


@pytest.mark.parametrize("isa", HALVES)
def test_nan_and_infinities_spread(isa):
    for side, value in itertools.product(("x", "w", "bias"), (np.nan, np.inf, -np.inf)):
        workload = Gemm(m=9, n=21, k=11, bias=True)
        i = make_inputs(workload)
        getattr(i, side).reshape(-1)[7::13] = value
        with np.errstate(invalid="ignore"):
            expected = answer(workload, i)
        assert np.array_equal(compute(workload, config(isa), i), expected, equal_nan=True)


@pytest.mark.parametrize("isa", HALVES)
def test_the_same_bits_for_any_number_of_threads(isa):
    workload = Gemm(m=37, n=70, k=141, **FULL)
    i = make_inputs(workload, kind=noise)
    knobs = {"mc": 5, "nc": 32, "kc": 16}
    ways = ((1, 0), (2, 0), (2, 1), (3, 0))
    assert_same_bits(
        [compute(workload, config(isa, threads=t, split_n=s, **knobs), i) for t, s in ways]
    )


def with_all_halves(precision: str) -> Target:
    """A target with every feature that halves need."""
    features = tuple(feature for _, feature in HALF_ISAS.values())
    arm = replace(native_target(), arch="aarch64", isas=("scalar", "neon"))
    return replace(arm, features=features, precision=precision)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_spaces_have_halves_where_they_are_allowed(precision):
    target = with_all_halves(precision)
    wanted = {isa for isa, (kind, _) in HALF_ISAS.items() if kind == precision}
    assert set(half_isas(target)) == wanted
    for key in ("gemm/f32/b1m64n64k64/packed/epi=none/t1", "gemm/f32/b2m9n64k64/plain/epi=none/t1"):
        workload = Workload.parse(key)
        for bound, expected in ((1e-2, wanted), (1e-5, set()), (0.0, set())):
            found = space("gemm", workload, target, bound)
            assert {c["isa"] for c in found.configs} & HALF_ISAS.keys() == expected
            assert found.default in found.configs


def test_without_the_feature_there_is_nothing_to_allow():
    target = replace(native_target(), features=(), precision="bf16")
    assert half_isas(target) == ()
    assert default_config(Gemm(m=64, n=64, k=64), target, 1e-2)["isa"] in target.isas


@pytest.mark.parametrize("isa", HALVES)
def test_runners_measure_the_error(isa):
    target = replace(native_target(), precision=HALF_ISAS[isa][0])
    for workload in (
        Gemm(m=30, n=40, k=300, **FULL),
        Gemm(m=9, n=20, k=64, batch=3, packed=False),
        Conv2d(n=1, c=16, h=9, w=9, k=24, r=3, s=3, pads=(1, 1, 1, 1), **FULL),
        Conv2d(n=1, c=16, h=9, w=9, k=24, r=1, s=1, groups=2),
    ):
        configs = [c for c in space(workload.op, workload, target, 1e-2).configs if c["isa"] == isa]
        assert configs
        for chosen in configs[:: max(1, len(configs) // 10)]:
            check = Runner(workload, chosen).check()
            assert check.ok and 1e-6 < check.max_rel < 2 * HALF_ERRORS[isa]
            assert within(chosen, check.max_rel, check.max_rel)
            assert not within(chosen, check.max_rel / 2, check.max_rel)
            assert not within(chosen, 1e-5)


@pytest.mark.parametrize("isa", HALVES)
def test_the_interface_of_numpy(isa):
    kind = HALF_ISAS[isa][0]
    rng = np.random.default_rng(5)
    a, w = noise(rng, 40, 64), noise(rng, 64, 48)
    near = rounded(a, kind).astype(np.float64) @ rounded(w, kind)
    atol = 2e-5 if kind == "bf16" else 0.1
    np.testing.assert_allclose(gemm(a, w, precision=kind), near, atol=atol)
    x, f = noise(rng, 1, 32, 8, 8), noise(rng, 48, 32, 1, 1)
    got = conv2d(x, f, precision=kind, activation="relu")
    exact = conv2d(rounded(x, kind), rounded(f, kind), activation="relu")
    np.testing.assert_allclose(got, exact, atol=atol)
    assert not np.array_equal(got, conv2d(x, f, activation="relu"))


def test_fp32_is_as_it_was():
    rng = np.random.default_rng(6)
    a, w = noise(rng, 20, 30), noise(rng, 30, 40)
    assert np.array_equal(gemm(a, w), gemm(a, w, precision="fp32"))
    with pytest.raises(ArgumentError, match="unknown precision"):
        gemm(a, w, precision="half")
