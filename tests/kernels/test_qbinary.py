"""Sums and products of quantised tensors, and lookup tables."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    ISAS,
    SIDES,
    assert_thread_independent,
    number,
    run_guarded,
    sizes,
)

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import _kernels, lookup, qlinear_add, qlinear_mul, qreference
from luthier.kernels.elementwise import BINARY_OPS, CAST_DTYPES
from luthier.kernels.loops import broadcast_strides, dense_strides, loop_slots

DTYPES = (np.uint8, np.int8)

# scales of a, b and y, and zero points as offsets from the least number of the type
PARAMETERS = [
    ((0.1, 0.2, 0.3), (0, 255, 128)),
    ((0.5, 0.25, 0.5), (128, 128, 128)),
    ((1 / 3, 0.7, 0.05), (3, 250, 17)),
    ((1e-3, 2.0, 1e-2), (200, 0, 255)),
    ((3e-38, 1.0, 3e4), (128, 1, 0)),
    ((1e30, 1e-30, 1.0), (0, 0, 0)),
    ((0.0235, 0.0176, 0.0294), (114, 131, 122)),
]


def pairs(dtype):
    """All 65,536 pairs of bytes."""
    every = np.arange(256, dtype=np.uint8).view(dtype)
    return np.repeat(every, 256), np.tile(every, 256)


def expected(op, a, b, scales, zeros, low=None, high=None):
    info = np.iinfo(a.dtype)
    low, high = info.min if low is None else low, info.max if high is None else high
    sa, sb, sy = map(np.float32, scales)
    if op is qlinear_mul:
        y = qreference.multiply(a, b, sa * sb / sy, zeros, low, high)
    else:
        y = qreference.add(a, b, (sa / sy, sb / sy), zeros, low, high)
    return y.astype(a.dtype)


def compute(op, a, b, scales, zeros, **options):
    (sa, sb, sy), (za, zb, zy) = scales, zeros
    return op(a, sa, za, b, sb, zb, sy, zy, **options)


def zero_points(offsets, dtype):
    return tuple(int(np.iinfo(dtype).min) + offset for offset in offsets)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", [qlinear_add, qlinear_mul])
def test_every_pair_of_bytes(op, dtype, isa):
    a, b = pairs(dtype)
    for scales, offsets in PARAMETERS:
        zeros = zero_points(offsets, dtype)
        y = compute(op, a, b, scales, zeros, isa=isa)
        assert y.dtype == dtype
        assert np.array_equal(y, expected(op, a, b, scales, zeros)), (scales, zeros)


def test_the_reference_rounds_once():
    a, b, c = np.float32(1 + 2**-12), np.float32(1 + 2**-12), np.float32(2**-60)
    # The exact sum lies just above a tie of float32, and float64 rounds it to that tie.
    assert qreference.fused(a, b, c) == np.float32(1 + 2**-11 + 2**-23)
    assert qreference.fused(a, b, -c) == np.float32(1 + 2**-11)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", [qlinear_add, qlinear_mul])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 5, 70), (70,)),
        ((3, 5, 70), (1, 1, 70)),
        ((2, 33, 7), (33, 1)),
        ((2, 3, 35), (2, 1, 35)),
        ((4, 37), ()),
        ((5, 1, 3), (1, 6, 3)),
        ((1,), (1,)),
    ],
    ids=str,
)
def test_broadcasting(left, right, op, isa):
    rng = np.random.default_rng(1)
    scales, zeros = PARAMETERS[0][0], zero_points((7, 200, 100), np.int8)
    a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in (left, right))
    wide_a, wide_b = np.broadcast_arrays(a, b)
    y = compute(op, a, b, scales, zeros, isa=isa)
    assert np.array_equal(y, expected(op, wide_a, wide_b, scales, zeros))
    # What stays put along the innermost axis goes second, whatever the order of the operands.
    moves = b.ndim > 0 and b.shape[-1] > 1
    y = compute(op, b, a, scales, zeros, isa=isa)
    if moves or a.size == 1:
        assert np.array_equal(y, expected(op, wide_b, wide_a, scales, zeros))
    else:
        swapped = (scales[1], scales[0], scales[2]), (zeros[1], zeros[0], zeros[2])
        assert np.array_equal(y, expected(op, wide_a, wide_b, *swapped))


@pytest.mark.parametrize("isa", ISAS)
def test_bounds_of_a_fused_clip(isa):
    a, b = pairs(np.uint8)
    y = compute(qlinear_add, a, b, (0.1, 0.1, 0.2), (0, 0, 20), low=20, high=97, isa=isa)
    assert np.array_equal(y, expected(qlinear_add, a, b, (0.1, 0.1, 0.2), (0, 0, 20), 20, 97))
    assert (y.min(), y.max()) == (20, 97)


def slots(shape, a, b, isa, op="add", dtype=np.uint8):
    strides = {name: broadcast_strides(v.shape, shape) for name, v in {"a": a, "b": b}.items()}
    loops = loop_slots(shape, {**strides, "y": dense_strides(shape)})
    fields = {name: value for name, value in loops.items() if name[0] != "y"}
    fields |= {"op": BINARY_OPS.index(op), "type": CAST_DTYPES.index(np.dtype(dtype).name)}
    fields |= {"a_scale": 0.1, "b_scale": 0.2, "y_scale": 0.3, "y_max": 100}
    return {**fields, "isa": number(isa), "threads": 1}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_touches_nothing_else(side, isa):
    rng = np.random.default_rng(2)
    for n in sizes(isa):
        for other in ((n,), (1,), (3, n)):
            a = rng.integers(0, 256, (3, n), np.uint8)
            b = rng.integers(0, 256, other, np.uint8)
            fields = slots((3, n), a, b, isa) if n else slots((3, 1), a, b, isa) | {"d5": 0}
            y = run_guarded("qbinary", fields, {"a": a, "b": b}, (3, n), np.uint8, side)
            wide = np.broadcast_to(b, (3, n))
            assert np.array_equal(
                y, expected(qlinear_add, a, wide, (0.1, 0.2, 0.3), (0, 0, 0), 0, 100)
            )


def test_threads_give_the_same_bits():
    a, b = pairs(np.uint8)
    assert_thread_independent(
        lambda t: compute(qlinear_add, a, b, (0.1, 0.2, 0.3), (1, 2, 3), num_threads=t)
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"a": np.zeros(3, np.int8)}, "expected two arrays of one type"),
        ({"a": np.zeros(3, np.int16)}, "a: expected uint8 or int8, got int16"),
        ({"a": np.zeros(4, np.uint8)}, "do not broadcast"),
        ({"scales": (0.0, 1, 1)}, "a_scale: expected a positive number"),
        ({"scales": (1, 1, np.inf)}, "y_scale: expected a positive number"),
        ({"zeros": (0, -1, 0)}, "b_zero: expected one of uint8"),
        ({"low": 9, "high": 3}, "low, high: expected bounds of uint8"),
    ],
    ids=str,
)
def test_bad_arguments(change, text):
    b = np.zeros(3, np.uint8)
    sound = {"a": b, "b": b, "scales": (1, 1, 1), "zeros": (0, 0, 0)}
    with pytest.raises(ArgumentError, match=text):
        compute(qlinear_add, **{**sound, **change})


@pytest.mark.parametrize(
    "bad",
    [
        {"op": 1},
        {"type": 0},
        {"a_scale": 0.0},
        {"b_scale": np.nan},
        {"y_scale": 1e-45, "a_scale": 1e30},
        {"a_zero": 256},
        {"y_min": 101},
        {"y_max": 256},
        {"d5": -1},
        {"isa": 9},
        {"y": None},
    ],
    ids=str,
)
def test_the_driver_refuses(bad):
    a = np.zeros(5, np.uint8)
    sound = {**slots((5,), a, a, "scalar"), "a": a, "b": a, "y": np.zeros(5, np.uint8)}
    _kernels.call("qbinary", sound)
    with pytest.raises(KernelError, match="qbinary"):
        _kernels.call("qbinary", {**sound, **bad})


# -- lookup --------------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_lookup_touches_nothing_else(side, isa):
    rng = np.random.default_rng(3)
    table = rng.permutation(256).astype(np.uint8)
    for n in (*sizes(isa), 255, 256, 1000):
        for rows, gap in ((1, 0), (3, 0), (3, 5)):
            x = rng.integers(0, 256, (rows, n), np.uint8)
            wide = np.full(max(0, rows * (n + gap) - gap), 9, np.uint8)
            view = np.lib.stride_tricks.as_strided(wide, (rows, n), (n + gap, 1))
            view[...] = x
            fields = {"rows": rows, "cols": n, "ldx": n + gap, "ldy": n}
            fields |= {"isa": number(isa), "threads": 1}
            arrays = {"x": wide, "table": table}
            y = run_guarded("lookup", fields, arrays, (rows, n), np.uint8, side)
            assert np.array_equal(y, table[x])


@pytest.mark.parametrize("isa", ISAS)
def test_lookup_of_every_byte(isa):
    for dtype in DTYPES:
        x = np.arange(256, dtype=np.uint8).view(dtype)
        table = np.random.default_rng(4).integers(-128, 128, 256).astype(np.int8)
        y = lookup(x, table, isa=isa)
        assert y.dtype == np.int8
        assert np.array_equal(y, table[x.view(np.uint8)])
    assert_thread_independent(lambda t: lookup(np.tile(x, 999), table, isa=isa, num_threads=t))


def test_lookup_refuses():
    with pytest.raises(ArgumentError, match="table: expected 256 bytes, got 255"):
        lookup(np.zeros(3, np.uint8), np.zeros(255, np.uint8))
    with pytest.raises(ArgumentError, match="x: expected uint8 or int8, got float32"):
        lookup(np.zeros(3, np.float32), np.zeros(256, np.uint8))
    row = np.zeros(4, np.uint8)
    sound = {"x": row, "table": np.zeros(256, np.uint8), "y": row.copy(), "rows": 2, "cols": 2}
    sound |= {"ldx": 2, "ldy": 2}
    _kernels.call("lookup", sound)
    for bad in ({"rows": -1}, {"cols": 3}, {"ldx": 1 << 50}, {"isa": 7}, {"table": None}):
        with pytest.raises(KernelError, match="lookup"):
            _kernels.call("lookup", {**sound, **bad})
