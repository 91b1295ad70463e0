"""Passes that recognise and fuse activations, normalisation and residuals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from graphs import Builder, check_golden, check_rewrite, check_untouched, pairs, pass_name

from luthier.graph.passes import fuse_epilogues, recognise_activations, recognise_layer_norm


def clip(b, x, low, high):
    return b.op("Clip", x, b.const(low), b.const(high))


def hard_swish_paddle():
    b = Builder()
    x = b.input("x", 2, 3, 4)
    gate = clip(b, b.op("Add", x, b.const([3.0])), 0, 6)
    return b.done(b.op("Mul", b.op("Mul", x, gate), b.const(1 / 6)))


def hard_swish_scaled_gate():
    b = Builder()
    x = b.input("x", 2, 3)
    gate = b.op("Mul", clip(b, b.op("Add", b.const(3.0), x), 0, 6), b.const(1 / 6))
    return b.done(b.op("Mul", gate, x))


def hard_swish_scaled_input():
    b = Builder()
    x = b.op("Neg", b.input("x", 2, 3))
    gate = clip(b, b.op("Add", x, b.const(3.0)), 0, 6)
    return b.done(b.op("Mul", b.op("Mul", x, b.const(1 / 6)), gate))


def hard_swish_of_hard_sigmoid():
    b = Builder()
    x = b.input("x", 2, 3)
    return b.done(b.op("Mul", x, b.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)))


def hard_sigmoids():
    b = Builder()
    x = b.input("x", 2, 3)
    y = clip(b, b.op("Add", b.op("Mul", x, b.const(0.2)), b.const(0.5)), 0, 1)
    z = b.op("Mul", clip(b, b.op("Add", x, b.const(3.0)), 0, 6), b.const(1 / 6))
    return b.done(y, z)


def clips():
    b = Builder()
    x = b.input("x", 2, 3)
    return b.done(
        b.op("Min", b.op("Relu", x), b.const(6.0)),
        b.op("Max", b.const([0.0]), x),
        clip(b, clip(b, x, -2, 1), -1, 2),
        b.op("Clip", x, b.const(0.0)),
    )


def silu():
    b = Builder()
    x = b.input("x", 2, 3)
    return b.done(b.op("Mul", b.op("Sigmoid", x), x))


def gelu():
    b = Builder()
    x = b.input("x", 2, 3)
    root = b.const(math.sqrt(0.5))
    half = b.const(0.5)
    one = b.const(1.0)
    gate = b.op("Add", b.op("Erf", b.op("Mul", x, root)), one)
    other = b.op("Add", one, b.op("Erf", b.op("Mul", root, x)))
    return b.done(
        b.op("Mul", b.op("Mul", x, half), gate),
        b.op("Mul", b.op("Mul", x, gate), half),
        b.op("Mul", x, b.op("Mul", other, half)),
    )


def scalar_prelu():
    b = Builder()
    return b.done(b.op("PRelu", b.input("x", 2, 3), b.const([0.25])))


def no_activations():
    b = Builder()
    x, y = b.input("x", 2, 3), b.input("y", 2, 3)
    wide = b.op("Mul", x, clip(b, b.op("Add", x, b.const(3.0)), 0, 5))
    other = b.op("Mul", y, b.op("Sigmoid", x))
    slow = b.op("Mul", x, b.op("HardSigmoid", x))
    erf = b.op("Mul", x, b.op("Add", b.op("Erf", x), b.const(1.0)))
    column = b.op("Mul", x, b.op("PRelu", x, b.weight(3)))
    return b.done(wide, other, slow, erf, column)


def no_activations_in_double():
    b = Builder()
    x = b.input("x", 2, 3, dtype=np.float64)
    return b.done(b.op("Mul", x, b.op("Sigmoid", x)))


def layer_norm(b, x, axes, square="Mul", epsilon=1e-5):
    centred = b.op("Sub", x, b.op("ReduceMean", x, b.ints(*axes)))
    if square == "Mul":
        squared = b.op("Mul", centred, centred)
    else:
        squared = b.op("Pow", centred, b.const(2.0))
    variance = b.op("ReduceMean", squared, b.ints(*axes))
    return b.op("Div", centred, b.op("Sqrt", b.op("Add", variance, b.const(epsilon))))


def layer_norm_of_rows():
    b = Builder()
    y = layer_norm(b, b.input("x", 2, 3, 8), [-1])
    return b.done(b.op("Add", b.weight(8), b.op("Mul", y, b.weight(8))))


def layer_norm_of_two_axes():
    b = Builder()
    y = layer_norm(b, b.input("x", 2, 3, 8), [1, 2], square="Pow")
    return b.done(b.op("Add", y, b.weight(1, 3, 1)))


def instance_norm():
    b = Builder()
    return b.done(layer_norm(b, b.input("x", 2, 3, 8), [1]))


def conv(b, x, channels, **attrs):
    return b.op("Conv", x, b.weight(channels, x.shape[1], 1, 1), b.weight(channels), **attrs)


def residual_block():
    b = Builder()
    x = b.input("x", 1, 4, 3, 3)
    y = conv(b, b.op("Relu", conv(b, x, 6)), 4)
    y = b.op("Relu", b.op("Add", x, y))
    return b.done(y)


def two_branches():
    b = Builder()
    x = b.input("x", 1, 4, 3, 3)
    return b.done(b.op("Add", conv(b, x, 4), b.op("Conv", x, b.weight(4, 4, 1, 1))))


def residual_computed_later():
    b = Builder()
    x = b.input("x", 1, 4, 3, 3)
    y = conv(b, x, 4)
    return b.done(b.op("Clip", b.op("Add", y, b.op("Neg", x)), b.const(0.0), b.const(6.0)))


def matmul_chain():
    b = Builder()
    x = b.input("x", 2, 3, 4)
    y = b.op("MatMul", x, b.weight(4, 4), b.weight(4), bias=1)
    y = b.op("Add", b.op("HardSwish", y), x)
    y = b.op("Gelu", b.op("Add", b.op("MatMul", y, b.weight(4, 4)), x))
    return b.done(y)


def every_activation():
    b = Builder()
    x = b.input("x", 2, 3)
    w = b.weight(3, 3)
    ys = [
        b.op("Clip", b.op("Gemm", x, w), None, b.const(1.0)),
        b.op("HardSigmoid", b.op("Gemm", x, w), alpha=0.3),
        b.op("Silu", b.op("Gemm", x, w), domain="luthier"),
        b.op("Sigmoid", b.op("Gemm", x, w)),
        b.op("Tanh", b.op("Add", x, x)),
        b.op("LeakyRelu", b.op("Mul", x, x), alpha=0.1),
    ]
    return b.done(*ys)


def nothing_to_fuse():
    b = Builder()
    x = b.input("x", 1, 4, 3, 3)
    y = conv(b, x, 4)
    z = conv(b, x, 1)
    tanh = b.op("Gelu", conv(b, x, 4), approximate="tanh")
    twice = conv(b, x, 2)
    return b.done(
        b.op("Relu", y), y, b.op("Add", z, x), tanh, b.op("Add", twice, twice), b.op("Relu", x)
    )


CASES = {
    fuse_epilogues: [
        residual_block,
        two_branches,
        residual_computed_later,
        matmul_chain,
        every_activation,
    ],
    recognise_activations: [
        hard_swish_paddle,
        hard_swish_scaled_gate,
        hard_swish_scaled_input,
        hard_swish_of_hard_sigmoid,
        hard_sigmoids,
        clips,
        silu,
        gelu,
        scalar_prelu,
    ],
    recognise_layer_norm: [layer_norm_of_rows, layer_norm_of_two_axes],
}
UNTOUCHED = {
    fuse_epilogues: [nothing_to_fuse],
    recognise_activations: [no_activations, no_activations_in_double],
    recognise_layer_norm: [instance_norm],
}


@pytest.mark.parametrize(("module", "build"), pairs(CASES))
def test_keeps_values(module, build):
    check_rewrite(module, build)


@pytest.mark.parametrize(("module", "build"), pairs(UNTOUCHED))
def test_leaves_alone(module, build):
    check_untouched(module, build)


@pytest.mark.parametrize("module", CASES, ids=pass_name)
def test_golden(module):
    check_golden(module, CASES[module])
