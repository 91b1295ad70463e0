"""The operator lrn."""

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
from luthier.kernels import _kernels, lrn, reference


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("beta", [0.75, 0.5, 1.0, 0.6, 0.0, -0.5])
@pytest.mark.parametrize("shape", [(2, 3, 96), (5, 1), (3, 7), (2, 1030), (0, 4), (4, 0)], ids=str)
def test_agrees_with_the_reference(shape, beta, isa):
    x = normal(*shape)
    for size in (1, 2, 3, 5, 8, 64):
        y = lrn(x, size, 0.9, beta, 2.0, isa=isa)
        assert_close(y, reference.lrn(x, size, 0.9, beta, 2.0), 16, 1e-7)


@pytest.mark.parametrize("isa", ISAS)
def test_extremes(isa):
    """Large values vanish as they do in float32, a NaN stays within its windows."""
    x = np.float32([1e30, 1, 2, 0, -3e-30, 4, 5, np.nan, 6, 7, 8])
    y = lrn(x, 3, 1.0, 0.75, 1.0, isa=isa)
    assert y[:2].tolist() == [0, 0] and y[3] == 0
    assert np.isnan(y).tolist() == [6 <= i <= 8 for i in range(11)]
    expected = reference.lrn(x[2:6], 3, 1.0, 0.75, 1.0)
    assert_close(y[3:5], expected[1:3], 16, 1e-37)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_touches_nothing_else(side, isa):
    for count in sizes(isa)[1:]:
        x = normal(3, count)
        fields = {"rows": 3, "count": count, "ldx": count, "ldy": count, "window": 5}
        fields |= {"alpha": 1.0, "beta": 0.75, "bias": 1.0, "isa": number(isa)}
        y = run_guarded("lrn", fields, {"x": x}, x.shape, np.float32, side)
        assert_close(y, reference.lrn(x, 5, 1.0), 16, 1e-7)


@pytest.mark.parametrize("isa", ISAS)
def test_slices_of_wider_tensors(isa):
    x, y = normal(6, 50), np.full((6, 40), 9, np.float32)
    fields = {"rows": 6, "count": 20, "ldx": 50, "ldy": 40, "window": 4, "isa": number(isa)}
    fields |= {"alpha": 0.5, "beta": 0.5, "bias": 1.0, "threads": 1, "x": x, "y": y}
    _kernels.call("lrn", fields)
    assert_close(y[:, :20], reference.lrn(x[:, :20], 4, 0.5, 0.5), 16, 1e-7)
    assert (y[:, 20:] == 9).all()


@pytest.mark.parametrize("isa", ISAS)
def test_threads_give_the_same_bits(isa):
    x = normal(61, 801)
    assert_thread_independent(lambda t: lrn(x, 5, isa=isa, num_threads=t))


@pytest.mark.parametrize("size", [0, -1, 65])
def test_bad_arguments(size):
    with pytest.raises(ArgumentError, match="size: expected 1 to 64"):
        lrn(np.zeros((2, 3), np.float32), size)


@pytest.mark.parametrize(
    "bad",
    [
        *({"rows": -1}, {"count": 1 << 50}, {"isa": 9}, {"y": None}, {"x": None}),
        *({"window": 0}, {"window": 65}, {"ldx": 3}, {"ldy": 0}, {"ldx": 1 << 60}),
    ],
)
def test_the_driver_refuses(bad):
    x = np.zeros(4, np.float32)
    sound = {"rows": 1, "count": 4, "ldx": 4, "ldy": 4, "window": 3, "x": x, "y": x}
    with pytest.raises(KernelError):
        _kernels.call("lrn", {**sound, "bias": 1.0, **bad})
