"""The operator binary: broadcasting, activations, comparisons."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    EXTREMES,
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
from luthier.kernels import _kernels, binary, reference
from luthier.kernels.elementwise import BINARY_OPS

ULPS = {"pow": 1, "sqdiff": 2}

SHAPES = [
    ((3, 37), (3, 37)),
    ((3, 37), ()),
    ((), (3, 37)),
    ((2, 5, 19), (19,)),
    ((2, 5, 19), (2, 1, 19)),
    ((2, 5, 19), (5, 1)),
    ((5, 1), (1, 7)),
    ((2, 1, 3, 1, 5, 1), (1, 4, 1, 3, 1, 2)),
    ((1, 2, 3, 1, 5, 1, 2), (1, 2, 3, 3, 1, 1, 2)),
    ((2, 3, 1, 1), (2, 3, 4, 5)),
    ((0, 4), (1, 4)),
    ((1, 1), (1,)),
]


def compare(actual, expected, op):
    if expected.dtype == np.bool_:
        assert actual.dtype == np.bool_
        assert np.array_equal(actual, expected)
    else:
        assert_close(actual, expected, ULPS.get(op, 0), 1e-45)


def operands(a_shape, b_shape, op):
    a, b = normal(*a_shape), normal(*b_shape, seed=1)
    return (np.abs(a), b) if op == "pow" else (a, b)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("op", ["sub", "pow", "less"])
def test_broadcasting(op, shapes, isa):
    a, b = operands(*shapes, op)
    compare(binary(op, a, b, isa=isa), reference.binary(op, a, b), op)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", BINARY_OPS)
def test_every_pair_of_extremes(op, isa):
    a, b = EXTREMES[:, None], EXTREMES[None, :]
    dense = np.broadcast_to(a, (len(a), len(a))).copy()
    expected = reference.binary(op, a, b)
    if op == "sqdiff":  # the difference itself overflows float32
        with np.errstate(all="ignore"):
            expected = ((a - b) ** 2).astype(np.float64)
    for x in (a, dense):
        compare(binary(op, x, b, isa=isa), expected, op)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("op", ["add", "mul", "div", "max"])
@pytest.mark.parametrize("activation", ["relu", "clip", "sigmoid"])
def test_activation(op, activation, isa):
    a, b = normal(3, 41), normal(41, seed=2)
    y = binary(op, a, b, activation=activation, activation_params=(-0.5, 0.75), isa=isa)
    rounded = reference.binary(op, a, b).astype(np.float32).astype(np.float64)
    assert_close(y, reference.activation(rounded, activation, (-0.5, 0.75)), 4)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("steps", [(1, 1), (1, 0), (0, 1), (2, 1)], ids=str)
@pytest.mark.parametrize("op", ["add", "equal"])
def test_touches_nothing_else(op, steps, side, isa):
    for n in sizes(isa):
        a, b = (normal(max(1, (n - 1) * s + 1), seed=s) for s in steps)
        fields = {"op": BINARY_OPS.index(op), "isa": number(isa)}
        fields |= {f"d{i}": 1 for i in range(5)} | {"d5": n, "a5": steps[0], "b5": steps[1]}
        dtype = np.uint8 if op == "equal" else np.float32
        y = run_guarded("binary", fields, {"a": a, "b": b}, (n,), dtype, side)
        index = np.arange(n)
        expected = reference.binary(op, a[index * steps[0]], b[index * steps[1]])
        assert np.array_equal(y, expected.astype(dtype))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("b_shape", [(5, 7, 999), (7, 999), (999,), (7, 1), ()], ids=str)
def test_threads_give_the_same_bits(b_shape, isa):
    a, b = normal(5, 7, 999), normal(*b_shape, seed=1)
    assert_thread_independent(lambda t: binary("mul", a, b, isa=isa, num_threads=t))
    compare(binary("mul", a, b, isa=isa, num_threads=2), reference.binary("mul", a, b), "mul")


@pytest.mark.parametrize("isa", ISAS)
def test_in_place(isa):
    a, b = normal(5, 33), normal(33, seed=1)
    expected = reference.binary("add", a, b)
    binary("add", a, b, isa=isa, out=a)
    assert_close(a, expected)


@pytest.mark.parametrize(
    ("op", "a", "b", "options", "text"),
    [
        ("mod", np.zeros(1, np.float32), np.zeros(1, np.float32), {}, "op: expected one of add"),
        ("add", np.zeros(2, np.float32), np.zeros(3, np.float32), {}, r"\[2\] and \[3\] do not"),
        ("add", np.zeros(2, np.float32), np.zeros(2, np.int32), {}, "b: expected float32"),
        (
            "less",
            np.zeros(2, np.float32),
            np.zeros(2, np.float32),
            {"activation": "relu"},
            "'less' has none",
        ),
    ],
)
def test_bad_arguments(op, a, b, options, text):
    with pytest.raises(ArgumentError, match=text):
        binary(op, a, b, **options)


def test_seven_separate_axes_are_refused():
    a, b = normal(2, 1, 2, 1, 2, 1, 2), normal(1, 2, 1, 2, 1, 2, 1)
    with pytest.raises(ArgumentError, match="at most 6 separate axes, got 7"):
        binary("add", a, b)


@pytest.mark.parametrize(
    "bad",
    [
        {"op": 11},
        {"d0": -1},
        {"d0": 1 << 40, "d1": 1 << 40},
        {"d5": 4, "a5": 1 << 62},
        {"act": 99},
        {"isa": -1},
        {"a": None},
    ],
    ids=str,
)
def test_the_driver_refuses(bad):
    x = np.zeros(4, np.float32)
    fields = {"a": x, "b": x, "y": x, "op": 0, "a5": 1, "b5": 1, "isa": number("scalar")}
    fields |= {f"d{i}": 1 for i in range(5)} | {"d5": 4}
    with pytest.raises(KernelError):
        _kernels.call("binary", {**fields, **bad})
