"""The operator reduce."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    ISAS,
    SIDES,
    assert_close,
    assert_thread_independent,
    normal,
    number,
    run_guarded,
    sizes,
)

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import _kernels, reduce, reference
from luthier.kernels.elementwise import REDUCE_OPS

ULPS = 8
"""A sum of positive numbers stays within 1e-6 of float64."""

EXACT = ("max", "min")


def check(op, x, axes, actual):
    expected = reference.reduce(op, x, axes)
    if op in EXACT:
        assert_close(actual, expected)
        return
    # Where terms cancel, the error is relative to the sum of their magnitudes.
    magnitude = reference.reduce(op, np.abs(x), axes) if x.size else expected
    assert_close(actual, expected, ULPS, 1e-6 * np.nan_to_num(magnitude, posinf=0))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", REDUCE_OPS)
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((4, 1000), (1,)),
        ((2, 60, 33), (1,)),
        ((3, 4, 5, 6), (1, 2)),
        ((3, 4, 5, 6), (0, 2)),
        ((7,), (0,)),
        ((2, 3), ()),
        ((1, 9, 9, 130), (1, 2)),
        ((3, 0, 2), (1,)),
        ((0, 3), (1,)),
    ],
    ids=str,
)
def test_agrees_with_the_reference(shape, axes, op, isa):
    x = normal(*shape)
    check(op, x, axes, reduce(op, x, axes, isa=isa))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", ["sum", "mean", "l1", "l2", "sum_square"])
@pytest.mark.parametrize("shape", [(1, 50176, 1), (1, 12544, 3)], ids=str)
def test_long_sums_are_accurate(shape, op, isa):
    x = np.abs(normal(*shape)) + np.float32(0.1)
    actual, expected = reduce(op, x, 1, isa=isa), reference.reduce(op, x, (1,))
    assert np.max(np.abs(actual - expected) / expected) < 1e-6


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", REDUCE_OPS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_extremes_at_every_place(value, op, isa):
    x = np.broadcast_to(normal(41), (41, 41)).copy()
    np.fill_diagonal(x, value)
    for axis in (0, 1):
        check(op, x if axis else x.T.copy(), (axis,), reduce(op, x if axis else x.T, axis, isa=isa))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("op", ["sum", "max", "prod"])
@pytest.mark.parametrize("inner", [1, 3, 70])
def test_touches_nothing_else(inner, op, side, isa):
    for count in sizes(isa):
        x = normal(2, count, inner, seed=count)
        fields = {"op": REDUCE_OPS.index(op), "outer": 2, "count": count, "inner": inner}
        fields["isa"] = number(isa)
        check(op, x, (1,), run_guarded("reduce", fields, {"x": x}, (2, inner), np.float32, side))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(61, 901), (5, 21, 520)], ids=str)
def test_threads_give_the_same_bits(shape, isa):
    x = normal(*shape)
    assert_thread_independent(lambda t: reduce("sum", x, 1, isa=isa, num_threads=t))


def test_axes_and_keepdims():
    x = normal(2, 3, 4)
    assert reduce("sum", x).shape == ()
    assert reduce("sum", x, keepdims=True).shape == (1, 1, 1)
    assert reduce("max", x, (-1, 0), keepdims=True).shape == (1, 3, 1)
    assert np.array_equal(reduce("max", x, (-1, 0)), x.max((0, 2)))


def test_bad_arguments():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ArgumentError, match="op: expected one of sum"):
        reduce("median", x)
    with pytest.raises(ArgumentError, match="axis: expected one of a rank-2 array, got 2"):
        reduce("sum", x, 2)
    with pytest.raises(ArgumentError, match="axes: expected each once"):
        reduce("sum", x, (1, -1))


@pytest.mark.parametrize("bad", [{"op": 8}, {"inner": -1}, {"count": 1 << 50}, {"x": None}])
def test_the_driver_refuses(bad):
    x = np.zeros(4, np.float32)
    with pytest.raises(KernelError):
        _kernels.call("reduce", {"outer": 1, "count": 4, "inner": 1, "x": x, "y": x, **bad})
