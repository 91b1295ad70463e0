"""The operator unary and the activations."""

from __future__ import annotations

import numpy as np
import pytest
from guard import guarded, guarded_copy
from kernel_cases import (
    EXTREMES,
    ISAS,
    SIDES,
    assert_close,
    assert_thread_independent,
    normal,
    number,
    sizes,
)

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import ACTIVATIONS, _kernels, reference, unary
from luthier.kernels.elementwise import UNARY_OPS

DENORMAL = 1.2e-38
"""exp flushes denormal results to zero."""

TOLERANCE = {  # units in the last place, absolute
    "exp": (2, DENORMAL),
    "log": (2, 0),
    "erf": (8, 3e-7),
    "softplus": (4, DENORMAL),
    "sin": (1, 0),
    "cos": (1, 0),
}

ACTIVATION_TOLERANCE = {
    "hard_sigmoid": (2, 1e-7),
    "hard_swish": (2, 1e-7),
    "sigmoid": (4, DENORMAL),
    "silu": (4, 1.1e-36),
    "tanh": (4, 0),
    "gelu": (8, 5e-7),
    "leaky_relu": (1, 1e-45),
}

PARAMS = {"clip": (-0.5, 1.25), "hard_sigmoid": (0.2, 0.5), "leaky_relu": (0.1, 0.0)}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", UNARY_OPS)
def test_agrees_with_the_reference(op, isa):
    x = np.concatenate([normal(301), normal(301, scale=20, seed=1), EXTREMES])
    if op in ("sin", "cos"):
        x = np.where(np.abs(x) > 1e6, np.float32(3), x)
    ulps, absolute = TOLERANCE.get(op, (0, 0))
    assert_close(unary(op, x, isa=isa), reference.unary(op, x), ulps, absolute)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("op", ["identity", "neg"])
def test_activation(op, name, isa):
    x = np.concatenate([normal(301, scale=4), np.float32([0, -0.0, 1e-30, -1e-30, 80, -80])])
    params = PARAMS.get(name)
    y = unary(op, x, activation=name, activation_params=params, isa=isa)
    expected = reference.activation(reference.unary(op, x), name, params or (0.0, 0.0))
    ulps, absolute = ACTIVATION_TOLERANCE.get(name, (0, 0))
    if name == "gelu":
        absolute += 4e-7 * np.abs(x).max()
    assert_close(y, expected, ulps, absolute)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ["sigmoid", "silu"])
def test_sigmoid_over_the_whole_range(name, isa):
    tiny = np.geomspace(1e-45, 1, 2001)
    x = np.concatenate([np.linspace(-87.3, 88, 100_001), tiny, -tiny, EXTREMES]).astype(np.float32)
    wide = x.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        gate = 1 / (1 + np.exp(-wide))
        expected = gate if name == "sigmoid" else np.where(wide == -np.inf, 0, wide * gate)
    y = unary("identity", x, activation=name, isa=isa)
    assert_close(y, expected, *ACTIVATION_TOLERANCE[name])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_keeps_nan(name, isa):
    x = np.full(19, np.nan, np.float32)
    x[1:4] = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], np.uint32).view(np.float32)
    assert np.isnan(
        unary("identity", x, activation=name, activation_params=(0.1, 0.5), isa=isa)
    ).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("op", ["neg", "exp", "sin"])
def test_touches_nothing_else(op, side, isa):
    for n in sizes(isa):
        x = normal(n, seed=n)
        out = guarded((n,), side=side)
        unary(op, guarded_copy(x, side), isa=isa, out=out)
        assert_close(out, reference.unary(op, x), 2)


@pytest.mark.parametrize("isa", ISAS)
def test_in_place_and_unaligned(isa):
    room = normal(64)
    x = room[1:60]
    expected = reference.unary("abs", x)
    assert unary("abs", x, isa=isa, out=x) is x
    assert_close(x, expected)
    assert room[0] == normal(64)[0] and (room[60:] == normal(64)[60:]).all()


@pytest.mark.parametrize("isa", ISAS)
def test_threads_give_the_same_bits(isa):
    x = normal(3 * 16384 + 5)
    assert_thread_independent(lambda t: unary("exp", x, activation="silu", isa=isa, num_threads=t))


def test_shapes_and_strides():
    x = normal(4, 6)
    assert unary("neg", np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert unary("neg", np.float32(2)).shape == ()
    assert_close(unary("neg", x[::-2, ::3]), reference.unary("neg", x[::-2, ::3]))


@pytest.mark.parametrize(
    ("op", "x", "options", "text"),
    [
        ("tan", np.zeros(2, np.float32), {}, "op: expected one of identity"),
        ("neg", np.zeros(2), {}, "x: expected float32, got float64"),
        ("neg", np.zeros(2, np.float32), {"isa": "mmx"}, "isa: this CPU has"),
        ("neg", np.zeros(2, np.float32), {"num_threads": 0}, "num_threads: expected at least 1"),
        ("neg", np.zeros(2, np.float32), {"activation": "clip"}, "needs activation_params"),
        ("neg", np.zeros(2, np.float32), {"out": np.zeros(3, np.float32)}, r"got float32 \[3\]"),
    ],
)
def test_bad_arguments(op, x, options, text):
    with pytest.raises(ArgumentError, match=text):
        unary(op, x, **options)


@pytest.mark.parametrize("bad", [{"n": -1}, {"n": 1 << 60}, {"op": 99}, {"act": -1}, {"isa": 77}])
def test_the_driver_refuses(bad):
    x = np.zeros(4, np.float32)
    fields = {"x": x, "y": x, "n": 4, "isa": number("scalar"), **bad}
    with pytest.raises(KernelError):
        _kernels.call("unary", fields)
