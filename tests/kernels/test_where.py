"""The operator where."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import SIDES, assert_thread_independent, normal, run_guarded

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import _kernels, where

DTYPES = ("uint8", "bool", "int16", "float16", "float32", "int32", "float64", "int64")


def operand(shape, dtype, seed):
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shapes",
    [
        ((3, 37), (3, 37), (3, 37)),
        ((3, 37), (), (37,)),
        ((), (3, 37), (3, 1)),
        ((0,), (1,), (1,)),
        ((2, 1, 5), (3, 1), (2, 3, 5)),
        ((1,), (1,), (1,)),
        ((), (), ()),
        ((4, 1), (1, 6), ()),
    ],
    ids=str,
)
def test_agrees_with_numpy(shapes, dtype):
    c = operand(shapes[0], np.int32, 0) > 50
    a, b = (operand(s, dtype, i) for i, s in enumerate(shapes[1:], 1))
    y = where(c, a, b)
    assert y.dtype == a.dtype
    np.testing.assert_array_equal(y, np.where(c, a, b))


def test_keeps_the_bits_of_nan():
    a = np.array([0x7FC00001, 0xFF812345], np.uint32).view(np.float32)
    y = where(np.array([True, False]), a, a[::-1].copy())
    assert y.view(np.uint32).tolist() == [0x7FC00001, 0x7FC00001]


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "int64"])
@pytest.mark.parametrize("b_step", [0, 1])
def test_touches_nothing_else(b_step, dtype, side):
    for n in (0, 1, 7, 8, 9, 15, 17, 33, 67):
        c = operand(n, np.int32, 0) > 50
        a, b = operand(n, dtype, 1), operand(max(1, n) if b_step else 1, dtype, 2)
        fields = {f"d{i}": 1 for i in range(5)} | {"d5": n, "c5": 1, "a5": 1, "b5": b_step}
        inputs = {"c": c, "a": a, "b": b}
        y = run_guarded("where", {**fields, "size": a.itemsize}, inputs, (n,), dtype, side)
        np.testing.assert_array_equal(y, np.where(c, a, b[:n] if b_step else b[0]))


def test_threads_give_the_same_bits():
    c, a, b = normal(7, 9001) > 0, normal(7, 9001), normal(9001)
    assert_thread_independent(lambda t: where(c, a, b, num_threads=t))


def test_bad_arguments():
    x = np.zeros(2, np.float32)
    with pytest.raises(ArgumentError, match="got float32, float32 and float32"):
        where(x, x, x)
    with pytest.raises(ArgumentError, match="got bool, float32 and float64"):
        where(x > 0, x, x.astype(np.float64))
    with pytest.raises(ArgumentError, match="got bool, complex128 and complex128"):
        where(x > 0, x.astype(complex), x.astype(complex))
    with pytest.raises(ArgumentError, match=r"\[2\] and \[3\] and \[1\] do not broadcast"):
        where(x > 0, np.zeros(3), np.zeros(1))


@pytest.mark.parametrize("bad", [{"size": 3}, {"d0": -1}, {"a5": 1 << 62}, {"c": None}])
def test_the_driver_refuses(bad):
    x = np.zeros(4, np.float32)
    fields = {f"d{i}": 1 for i in range(5)} | {"d5": 4, "c5": 1, "a5": 1, "b5": 1, "size": 4}
    with pytest.raises(KernelError):
        _kernels.call("where", {**fields, "c": x, "a": x, "b": x, "y": x, **bad})
