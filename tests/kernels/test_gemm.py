"""The operator gemm: every register tile, every way of blocking, every epilogue."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from guard import guarded_copy
from kernel_cases import ISAS, SIDES, assert_close, assert_same_bits, lanes, number
from linear_cases import (
    EXACT,
    Inputs,
    answer,
    assert_exact,
    compute,
    gemm_config,
    gemm_variants,
    integers,
    make_inputs,
    noise,
)

from luthier.errors import KernelError
from luthier.kernels import ACTIVATIONS, Gemm, _kernels, fields

FULL = {"bias": True, "residual": True, "activation": "relu"}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_every_tile(isa, side):
    variants = gemm_variants(isa)
    assert len(variants) > 10
    for mr, nv, ku in variants:
        config = gemm_config(isa, mr=mr, nv=nv, ku=ku, prefetch=512 * (ku > 1))
        for tail in (1, lanes(isa)):
            # A tile of just this size; the unrolled loop runs twice and leaves some k over.
            workload = Gemm(m=mr, n=(nv - 1) * lanes(isa) + tail, k=8 * ku + 3, **FULL)
            assert_exact(workload, config, side=side)


@pytest.mark.parametrize("isa", ISAS)
def test_few_steps(isa):
    """Loops that begin one pass before another ends must not read beyond the last one."""
    largest = {ku: (mr, nv) for mr, nv, ku in gemm_variants(isa)}
    for (ku, (mr, nv)), k, side in itertools.product(largest.items(), range(1, 8), SIDES):
        config = gemm_config(isa, mr=mr, nv=nv, ku=ku, prefetch=64)
        assert_exact(Gemm(m=mr, n=nv * lanes(isa), k=k), config, side=side, gaps=(1, 2, 3))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_every_tile_in_place(isa, side):
    for mr, nv in {(mr, nv) for mr, nv, _ in gemm_variants(isa)}:
        config = gemm_config(isa, mr=mr, nv=nv, ku=0)
        for columns in (nv * lanes(isa), (2 * nv - 1) * lanes(isa), (nv - 1) * lanes(isa) + 3):
            workload = Gemm(m=mr, n=columns, k=11, packed=False, **FULL)
            assert_exact(workload, config, side=side)


@pytest.mark.parametrize("isa", ISAS)
def test_blocks_in_place(isa):
    for seed, (tail, batch, threads, kc) in enumerate(
        itertools.product((0, 5), (1, 3), (1, 2), (4, 7, 100))
    ):
        workload = Gemm(
            m=7, n=4 * lanes(isa) + tail, k=23, batch=batch, packed=False, threads=threads, **FULL
        )
        for nc, split_n in ((lanes(isa), 1), (100, 0)):
            knobs = {"nc": nc, "kc": kc, "split_n": split_n, "threads": threads, "mc": 4}
            config = gemm_config(isa, ku=0, nv=2, **knobs)
            assert_exact(workload, config, seed, gaps=(seed % 3, seed % 4, seed % 5))


def test_only_rows_are_read_in_place():
    workload = Gemm(m=3, n=lanes(ISAS[-1]), k=4)
    with pytest.raises(KernelError):
        compute(workload, gemm_config(ISAS[-1], ku=0), make_inputs(workload))


def around(v: int) -> list[int]:
    return [0, 1, v - 1, v, v + 1, 2 * v + 3, 37]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
def test_sizes(isa, packed):
    for n, k in itertools.product(around(lanes(isa)), (0, 1, 3, 4, 5, 8, 31)):
        m = 1 + (3 * n + k) % 11
        for side in SIDES:
            workload = Gemm(m=m, n=n, k=k, packed=packed, bias=True)
            assert_exact(workload, gemm_config(isa, nv=2), n * k, side=side)
    for m in (0, 1, 2, 5, 7, 13, 29):
        assert_exact(Gemm(m=m, n=11, k=6, packed=packed), gemm_config(isa), m)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("residual", [False, True], ids=["", "residual"])
def test_without_k_the_epilogue_remains(isa, bias, residual):
    workload = Gemm(m=3, n=19, k=0, bias=bias, residual=residual, activation="relu")
    for pack_a in (0, 1):
        assert_exact(workload, gemm_config(isa, pack_a=pack_a))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("pack_a", [0, 1])
def test_blocks(isa, packed, pack_a):
    workload = Gemm(m=13, n=2 * lanes(isa) + 5, k=23, packed=packed, threads=2, **FULL)
    blocks = itertools.product((1, 4, 12, 100), (1, 20, 100), (1, 4, 7, 22, 100), (0, 1), (1, 2))
    for seed, (mc, nc, kc, split_n, threads) in enumerate(blocks):
        knobs = {"mc": mc, "nc": nc, "kc": kc, "split_n": split_n, "threads": threads}
        side = SIDES[seed % 2]
        config = gemm_config(isa, nv=2, pack_a=pack_a, **knobs)
        assert_exact(workload, config, seed, side=side, gaps=(seed % 3, seed % 4, seed % 5))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches(isa, packed, threads):
    workload = Gemm(m=5, n=lanes(isa) + 2, k=9, batch=6, packed=packed, threads=threads, **FULL)
    for pack_a, split_n, mc in itertools.product((0, 1), (0, 1), (2, 100)):
        knobs = {"pack_a": pack_a, "split_n": split_n, "mc": mc, "threads": threads}
        assert_exact(workload, gemm_config(isa, **knobs), gaps=(3, 1, 2))
    assert_exact(replace(workload, batch=0), gemm_config(isa, threads=threads))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(isa, activation):
    params = EXACT.get(activation, (0.0, 0.0))
    for k, kc in ((6, 100), (6, 4), (0, 1)):
        workload = Gemm(m=5, n=lanes(isa) + 3, k=k, bias=True, residual=True, activation=activation)
        config = gemm_config(isa, kc=kc)
        if activation in EXACT:
            assert_exact(workload, config, params=params, gaps=(0, 3, 0))
        else:
            i = make_inputs(workload)
            assert_close(compute(workload, config, i, params), answer(workload, i, params), 8, 1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_rows_and_columns_of_a_plain_right_side_may_be_anywhere(isa, side):
    k, n = 6, lanes(isa) + 3
    a, w = integers(np.random.default_rng(1), 4, k), integers(np.random.default_rng(2), k, n)
    layouts = {(1, k): w.T.copy(), (n + 2, 1): np.hstack([w, w[:, :2]]), (n, 1): w}
    for (w_ks, w_ns), memory in layouts.items():
        config = gemm_config(isa, nv=2)
        slots = {**fields.workload_fields(Gemm(m=4, n=n, k=k, packed=False))}
        slots |= {**fields.config_fields(config), "w_ks": w_ks, "w_ns": w_ns}
        y = np.empty((4, n), np.float32)
        _kernels.call("gemm", {**slots, "a": a, "w": guarded_copy(memory, side), "y": y})
        assert np.array_equal(y, a @ w)


def test_the_same_bits_for_any_number_of_threads():
    for isa in ISAS:
        for packed, batch in ((True, 1), (False, 1), (False, 3)):
            workload = Gemm(m=37, n=70, k=41, batch=batch, packed=packed, **FULL)
            i = make_inputs(workload, kind=noise)
            knobs = {"mc": 5, "nc": 32, "kc": 16, "pack_a": 1}
            results = [
                compute(workload, gemm_config(isa, threads=t, split_n=s, **knobs), i)
                for t, s in ((1, 0), (2, 0), (2, 1), (3, 0))
            ]
            assert_same_bits(results)
            assert_close(results[0], answer(workload, i), 0, 2e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ["none", "relu", "clip"])
def test_nan_and_infinities_spread_as_in_numpy(isa, activation):
    params = EXACT[activation]
    for side in ("x", "w", "bias", "residual"):
        for value in (np.nan, np.inf, -np.inf):
            workload = Gemm(m=9, n=21, k=11, bias=True, residual=True, activation=activation)
            i = make_inputs(workload)
            getattr(i, side).reshape(-1)[7::13] = value
            for kc in (100, 4):
                y = compute(workload, gemm_config(isa, nv=2, kc=kc), i, params)
                with np.errstate(invalid="ignore"):
                    expected = answer(workload, i, params)
                assert np.array_equal(y, expected, equal_nan=True)


@pytest.mark.parametrize("isa", ISAS)
def test_denormals_are_kept(isa):
    workload = Gemm(m=5, n=19, k=7)
    i = make_inputs(workload)
    least = np.float32(1e-45)
    y = compute(workload, gemm_config(isa), Inputs(i.x * least, i.w, None, None))
    assert np.array_equal(y, (i.x @ i.w) * least)
    assert np.count_nonzero(y)


BAD = [
    {"m": -1},
    {"n": -1},
    {"k": -5},
    {"batch": -1},
    {"m": 1 << 62},
    {"n": 1 << 62},
    {"k": 1 << 62},
    {"batch": 1 << 62},
    {"m": 1 << 40, "n": 1 << 40},
    {"lda": -1},
    {"lda": 1 << 62},
    {"ldy": 4},
    {"stride_a": 1 << 62},
    {"mc": 0},
    {"nc": -1},
    {"kc": 0},
    {"mc": (1 << 63) - 1},
    {"threads": 0},
    {"threads": -3},
    {"mr": 0},
    {"mr": 15},
    {"nv": 5},
    {"nv": -1},
    {"ku": 5},
    {"isa": 4},
    {"isa": -1},
    {"act": 10},
    {"act": -1},
    {"a": None},
    {"w": None},
    {"y": None},
    {"w_packed": 0, "work": None},
    {"pack_a": 1, "work": None},
    {"prefetch": -1},
    {"m": 1 << 70},
    {"m": 1.5},
    {"m": "many"},
    {"a": 12},
    {"alpha": "x"},
    {"no_such_slot": 1},
    {"mc": 1 << 39, "pack_a": 1, "m": 1 << 39, "k": 1, "lda": 1, "ldy": 1, "n": 1},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_the_driver_refuses(bad):
    a = np.zeros((5, 5), np.float32)
    sound = {
        **fields.workload_fields(Gemm(m=5, n=5, k=5)),
        **fields.config_fields(gemm_config("scalar")),
        **{"a": a, "w": np.zeros(40, np.float32), "y": np.zeros((5, 5), np.float32)},
    }
    _kernels.call("gemm", sound)
    with pytest.raises(KernelError, match=r"gemm|no memory"):
        _kernels.call("gemm", {**sound, **bad})


def test_an_instruction_set_that_this_cpu_lacks():
    present = {number(isa) for isa in (*ISAS, *_kernels.cpu_half_isas())}
    missing = set(range(len(_kernels.ISA_NAMES))) - present
    for isa in missing:
        name = _kernels.ISA_NAMES[isa]
        assert gemm_variants(name) == []
        with pytest.raises(KernelError, match="no such variant on this CPU"):
            _kernels.call("gemm", {"isa": isa, "mr": 4, "nv": 1, "ku": 1, "m": 1, "n": 1, "k": 1,
                                   "mc": 1, "nc": 1, "kc": 1, "threads": 1, "ldy": 1,
                                   "pack_a": 1})  # fmt: skip
