"""The operator gather: indices that are data."""

from __future__ import annotations

import numpy as np
import pytest
from guard import guarded, guarded_copy
from kernel_cases import SIDES, assert_thread_independent, run_guarded

from luthier.errors import KernelError
from luthier.kernels import _kernels

INDICES = ([], [0], [6, -1, -7, 0, 3, 3, 5, 4])


def fields_of(x: np.ndarray, index: np.ndarray) -> dict[str, int]:
    """The sizes for gathering along axis 1 of three."""
    outer, count, inner = x.shape
    sizes = {"outer": outer, "x_count": count, "y_count": index.size, "inner": inner}
    return {**sizes, "size": x.itemsize, "index_size": index.itemsize}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("index_dtype", ["int32", "int64"])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "int64"])
@pytest.mark.parametrize("inner", [1, 3, 40])
def test_agrees_with_numpy_and_touches_nothing_else(inner, dtype, index_dtype, side):
    x = np.arange(2 * 7 * inner).astype(dtype).reshape(2, 7, inner)
    for chosen in INDICES:
        index = np.array(chosen, index_dtype)
        inputs = {"x": x, "index": index}
        y = run_guarded("gather", fields_of(x, index), inputs, (2, index.size, inner), dtype, side)
        np.testing.assert_array_equal(y, x.take(index.astype(np.intp), axis=1))


@pytest.mark.parametrize("bad", [7, -8, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("index_dtype", ["int32", "int64"])
def test_an_index_out_of_range_writes_nothing(index_dtype, bad):
    x = np.ones((1, 7, 2), np.float32)
    index, y = guarded_copy(np.array([0, 1, bad], index_dtype)), guarded((1, 3, 2))
    y[...] = 5
    with pytest.raises(KernelError, match="gather: an index is out of range"):
        _kernels.call("gather", {**fields_of(x, index), "x": x, "index": index, "y": y})
    assert (y == 5).all()


@pytest.mark.parametrize("extreme", [2**63 - 1, -(2**63)])
def test_extreme_indices_do_not_overflow(extreme):
    x, index = np.ones((1, 7, 2), np.float32), np.array([extreme])
    with pytest.raises(KernelError, match="an index is out of range"):
        _kernels.call("gather", {**fields_of(x, index), "x": x, "index": index, "y": x.copy()})


def test_from_an_empty_axis():
    x, index = np.zeros((2, 0, 3), np.float32), np.zeros(1, np.int64)
    with pytest.raises(KernelError, match="an index is out of range"):
        _kernels.call("gather", {**fields_of(x, index), "index": index})


def test_threads_give_the_same_bits():
    x, index = np.random.default_rng(0).random((3, 999, 40)), np.arange(-999, 999)

    def compute(threads: int) -> np.ndarray:
        y = np.empty((3, index.size, 40))
        slots = {"x": x, "index": index, "y": y, "threads": threads}
        _kernels.call("gather", {**fields_of(x, index), **slots})
        return y

    assert_thread_independent(compute)
    np.testing.assert_array_equal(compute(2), x[:, index])


@pytest.mark.parametrize(
    "bad",
    [{"size": 3}, {"index_size": 2}, {"outer": -1}, {"y_count": 1 << 50}, {"inner": 1 << 60}],
    ids=str,
)
def test_the_driver_refuses(bad):
    x, index = np.zeros((1, 4, 1), np.float32), np.zeros(2, np.int64)
    with pytest.raises(KernelError, match="an argument is out of range"):
        _kernels.call(
            "gather", {**fields_of(x, index), "x": x, "index": index, "y": x.copy(), **bad}
        )
