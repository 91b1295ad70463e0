"""The operator copy: transposes, slices, concatenation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from guard import guarded, guarded_copy
from kernel_cases import ISAS, SIDES, assert_thread_independent, number

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import _kernels, concat, transpose
from luthier.kernels.loops import loop_slots

DTYPES = ("uint8", "float16", "float32", "int64")


def counted(shape, dtype):
    return np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)


def copy(x, y, isa, **options):
    """Copy strided x to strided y."""
    strides = {n: [s // v.itemsize for s in v.strides] for n, v in (("x", x), ("y", y))}
    fields = {**loop_slots(x.shape, strides), "size": x.itemsize, "isa": number(isa), **options}
    _kernels.call("copy", {**fields, "x": x, "y": y})


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_permutation(dtype, isa):
    x = counted((3, 5, 2, 7), dtype)
    for perm in itertools.permutations(range(4)):
        np.testing.assert_array_equal(transpose(x, perm, isa=isa), x.transpose(perm))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape", [(16, 256), (17, 257), (1, 300), (300, 1), (33, 31), (2, 500), (49, 400)]
)
def test_matrix_transposes(shape, dtype, isa):
    x = counted(shape, dtype)
    np.testing.assert_array_equal(transpose(x, isa=isa), x.T)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_transposes_touch_nothing_else(dtype, side, isa):
    for rows, cols in itertools.product((1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 33), repeat=2):
        x = guarded_copy(counted((rows, cols), dtype), side)
        y = guarded((cols, rows), dtype, side)
        copy(x.T, y, isa)
        np.testing.assert_array_equal(y, x.T)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_slices_with_steps_on_both_sides(dtype, isa):
    x = counted((6, 7, 8), dtype)
    room = np.zeros((8, 16, 9), dtype)
    y = room[6:0:-1, ::2, 1:9]
    for source in (x[::-1, :, ::-1][:, [0] * 8], np.broadcast_to(x[:, :1], (6, 8, 8))):
        room[...] = 0
        copy(source, y, isa)
        np.testing.assert_array_equal(y, source)
        outside = np.ones(room.shape, bool)
        outside[6:0:-1, ::2, 1:9] = False
        assert not room[outside].any()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_concat(axis, dtype, isa):
    parts = [counted((4, 4, 4), dtype)]
    for size in (1, 0, 3):
        shape = [4, 4, 4]
        shape[axis] = size
        parts.append(counted(shape, dtype))
    np.testing.assert_array_equal(concat(parts, axis, isa=isa), np.concatenate(parts, axis))


@pytest.mark.parametrize("isa", ISAS)
def test_space_to_depth(isa):
    x = counted((2, 3, 8, 10), np.float32)
    split, perm = x.reshape(2, 3, 4, 2, 5, 2), (0, 3, 5, 1, 2, 4)
    np.testing.assert_array_equal(transpose(split, perm, isa=isa), split.transpose(perm))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("perm", [(0, 2, 1), (1, 0, 2)])
def test_threads_give_the_same_bits(perm, dtype, isa):
    x = counted((3, 301, 67), dtype)
    assert_thread_independent(lambda t: transpose(x, perm, isa=isa, num_threads=t))


def test_empty_and_single():
    assert transpose(np.zeros((0, 3), np.float32)).shape == (3, 0)
    assert transpose(np.float32(2)).item() == 2
    assert transpose(np.full((1, 1, 1), 7)).tolist() == [[[7]]]


def test_bad_arguments():
    with pytest.raises(ArgumentError, match="perm: expected a permutation of 2 axes"):
        transpose(np.zeros((2, 2)), (0, 0))
    with pytest.raises(ArgumentError, match="expected elements of 1, 2, 4 or 8 bytes"):
        transpose(np.zeros((2, 2), complex))
    with pytest.raises(ArgumentError, match=r"arrays\[1\]: expected float64 \[2, 2\] apart from"):
        concat([np.zeros((2, 2)), np.zeros((3, 2))], axis=1)
    with pytest.raises(ArgumentError, match="at least one array"):
        concat([])


@pytest.mark.parametrize(
    "bad",
    [{"size": 0}, {"size": 16}, {"d0": -1}, {"x5": 1 << 60}, {"y5": 0}, {"isa": 5}, {"x": None}],
    ids=str,
)
def test_the_driver_refuses(bad):
    x = np.zeros(4, np.float32)
    fields = {f"d{i}": 1 for i in range(5)} | {"d5": 4, "x5": 1, "y5": 1, "size": 4}
    with pytest.raises(KernelError):
        _kernels.call("copy", {**fields, "x": x, "y": x, **bad})
