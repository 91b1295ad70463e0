"""The operator take: gathering and padding."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import SIDES, assert_thread_independent, run_guarded

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import _kernels, pad, reference, take

DTYPES = ("uint8", "bool", "float16", "float32", "int64", "float64")
INDICES = ([], [0], [3, 4, 5, 6], [6, -1, -1, 0, 1, 1, 5, 4], [-1] * 9, [2] * 5)


def counted(shape, dtype):
    return np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize(("shape", "axis"), [((7,), 0), ((7, 33), 0), ((3, 7), 1), ((2, 7, 5), 1)])
def test_agrees_with_the_reference(shape, axis, index, dtype):
    x, index = counted(shape, dtype), np.array(index, np.int64)
    y = take(x, index, axis, fill=1)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y, reference.take(x, index, axis, 1))


@pytest.mark.parametrize("fill", [-2.5, np.inf, np.nan])
def test_fill(fill):
    for dtype in ("float16", "float32", "float64"):
        y = take(np.zeros(1, dtype), np.array([-1], np.int64), fill=fill)
        np.testing.assert_array_equal(y, np.array([fill], dtype))
    assert take(np.zeros(1, np.int64), np.array([-5], np.int64), fill=-(2**62)).item() == -(2**62)


def test_from_an_empty_axis():
    x = np.zeros((2, 0, 3), np.float32)
    assert take(x, np.array([-1, -1], np.int64), 1, fill=4).tolist() == [[[4.0] * 3] * 2] * 2


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "int64"])
@pytest.mark.parametrize("inner", [1, 3, 40])
def test_touches_nothing_else(inner, dtype, side):
    for index in map(np.int64, INDICES):
        x = counted((2, 7, inner), dtype)
        fields = {"outer": 2, "x_count": 7, "y_count": index.size, "inner": inner}
        fields["fill"] = int.from_bytes(np.ones(1, dtype).tobytes(), "little")
        shape = (2, index.size, inner)
        inputs = {"x": x, "index": np.atleast_1d(index)}
        y = run_guarded("take", {**fields, "size": x.itemsize}, inputs, shape, dtype, side)
        np.testing.assert_array_equal(y, reference.take(x, index, 1, 1))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("inner", [1, 3])
def test_writes_parts_of_wider_rows(inner, threads):
    x, index = counted((500, 40, inner), np.float32), np.arange(-2, 38, dtype=np.int64)[::-1].copy()
    y = np.full((500, 50 * inner), -1, np.float32)
    slots = {"outer": 500, "x_count": 40, "y_count": 40, "inner": inner, "size": 4}
    slots |= {"y_step": 50 * inner, "threads": threads}
    _kernels.call("take", {**slots, "x": x, "index": index, "y": y[:, 4 * inner :]})
    expected = reference.take(x, index, 1, 0).reshape(500, -1)
    np.testing.assert_array_equal(y[:, 4 * inner : 44 * inner], expected)
    assert (y[:, : 4 * inner] == -1).all() and (y[:, 44 * inner :] == -1).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", [((0, 0), (2, 1)), ((1, 1), (3, 0)), ((0, 0), (0, 0))], ids=str)
def test_pad(pads, mode, dtype):
    x = counted((3, 4), dtype)
    options = {"constant_values": 7} if mode == "constant" else {}
    np.testing.assert_array_equal(pad(x, pads, mode, fill=7), np.pad(x, pads, mode, **options))


def test_negative_pads_cut():
    x = counted((3, 4), np.float32)
    np.testing.assert_array_equal(pad(x, [(-1, 0), (2, -2)]), np.pad(x[1:, :2], [(0, 0), (2, 0)]))


def test_threads_give_the_same_bits():
    x = counted((3, 211, 101), np.float32)
    index = np.random.default_rng(0).integers(-1, 211, 300)
    assert_thread_independent(lambda t: take(x, index, 1, num_threads=t))


def test_bad_arguments():
    x = np.zeros((2, 3))
    with pytest.raises(ArgumentError, match="index: expected less than 2, got 2"):
        take(x, np.array([2], np.int64))
    with pytest.raises(ArgumentError, match="index: expected int64 of rank 1, got float64"):
        take(x, np.array([0.0]))
    with pytest.raises(ArgumentError, match="mode: expected constant"):
        pad(x, [(1, 1), (1, 1)], "mirror")
    with pytest.raises(ArgumentError, match="pads: expected 2 pairs, got 1"):
        pad(x, [(1, 1)])
    with pytest.raises(ArgumentError, match="nothing to pad from"):
        pad(np.zeros((0, 2)), [(1, 1), (0, 0)], "edge")


@pytest.mark.parametrize(
    "bad",
    [
        {"x_count": 1},
        {"size": 3},
        {"outer": -1},
        {"inner": 1 << 50},
        {"isa": 9},
        {"index": None},
        {"y_step": 1},
    ],
    ids=str,
)
def test_the_driver_refuses(bad):
    x, index, y = np.zeros(2, np.float32), np.array([0, 1], np.int64), np.zeros(2, np.float32)
    fields = {"outer": 1, "x_count": 2, "y_count": 2, "inner": 1, "size": 4}
    with pytest.raises(KernelError):
        _kernels.call("take", {**fields, "x": x, "index": index, "y": y, **bad})
