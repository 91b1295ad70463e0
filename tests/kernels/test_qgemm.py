"""The operator qgemm: every register tile, type and epilogue, to the bit."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from guard import guarded_copy
from kernel_cases import SIDES, lanes, number
from quant_cases import (
    INT8_ISAS,
    answer,
    assert_bits,
    compute,
    exact_types,
    plain_types,
    qgemm_config,
    quant_inputs,
    variants,
)

from luthier.errors import KernelError
from luthier.kernels import QGemm, Requant, Residual, _kernels
from luthier.kernels.quant_inputs import QuantInputs, quant_slots

FULL = {"bias": True, "residual": True}
OUTPUTS = ("u8", "s8", "s32", "f32")

WAYS = [(isa, True) for isa in INT8_ISAS] + [(isa, False) for isa in INT8_ISAS if plain_types(isa)]
"""Instruction sets with packed weights, and with weights known at run time."""


@pytest.mark.parametrize("isa", INT8_ISAS)
@pytest.mark.parametrize("a", ["u8", "s8"])
def test_every_tile(isa, a):
    assert len(variants(isa)) > 7
    for mr, nv in variants(isa):
        for seed, tail in enumerate((1, lanes(isa))):
            n = (nv - 1) * lanes(isa) + tail
            workload = QGemm(m=mr, n=n, k=37, a=a, wt=exact_types(isa)[0], **FULL)
            assert_bits(workload, qgemm_config(isa, mr=mr, nv=nv), side=SIDES[seed])


@pytest.mark.parametrize(("isa", "packed"), WAYS)
def test_sizes(isa, packed):
    v = lanes(isa)
    types = exact_types(isa) if packed else plain_types(isa)
    depths = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 67)
    for seed, (n, k) in enumerate(itertools.product((0, 1, v - 1, v, v + 1, 2 * v + 3), depths)):
        workload = QGemm(
            m=1 + (3 * n + k) % 11,
            n=n,
            k=k,
            packed=packed,
            bias=bool(seed % 2),
            a=("u8", "s8")[seed // 2 % 2],
            wt=types[seed % len(types)],
            y=OUTPUTS[seed % 4],
        )
        for side in SIDES:
            assert_bits(workload, qgemm_config(isa, nv=2, pack_a=seed // 4 % 2), side=side)


@pytest.mark.parametrize("isa", INT8_ISAS)
@pytest.mark.parametrize("y", ["u8", "s8"])
def test_epilogues_of_bytes(isa, y):
    n = 2 * lanes(isa) + 3
    for bias, residual, table in itertools.product((False, True), repeat=3):
        flags = {"bias": bias, "residual": residual, "table": table}
        workload = QGemm(m=5, n=n, k=19, y=y, wt=exact_types(isa)[-1], **flags)
        i = quant_inputs(workload, 0)
        assert_bits(workload, qgemm_config(isa, nv=2), gaps=(3, 2, 1))
        if residual:
            other = replace(i.out.residual, first=not i.out.residual.first, sum_zero=9, low=7)
            swapped = replace(i, out=replace(i.out, residual=other))
            assert_bits(workload, qgemm_config(isa, nv=2), swapped)
        narrow = {"low": i.out.zero, "high": min(i.out.zero + 40, np.iinfo(i.out.dtype).max)}
        i = replace(i, out=replace(i.out, **narrow))
        assert_bits(workload, qgemm_config(isa), i)


@pytest.mark.parametrize("isa", INT8_ISAS)
@pytest.mark.parametrize("value", [0, 127, 128, 255])
def test_extreme_bytes(isa, value):
    """The largest products, which saturate or overflow where 16 bits are too few."""
    for a, wt, k in itertools.product(("u8", "s8"), exact_types(isa), (16, 67, 300)):
        dtype = {"u8": np.uint8, "s8": np.int8}
        x = np.full((1, 3, k), value, np.uint8).view(dtype[a])
        least = {"s8": -127, "s8m": -128, "s16": 0}[wt]
        kind = np.uint8 if wt == "s16" else np.int8
        columns = [least, np.iinfo(kind).max, least, 1, np.iinfo(kind).max]
        w = np.tile(np.array(columns, kind), (k, 1))
        w[::2, 2] = np.iinfo(kind).max
        zeros = np.array([0, 0, 0, 255, 0] if wt == "s16" else [0] * 5)
        if wt == "s16":
            w[:, 3] = 0  # less 255
        for x_zero in (np.iinfo(dtype[a]).min, 0, np.iinfo(dtype[a]).max):
            workload = QGemm(m=3, n=5, k=k, a=a, wt=wt, y="s32")
            i = QuantInputs(x, x_zero, w, zeros, None, Requant(dtype=np.int32))
            assert_bits(workload, qgemm_config(isa), i)


@pytest.mark.parametrize("isa", INT8_ISAS)
def test_sums_wrap(isa):
    k = 40_000
    x, w = np.full((1, 2, k), 255, np.uint8), np.full((k, 3), 127, np.int8)
    bias = np.array([2**31 - 1, -(2**31), 0], np.int32)
    workload = QGemm(m=2, n=3, k=k, y="s32", bias=True)
    i = QuantInputs(x, 0, w, np.zeros(3), bias, Requant(dtype=np.int32))
    assert answer(workload, i).min() < 0 < 127 * 255 * k - 2**30
    assert_bits(workload, qgemm_config(isa), i)


@pytest.mark.parametrize("isa", INT8_ISAS)
@pytest.mark.parametrize("y", ["u8", "s8"])
def test_rounding_and_clamping(isa, y):
    """Ties go to even, sums beyond 2^24 round, and huge products clamp instead of overflowing."""
    dtype = {"u8": np.uint8, "s8": np.int8}[y]
    near = np.arange(-600, 600)
    huge = np.array([2**31 - 1, -(2**31), 2**24 + 1, -(2**24) - 3, 2**30 + 63, 33554433])
    for values, scale in ((near, 0.5), (near, 0.25), (huge, 1e-7), (huge, 3e38), (huge, 1e-45)):
        bias = values.astype(np.int32)
        n = bias.size
        residual = Residual(np.full((1, 1, n), 77, dtype), 3, 0.5, 0.5, 1)
        for out in (
            Requant(scale, dtype, 7),
            Requant(scale, dtype, 7, residual=residual),
            Requant(scale, dtype, 7, residual=replace(residual, own_ratio=1e30)),
        ):
            flags = {"bias": True, "residual": out.residual is not None}
            workload = QGemm(m=1, n=n, k=1, y=y, **flags)
            i = QuantInputs(
                np.zeros((1, 1, 1), np.uint8), 0, np.ones((1, n), np.int8), np.zeros(n), bias, out
            )
            assert_bits(workload, qgemm_config(isa, nc=2000), i)


@pytest.mark.parametrize("isa", INT8_ISAS)
def test_tables_see_every_byte(isa):
    n = 256
    bias = np.arange(n, dtype=np.int32)
    for dtype, y in ((np.uint8, "u8"), (np.int8, "s8")):
        table = np.random.default_rng(1).permutation(256).astype(np.uint8)
        out = Requant(1.0, dtype, np.iinfo(dtype).min, table=table)
        workload = QGemm(m=2, n=n, k=1, y=y, bias=True, table=True)
        i = QuantInputs(
            np.zeros((1, 2, 1), np.uint8), 0, np.ones((1, n), np.int8), np.zeros(n), bias, out
        )
        assert_bits(workload, qgemm_config(isa), i)
        assert set(answer(workload, i).view(np.uint8).ravel()) == set(range(256))


@pytest.mark.parametrize("isa", INT8_ISAS)
def test_dynamic_quantisation(isa):
    """The zero point and scale of a come from memory, at the moment of the call."""
    for a, dtype in (("u8", np.uint8), ("s8", np.int8)):
        workload = QGemm(m=3, n=lanes(isa) + 2, k=21, a=a, y="f32")
        i = quant_inputs(workload, 3)
        out = replace(i.out, a_scale=np.float32([0.37]))
        pointers = {"a_zero": 0, "a_zero_at": guarded_copy(np.array([i.x_zero], dtype))}
        got = compute(workload, qgemm_config(isa), replace(i, out=out), **pointers)
        assert np.array_equal(got, answer(workload, replace(i, out=out)))


@pytest.mark.parametrize(("isa", "packed"), WAYS)
def test_blocks_batches_and_threads(isa, packed):
    types = exact_types(isa) if packed else plain_types(isa)
    n = 2 * lanes(isa) + 5
    blocks = itertools.product((1, 4, 100), (1, 20, 100), (0, 1), (0, 1), (1, 3), (1, 3))
    for seed, (mc, nc, split_n, pack_a, threads, batch) in enumerate(blocks):
        shape = {"m": 9, "n": n, "k": 23, "batch": batch, "packed": packed}
        workload = QGemm(**shape, wt=types[-1], y=OUTPUTS[seed % 2], threads=threads, **FULL)
        knobs = {"mc": mc, "nc": nc, "split_n": split_n, "pack_a": pack_a, "threads": threads}
        gaps = (seed % 3, seed % 4, seed % 5)
        assert_bits(workload, qgemm_config(isa, nv=2, **knobs), gaps=gaps, side=SIDES[seed % 2])
    assert_bits(QGemm(m=3, n=2, k=2, batch=0, packed=packed, wt=types[-1]), qgemm_config(isa))


@pytest.mark.parametrize("isa", INT8_ISAS)
def test_bad_arguments_are_refused(isa):
    workload = QGemm(m=3, n=5, k=7, wt=exact_types(isa)[0], bias=True, residual=True)
    good = quant_slots(workload, quant_inputs(workload, 0), qgemm_config(isa))
    good |= {"y": np.zeros((3, 5), np.uint8)}
    _kernels.call("qgemm", good)
    huge = 1 << 62
    plain = {"w_packed": 0, "w_ks": 5, "w_ns": 1, "w_type": 3}
    for bad in (
        *({name: -1} for name in ("m", "n", "k", "batch", "lda", "ldr", "a_zero", "y_zero")),
        *({name: huge} for name in ("m", "n", "k", "batch", "lda", "ldy", "ldr", "mc", "nc")),
        *({name: 0} for name in ("mc", "nc", "threads")),
        *({name: None} for name in ("a", "w", "y", "scale")),
        {"ldy": 4},
        {"a_type": 0},
        {"a_type": 7},
        {"y_type": 1},
        {"y_type": 0},
        {"y_type": 7},
        {"y_min": -1},
        {"y_max": 256},
        {"y_min": 9, "y_max": 8},
        {"sum_max": 256},
        {"r_zero": 256},
        {"a_zero": 256},
        {**plain, "w_type": 0},
        {**plain, "w_type": 99},
    ):
        with pytest.raises(KernelError, match="qgemm: an argument is out of range"):
            _kernels.call("qgemm", {**good, **bad})
    for bad in (
        {"isa": 99},
        {"isa": -1},
        {"mr": 0},
        {"mr": 15},
        {"nv": 0},
        {"nv": 5},
        *({"isa": i} for i in range(9) if _kernels.ISA_NAMES[i] not in INT8_ISAS),
    ):
        with pytest.raises(KernelError, match="qgemm: no such variant"):
            _kernels.call("qgemm", {**good, **bad})
    if "s16" not in exact_types(isa):
        for more in ({"w_type": 4}, {"w_zero": np.zeros(5, np.int8)}):
            with pytest.raises(KernelError, match="qgemm: no such variant"):
                _kernels.call("qgemm", {**good, **plain, **more})
    with pytest.raises(KernelError, match="qgemm: workspace is missing"):
        _kernels.Args("qgemm", {**good, "pack_a": 1}).run()
    assert number(isa) == good["isa"]
