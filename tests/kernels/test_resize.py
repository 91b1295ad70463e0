"""The operator resize_linear."""

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
from luthier.kernels import _kernels, reference, resize_linear

ABSOLUTE = 1e-6
"""Four products of values of the order of one."""


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("size", [(10, 14), (5, 7), (1, 1), (3, 20), (13, 2)], ids=str)
def test_agrees_with_the_reference(size, coordinates, isa):
    x = normal(2, 5, 7, 19)
    y = resize_linear(x, size, coordinates, "NHWC", isa=isa)
    assert_close(y, reference.resize_linear(x, size, coordinates), 2, ABSOLUTE)
    planes = resize_linear(x.transpose(0, 3, 1, 2), size, coordinates, isa=isa)
    assert np.array_equal(planes, y.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_touches_nothing_else(side, isa):
    for c in sizes(isa):
        x = normal(1, 2, 3, c)
        low, weight = np.int64([[0, 0, 1], [0, 1, 1]]), np.float32([[1, 0.5, 1], [0, 0.5, 0]])
        fields = {"n": 1, "ih": 2, "iw": 3, "c": c, "oh": 3, "ow": 3, "isa": number(isa)}
        inputs = {"x": x, "index_h": low, "weight_h": weight}
        inputs |= {"index_w": low + 1, "weight_w": weight}
        y = run_guarded("resize_linear", fields, inputs, (1, 3, 3, c), np.float32, side)
        assert_close(y[0, 2, 2], x[0, 1, 2].astype(np.float64))
        assert_close(y[0, 1, 0], (x[0, 0, 1].astype(np.float64) + x[0, 1, 1]) / 2, 2, ABSOLUTE)


@pytest.mark.parametrize("isa", ISAS)
def test_threads_give_the_same_bits(isa):
    x = normal(1, 9, 11, 37)
    assert_thread_independent(
        lambda t: resize_linear(x, (40, 40), layout="NHWC", isa=isa, num_threads=t)
    )


def test_bad_arguments():
    x = np.zeros((1, 2, 3, 4), np.float32)
    with pytest.raises(ArgumentError, match="size: expected 2 ints of at least 1"):
        resize_linear(x, (0, 2))
    with pytest.raises(ArgumentError, match="coordinates: expected half_pixel"):
        resize_linear(x, (2, 2), "cubic")
    with pytest.raises(ArgumentError, match="layout: expected"):
        resize_linear(x, (2, 2), layout="HWC")


@pytest.mark.parametrize(
    "bad", [{"oh": -1}, {"iw": 1}, {"c": 1 << 50}, {"isa": 9}, {"weight_h": None}], ids=str
)
def test_the_driver_refuses(bad):
    x, index = np.zeros((1, 2, 2, 1), np.float32), np.int64([[0, 1], [1, 1]])
    weight = np.ones((2, 2), np.float32)
    fields = {"n": 1, "ih": 2, "iw": 2, "c": 1, "oh": 2, "ow": 2, "x": x, "y": x.copy()}
    fields |= {"index_h": index, "index_w": index, "weight_h": weight, "weight_w": weight}
    with pytest.raises(KernelError):
        _kernels.call("resize_linear", {**fields, **bad})
