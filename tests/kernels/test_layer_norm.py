"""The operator layer_norm."""

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
from luthier.kernels import _kernels, layer_norm, reference

ABSOLUTE = 1e-6
"""Results are of the order of one; the difference from the mean loses what the mean is larger."""


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", [(4, 768), (2, 3, 5, 7), (3, 1), (1, 2000), (0, 3)], ids=str)
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("affine", ["none", "scale", "both"])
def test_agrees_with_the_reference(affine, axis, shape, isa):
    x = normal(*shape) + 1
    inner = shape[axis:]
    scale = normal(*inner, seed=1) if affine != "none" else None
    bias = normal(*inner, seed=2) if affine == "both" else None
    y = layer_norm(x, scale, bias, axis, isa=isa)
    assert_close(y, reference.layer_norm(x, scale, bias, axis, 1e-5), 8, ABSOLUTE)


@pytest.mark.parametrize("isa", ISAS)
def test_keeps_nan_in_its_row(isa):
    x = normal(3, 40)
    x[1, 7] = np.nan
    y = layer_norm(x, isa=isa)
    assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_touches_nothing_else(side, isa):
    for count in sizes(isa)[1:]:
        x, scale, bias = normal(2, count), normal(count, seed=1), normal(count, seed=2)
        fields = {"outer": 2, "count": count, "epsilon": 1e-3, "isa": number(isa)}
        inputs = {"x": x, "scale": scale, "bias": bias}
        y = run_guarded("layer_norm", fields, inputs, x.shape, np.float32, side)
        assert_close(y, reference.layer_norm(x, scale, bias, 1, 1e-3), 8, ABSOLUTE)


@pytest.mark.parametrize("isa", ISAS)
def test_threads_give_the_same_bits(isa):
    x = normal(61, 801)
    assert_thread_independent(lambda t: layer_norm(x, isa=isa, num_threads=t))


def test_bad_arguments():
    with pytest.raises(ArgumentError, match=r"scale: expected \[3\], got \[2\]"):
        layer_norm(np.zeros((2, 3), np.float32), np.zeros(2, np.float32))


@pytest.mark.parametrize("bad", [{"outer": -1}, {"count": 1 << 50}, {"isa": 9}, {"y": None}])
def test_the_driver_refuses(bad):
    x = np.zeros(4, np.float32)
    with pytest.raises(KernelError):
        _kernels.call("layer_norm", {"outer": 1, "count": 4, "x": x, "y": x, **bad})
