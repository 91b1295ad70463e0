"""Passes that spell operators in a simpler or more explicit way."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Builder, check_golden, check_rewrite, check_untouched, pairs, pass_name
from quantised_graphs import QuantisedBuilder

from luthier.graph.passes import (
    cancel_transposes,
    lower_composites,
    normalise_gemm,
    resolve_windows,
    sink_transposes,
    widen_conv1d,
)


def global_pools():
    b = Builder()
    x = b.input("x", 2, 3, 4, 5)
    return b.done(b.op("GlobalAveragePool", x), b.op("GlobalMaxPool", x))


def shapes():
    b = Builder()
    y = b.op("Unsqueeze", b.op("Flatten", b.input("x", 2, 3, 4), axis=2), b.ints(0, 3))
    return b.done(b.op("Squeeze", y, b.ints(0)), b.op("Reshape", y, b.ints(0, -1)))


def n_ary():
    b = Builder()
    x, y = b.input("x", 2, 3), b.input("y", 3)
    return b.done(
        b.op("Sum", y, x, y), b.op("Mean", y, y, x), b.op("Max", x, y, y), b.op("Sum", x, y)
    )


def constant_operands():
    b = Builder()
    x = b.op("Relu", b.input("x", 2, 3))
    y = b.op("Sub", b.op("Div", x, b.const([3.0])), b.weight(3))
    return b.done(
        b.op("Pow", y, b.const(2.0)), b.op("Pow", x, b.const(0.5)), b.op("Pow", y, b.const([1.0]))
    )


def awkward_constant_operands():
    b = Builder()
    x = b.input("x", 2, 3)
    y = b.op("Div", x, b.const([0.0, 1e-45, np.inf]))
    z = b.op("Pow", b.op("Pow", x, b.const([2.0, 2.0, 3.0])), b.const([[[2.0]]]))
    return b.done(y, z, b.op("Sub", b.const(1.0), x), b.op("Min", x, x))


def same_padding():
    b = Builder()
    x = b.input("x", 1, 2, 7, 6)
    y = b.op("Conv", x, b.weight(2, 2, 2, 2), auto_pad="SAME_UPPER", strides=[2, 1])
    z = b.op("Conv", x, b.weight(2, 2, 2, 2), auto_pad="SAME_LOWER", dilations=[2, 1])
    return b.done(y, z, b.op("MaxPool", x, kernel_shape=[3, 3], auto_pad="VALID"))


def ceil_mode():
    b = Builder()
    x = b.input("x", 1, 2, 6, 4)
    attrs = {"kernel_shape": [3, 1], "strides": [2, 2], "pads": [0, 0, 0, 1], "ceil_mode": 1}
    return b.done(b.op("MaxPool", x, **attrs), b.op("AveragePool", x, **attrs))


def transposed_padding():
    b = Builder()
    x = b.input("x", 1, 2, 4, 4)
    w = b.weight(2, 3, 3, 3)
    y = b.op("ConvTranspose", x, w, strides=[2, 2], output_shape=[8, 7])
    return b.done(y, b.op("ConvTranspose", x, w, strides=[2, 2], auto_pad="SAME_UPPER"))


def explicit_conv():
    b = Builder()
    attrs = {
        "kernel_shape": [1, 1],
        "strides": [1, 1],
        "dilations": [1, 1],
        "pads": [0, 0, 0, 0],
        "group": 1,
    }
    return b.done(b.op("Conv", b.input("x", 1, 2, 4, 4), b.weight(3, 2, 1, 1), **attrs))


def average_that_counts_padding_up():
    b = Builder()
    attrs = {"kernel_shape": [2], "strides": [2], "dilations": [1], "pads": [1, 1]}
    x = b.input("x", 1, 2, 5)
    return b.done(b.op("AveragePool", x, **attrs, ceil_mode=1, count_include_pad=1))


def transposed_gemm():
    b = Builder()
    x, w = b.input("x", 4, 3), b.weight(5, 4)
    return b.done(b.op("Gemm", x, w, b.weight(1, 5), transA=1, transB=1, alpha=0.5, beta=2.0))


def gemm_scalar_bias():
    b = Builder()
    return b.done(b.op("Gemm", b.input("x", 2, 3), b.weight(3, 4), b.const(1.5)))


def gemm_full_addend():
    b = Builder()
    x, c = b.input("x", 2, 3), b.input("c", 2, 1)
    return b.done(b.op("Gemm", x, b.weight(3, 4), c, beta=0.5))


def gemm_square_column_addend():
    b = Builder()
    return b.done(b.op("Gemm", b.input("x", 4, 3), b.weight(3, 4), b.weight(4, 1)))


def plain_gemm():
    b = Builder()
    x = b.input("x", 2, 3)
    return b.done(b.op("Gemm", x, b.weight(3, 4), b.weight(4)), b.op("Gemm", x, b.input("w", 3, 2)))


def conv1d():
    b = Builder()
    x = b.input("x", 2, 4, 9)
    attrs = {"strides": [2], "dilations": [2], "pads": [1, 2], "group": 2}
    y = b.op("Conv", x, b.weight(6, 2, 3), b.weight(6), kernel_shape=[3], **attrs)
    z = b.op("ConvTranspose", y, b.weight(6, 2, 2), pads=[0, 1], output_padding=[0])
    return b.done(b.op("MaxPool", z, kernel_shape=[2], pads=[0, 0]))


def fused_conv1d():
    b = Builder()
    x = b.input("x", 2, 4, 9)
    attrs = {"pads": [0, 0], "residual": 1, "activation": "relu", "activation_params": [0.0, 0.0]}
    return b.done(b.op("Conv", x, b.input("w", 4, 4, 1), None, x, **attrs))


def transposes_that_undo():
    b = Builder()
    y = b.op("Relu", b.input("x", 2, 3, 4))
    y = b.op("Transpose", b.op("Transpose", y, perm=[2, 0, 1]), perm=[1, 2, 0])
    return b.done(b.op("Neg", y))


def transposes_that_compose():
    b = Builder()
    x = b.input("x", 2, 3, 4)
    return b.done(b.op("Transpose", b.op("Transpose", x, perm=[2, 0, 1]), perm=[0, 2, 1]))


def transposes_around_ones():
    b = Builder()
    y = b.op("Transpose", b.input("x", 2, 1, 3, 4), perm=[0, 3, 1, 2])
    y = b.op("Reshape", y, b.ints(2, 4, 3))
    return b.done(b.op("Transpose", y, perm=[0, 2, 1]))


def reshapes():
    b = Builder()
    y = b.op("Reshape", b.op("Reshape", b.input("x", 2, 3, 4), b.ints(6, 4)), b.ints(3, 8))
    return b.done(b.op("Transpose", b.op("Reshape", y, b.ints(3, 1, 8)), perm=[1, 0, 2]))


def transposes_that_move():
    b = Builder()
    y = b.op("Transpose", b.input("x", 2, 3, 4), perm=[0, 2, 1])
    y = b.op("Reshape", y, b.ints(8, 3))
    return b.done(b.op("Transpose", y))


def detector_heads():
    """Maps of several sizes are flattened, joined and put channels-last (YOLOX)."""
    b = Builder()
    parts = []
    for size in (2, 3):
        y = b.op("Transpose", b.input(f"x{size}", 1, size, size, 4), perm=[0, 3, 1, 2])
        parts.append(b.op("Reshape", y, b.ints(1, 4, size * size)))
    return b.done(b.op("Transpose", b.op("Concat", *parts, axis=-1), perm=[0, 2, 1]))


def flattened_features():
    b = Builder()
    y = b.op("Transpose", b.input("x", 2, 3, 4, 5), perm=[0, 3, 1, 2])
    y = b.op("Reshape", y, b.ints(2, 60))
    return b.done(b.op("MatMul", y, b.weight(60, 2), b.weight(2), bias=1))


def transposes_that_stay():
    b = Builder()
    x = b.input("x", 2, 3, 4)
    y = b.op("Transpose", x, perm=[0, 2, 1])
    z = b.op("Transpose", x, perm=[2, 0, 1])
    split = b.op("Transpose", b.op("Reshape", y, b.ints(2, 2, 2, 3)))
    columns = b.op("Reshape", b.op("Transpose", x, perm=[0, 2, 1]), b.ints(8, 3))
    merged = b.op("Reshape", z, b.ints(8, 3))
    return b.done(
        split,
        b.op("MatMul", columns, b.weight(3, 2)),
        b.op("Concat", merged, b.op("Reshape", x, b.ints(8, 3)), axis=0),
    )


def quantised_windows():
    b = QuantisedBuilder()
    x = b.bytes_input("x", 1, 3, 6, 5)
    w = b.filters(4, 3, 3, 3)
    by = *b.by(), w, *b.by(0.1, 0, np.int8), *b.by()
    y = b.op("QLinearConv", x, *by, auto_pad="SAME_UPPER", strides=[2, 2])
    y = b.ms("QLinearAveragePool", y, *b.by(), *b.by(), kernel_shape=[2, 2], ceil_mode=1)
    product = b.op("ConvInteger", x, w, pads=[1, 1, 0, 0])
    scales = b.const(0.1), b.const(0.2)
    return b.done(y, product, b.op("ConvIntegerToFloat", x, w, *scales, domain="luthier"))


def quantised_conv1d():
    b = QuantisedBuilder()
    window = {"kernel_shape": [3], "strides": [1], "dilations": [1], "pads": [1, 1]}
    x, w = b.bytes_input("x", 2, 3, 6), b.filters(4, 3, 3)
    by = *b.by(), w, *b.by(0.1, 0, np.int8), *b.by()
    y = b.op("QLinearConv", x, *by, group=1, **window)
    return b.done(b.ms("QLinearAveragePool", y, *b.by(), *b.by(), **window))


CASES = {
    cancel_transposes: [
        transposes_that_undo,
        transposes_that_compose,
        transposes_around_ones,
        reshapes,
    ],
    lower_composites: [global_pools, shapes, n_ary, constant_operands],
    normalise_gemm: [
        transposed_gemm,
        gemm_scalar_bias,
        gemm_full_addend,
        gemm_square_column_addend,
    ],
    resolve_windows: [same_padding, ceil_mode, transposed_padding, quantised_windows],
    sink_transposes: [detector_heads, flattened_features],
    widen_conv1d: [conv1d, fused_conv1d, quantised_conv1d],
}
UNTOUCHED = {
    cancel_transposes: [transposes_that_move],
    lower_composites: [awkward_constant_operands],
    normalise_gemm: [plain_gemm],
    resolve_windows: [explicit_conv, average_that_counts_padding_up],
    sink_transposes: [transposes_that_stay],
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
