"""The operator lstm."""

from __future__ import annotations

import numpy as np
import pytest
from guard import guarded, guarded_copy
from kernel_cases import ISAS, SIDES, assert_close, assert_thread_independent, normal

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import Gemm, _kernels, fields, lstm, reference
from luthier.kernels.spaces import default_config

ABSOLUTE = 2e-6
"""States are below one; their errors are those of the sums that the gates are made of."""


def tile(isa, batch=1, hidden=4):
    """A config of the step's product with the smallest tile of `isa`."""
    return {**default_config(Gemm(m=batch, n=4 * hidden, k=hidden)), "isa": isa, "mr": 4, "nv": 1}


def operands(steps, batch, features, hidden):
    shapes = (
        (steps, batch, features),
        (4 * hidden, features),
        (4 * hidden, hidden),
        (4 * hidden,),
        (batch, hidden),
        (batch, hidden),
    )
    return [normal(*s, scale=0.5, seed=i) for i, s in enumerate(shapes)]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("sizes", [(1, 1, 3, 4), (5, 2, 7, 17), (3, 5, 1, 1), (4, 1, 33, 64)])
@pytest.mark.parametrize("given", ["nothing", "bias", "state"])
@pytest.mark.parametrize("reverse", [False, True])
def test_agrees_with_the_reference(reverse, given, sizes, isa):
    x, w, r, *rest = operands(*sizes)
    rest = [
        v if given == "state" or (given == "bias" and i == 0) else None for i, v in enumerate(rest)
    ]
    results = lstm(x, w, r, *rest, reverse=reverse, config=tile(isa, sizes[1], sizes[3]))
    for actual, expected in zip(results, reference.lstm(x, w, r, *rest, reverse), strict=True):
        assert_close(actual, expected, 4, ABSOLUTE)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
def test_touches_nothing_else(side, isa):
    for hidden in (1, 15, 16, 33):
        x, _, r, _, h0, c0 = operands(3, 2, 4 * hidden, hidden)
        config = tile(isa, 2, hidden)
        packed = fields.pack_weights(Gemm(m=2, n=4 * hidden, k=hidden), r.T, config)
        inputs = {"x": x, "w": packed, "h0": h0, "c0": c0}
        slots = {
            **{name: guarded_copy(array, side) for name, array in inputs.items()},
            **{"steps": 3, "batch": 2, "hidden": hidden, "ldy": 2 * hidden, "threads": 1},
            **fields.tile_fields(config),
            "y": guarded((3, 2, hidden), np.float32, side),
            "h": guarded((2, hidden), np.float32, side),
            "c": guarded((2, hidden), np.float32, side),
        }
        slots["work"] = guarded((_kernels.work_size("lstm", slots),), np.uint8, side)
        _kernels.call("lstm", slots)
        unit = np.eye(4 * hidden, dtype=np.float32)
        expected = reference.lstm(x, unit, r, None, h0, c0, False)
        for name, value in zip(("y", "h", "c"), expected, strict=True):
            assert_close(slots[name], value, 4, ABSOLUTE)


def test_extreme_gates_saturate():
    x = np.array([[[1e30]], [[-1e30]], [[np.inf]], [[-np.inf]]], np.float32)
    ones = np.ones((4, 1), np.float32)
    with np.errstate(over="ignore"):
        y, _, c = lstm(x, ones, ones)
        expected = reference.lstm(x, ones, ones, None, None, None, False)
    assert_close(y, expected[0], 4, ABSOLUTE)
    assert_close(c, expected[2], 4, ABSOLUTE)
    assert np.isnan(lstm(np.full((1, 1, 1), np.nan, np.float32), ones, ones)[1]).all()


def test_threads_give_the_same_bits():
    args = operands(3, 8, 5, 256)
    assert_thread_independent(lambda t: np.concatenate(lstm(*args, num_threads=t)[1:]))


def test_bad_arguments():
    x, w, r, bias, *_ = operands(2, 1, 3, 4)
    with pytest.raises(ArgumentError, match=r"w: expected \[16, 3\], got \[16, 2\]"):
        lstm(x, w[:, :2], r)
    with pytest.raises(ArgumentError, match=r"h0: expected \[1, 4\], got \[16\]"):
        lstm(x, w, r, None, bias)


@pytest.mark.parametrize(
    "bad", [{"hidden": 0}, {"steps": 1 << 50}, {"ldy": 3}, {"isa": 9}, {"mr": 99}, {"y": None}]
)
def test_the_driver_refuses(bad):
    x = np.zeros(64, np.float32)
    slots = {
        **dict.fromkeys(("x", "w", "y", "h", "c"), x),
        **{"steps": 1, "batch": 1, "hidden": 4, "ldy": 4, "threads": 1},
        **fields.tile_fields(tile(ISAS[-1])),
    }
    with pytest.raises(KernelError):
        _kernels.call("lstm", {**slots, **bad})
