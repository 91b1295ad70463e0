"""The operator softmax."""

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
from luthier.kernels import _kernels, reference, softmax

ULPS = 40
"""The distance from the maximum, up to 35 here, is rounded before exp makes that error relative."""


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((5, 1000), -1),
        ((3, 7, 21), 1),
        ((3, 7, 65), 1),
        ((9, 2), 0),
        ((4, 1), 1),
        ((0, 4), 1),
        ((4, 0), 1),
        ((17,), 0),
    ],
    ids=str,
)
def test_agrees_with_the_reference(shape, axis, log, isa):
    x = normal(*shape, scale=5)
    expected = reference.softmax(x, axis, log) if x.size else x.astype(np.float64)
    assert_close(softmax(x, axis, log=log, isa=isa), expected, ULPS, 1e-6 * log + 1e-37)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38])
def test_extreme_rows(value, log, axis, isa):
    x = normal(3, 37)
    x[1] = value
    x[2, 5::9] = value
    x = x if axis else x.T.copy()
    assert_close(softmax(x, axis, log=log, isa=isa), reference.softmax(x, axis, log), ULPS, 1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("inner", [1, 3, 70])
def test_touches_nothing_else(inner, side, isa):
    for count in sizes(isa):
        x = normal(2, count, inner, seed=count)
        fields = {"outer": 2, "count": count, "inner": inner, "isa": number(isa)}
        y = run_guarded("softmax", fields, {"x": x}, x.shape, np.float32, side)
        if count:
            assert_close(y, reference.softmax(x, 1), ULPS)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(31, 601), (5, 31, 130)], ids=str)
def test_threads_give_the_same_bits(shape, isa):
    x = normal(*shape)
    assert_thread_independent(lambda t: softmax(x, 1, isa=isa, num_threads=t))


def test_bad_arguments():
    with pytest.raises(ArgumentError, match="axis: expected one of a rank-2 array, got 2"):
        softmax(np.zeros((2, 2), np.float32), 2)
    with pytest.raises(ArgumentError, match="axis"):
        softmax(np.float32(1))


@pytest.mark.parametrize("bad", [{"outer": -1}, {"count": 1 << 50}, {"isa": 9}, {"x": None}])
def test_the_driver_refuses(bad):
    x = np.zeros(4, np.float32)
    with pytest.raises(KernelError):
        _kernels.call("softmax", {"outer": 1, "count": 4, "inner": 1, "x": x, "y": x, **bad})
