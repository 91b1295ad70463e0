"""quantize_linear, dequantize_linear and dynamic_quantize_linear."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    EXTREMES,
    ISAS,
    SIDES,
    assert_thread_independent,
    normal,
    number,
    run_guarded,
    sizes,
)

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import (
    _kernels,
    dequantize_linear,
    dynamic_quantize_linear,
    qreference,
    quantize_linear,
)
from luthier.kernels.elementwise import CAST_DTYPES

DTYPES = (np.uint8, np.int8, np.uint16, np.int16)

# shape, axis, block
LAYOUTS = [
    ((3, 7, 19), None, 0),
    ((5, 67), 1, 0),
    ((4, 3, 35), 1, 0),
    ((2, 6, 5, 7), 0, 0),
    ((3, 70), 1, 16),
    ((3, 70), -1, 70),
    ((40, 33), 0, 16),
    ((2, 9, 5), 1, 4),
    ((), None, 0),
    ((0, 4), 1, 0),
]


def parameters(shape, axis, block, dtype):
    """Scales and zero points of a layout."""
    rng = np.random.default_rng(5)
    size = ()
    if axis is not None:
        axis %= len(shape)
        blocks = -(-shape[axis] // block) if block else shape[axis]
        size = (*shape[:axis], blocks, *shape[axis + 1 :]) if block else (blocks,)
    scale = rng.uniform(0.01, 2, size).astype(np.float32)
    info = np.iinfo(dtype)
    zero = rng.integers(info.min, info.max + 1, size).astype(np.int32)
    return np.asarray(scale, np.float32), np.asarray(zero), axis


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis", "block"), LAYOUTS, ids=str)
def test_agrees_with_the_reference(shape, axis, block, dtype, isa):
    scale, zero, axis = parameters(shape, axis, block, dtype)
    info, options = np.iinfo(dtype), {"axis": axis, "block": block}
    x = normal(*shape, scale=30)
    y = quantize_linear(x, scale, zero, dtype=dtype, isa=isa, **options)
    expected = qreference.quantize(x, scale, zero, info.min, info.max, **options)
    assert y.dtype == dtype
    assert np.array_equal(y, expected)
    back = dequantize_linear(y, scale, zero, isa=isa, **options)
    assert np.array_equal(back, qreference.dequantize(y, scale, zero, **options))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes_and_ties(dtype, isa):
    ties = np.arange(-70000, 70000, dtype=np.float32) / 2
    x, info = np.concatenate([EXTREMES, ties]), np.iinfo(dtype)
    for scale in (1.0, 0.25, 1e-30, 3e38, 1e-45):
        for zero in (info.min, info.max, 3):
            y = quantize_linear(x, scale, zero, dtype=dtype, isa=isa)
            arrays = np.float32(scale), np.int32(zero)
            assert np.array_equal(
                y, qreference.quantize(x, *map(np.asarray, arrays), info.min, info.max)
            )


@pytest.mark.parametrize("isa", ISAS)
def test_four_bits(isa):
    x = np.linspace(-9, 9, 200, dtype=np.float32)
    y = quantize_linear(x, 0.5, 1, dtype=np.int8, low=-8, high=7, isa=isa)
    assert np.array_equal(y, qreference.quantize(x, np.float32(0.5), np.int32(1), -8, 7))
    assert (y.min(), y.max()) == (-8, 7)


@pytest.mark.parametrize("isa", ISAS)
def test_dequantize_int32_wraps(isa):
    x = np.array([0, 1, -1, 2**31 - 1, -(2**31), 16777217, 12345], np.int32)
    y = dequantize_linear(np.tile(x, 7), 0.1, -5, isa=isa)
    with np.errstate(over="ignore"):
        expected = qreference.dequantize(np.tile(x, 7), np.float32(0.1), np.int32(-5))
    assert np.array_equal(y, expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_touches_nothing_else(side, isa):
    for n in sizes(isa):
        for dtype in (np.uint8, np.int16):
            x, kind = normal(3, n, scale=40), CAST_DTYPES.index(np.dtype(dtype).name)
            info = np.iinfo(dtype)
            scale = np.linspace(0.5, 2, max(1, n), dtype=np.float32)[:n]
            zero = np.arange(n, dtype=np.int32)
            fields = {"outer": 3, "count": n, "inner": 1, "type": kind, "isa": number(isa)}
            arrays = {"scale": scale, "zero": zero}
            bounds = {"y_min": info.min, "y_max": info.max}
            y = run_guarded(
                "quantize", {**fields, **bounds}, {**arrays, "x": x}, x.shape, dtype, side
            )
            assert np.array_equal(y, qreference.quantize(x, scale, zero, info.min, info.max, 1))
            back = run_guarded("dequantize", fields, {**arrays, "x": y}, x.shape, np.float32, side)
            assert np.array_equal(back, qreference.dequantize(y, scale, zero, 1))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_dynamic_quantize(side, isa):
    cases = [normal(n, scale=3) for n in sizes(isa)]
    cases += [np.zeros(5, np.float32), np.float32([-3]), np.float32([7, 9]), -np.abs(normal(50))]
    cases += [np.float32([1, np.nan, -2, np.nan]), np.full(70000, -1.5, np.float32)]
    for x in cases:
        scale, zero = np.empty(1, np.float32), np.empty(1, np.uint8)
        fields = {"n": x.size, "isa": number(isa), "threads": 2}
        expected, s, z = qreference.dynamic_quantize(x)
        y = run_guarded(
            "dynamic_quantize",
            {**fields, "scale": scale, "zero": zero},
            {"x": x},
            x.shape,
            np.uint8,
            side,
        )
        assert (scale[0], zero[0]) == (s, z)
        assert np.array_equal(y, expected)


@pytest.mark.parametrize("isa", ISAS)
def test_dynamic_quantize_of_infinities_is_bounded(isa):
    for x in (np.float32([np.inf, 1]), np.float32([-np.inf, np.inf]), np.float32([3e38, -3e38])):
        y, _, _ = dynamic_quantize_linear(x, isa=isa)
        assert y.shape == x.shape


def test_threads_give_the_same_bits():
    x = normal(200_000)
    assert_thread_independent(lambda t: quantize_linear(x, 0.01, 128, num_threads=t))
    assert_thread_independent(lambda t: dynamic_quantize_linear(x, num_threads=t)[0])
    assert_thread_independent(
        lambda t: dequantize_linear(x.view(np.uint8), 0.01, 128, num_threads=t)
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dtype": np.int32}, "dtype: expected 8 or 16 bits, got int32"),
        ({"scale": np.ones(3, np.float32)}, r"scale: expected \[\], got \[3\]"),
        ({"axis": 1}, r"scale: expected \[6\], got \[\]"),
        ({"axis": 2}, "axis: expected one of a rank-2 array, got 2"),
        ({"block": 2}, "block: expected at least 0, and an axis, got 2"),
        ({"zero": np.zeros(4, np.int32)}, r"zero: expected \[\], got \[4\]"),
        ({"low": -1}, "low, high: expected bounds of uint8"),
    ],
    ids=str,
)
def test_bad_arguments(options, text):
    with pytest.raises(ArgumentError, match=text):
        quantize_linear(**{"x": np.zeros((2, 6), np.float32), "scale": 1.0, **options})


@pytest.mark.parametrize(
    "bad",
    [
        {"type": 0},
        {"type": 7},
        {"outer": -1},
        {"count": 1 << 50},
        {"block": -1},
        {"y_max": 300},
        {"isa": 5},
        {"scale": None},
        {"x": None},
    ],
    ids=str,
)
def test_the_driver_refuses(bad):
    x = np.zeros((2, 6), np.float32)
    sound = {"x": x, "y": np.zeros((2, 6), np.uint8), "scale": np.ones(1, np.float32), "y_max": 255}
    sound |= {"outer": 1, "count": 1, "inner": 12, "type": CAST_DTYPES.index("uint8"), "isa": 0}
    _kernels.call("quantize", sound)
    with pytest.raises(KernelError, match="quantize"):
        _kernels.call("quantize", {**sound, **bad})
    with pytest.raises(KernelError, match="dynamic_quantize"):
        _kernels.call("dynamic_quantize", {"n": 4, "x": x, "scale": x, "zero": x})
