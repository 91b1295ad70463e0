"""Passes that fold: constants, identities, batch normalisation, padding."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Builder, check_golden, check_rewrite, check_untouched, pairs, pass_name

from luthier.graph.passes import (
    convert_fp16,
    drop_identities,
    fold_batch_norm,
    fold_constants,
    fold_input_scales,
    fold_pads,
    join_scales,
    lower_batch_norm,
)

HALF = np.float16


def half_conv():
    b = Builder()
    x = b.input("x", 1, 2, 4, 4, dtype=HALF)
    y = b.op("Conv", x, b.weight(3, 2, 1, 1, dtype=HALF), b.weight(3, dtype=HALF))
    z = b.op("Relu", y)
    return b.done(z, b.op("Add", y, z))


def half_and_casts():
    b = Builder()
    x = b.input("x", 2, 3)
    h = b.op("Cast", x, to=10)
    return b.done(b.op("Cast", b.op("Add", h, b.weight(3, dtype=HALF)), to=1))


def half_that_an_attribute_fixes():
    b = Builder()
    x = b.input("x", 3, 3, dtype=HALF)
    y = b.op("Relu", x)
    return b.done(b.op("Add", b.op("EyeLike", y, dtype=10), b.op("EyeLike", x, dtype=10)))


def half_casts_alone():
    b = Builder()
    x = b.input("x", 2, 3)
    return b.done(b.op("Cast", b.op("Cast", x, to=10), to=1))


def constant_arithmetic():
    b = Builder()
    x = b.input("x", 2, 3)
    scale = b.op("Reshape", b.op("Add", b.weight(3), b.weight(3)), b.ints(1, 3))
    return b.done(b.op("Mul", x, scale))


def shape_of_input():
    b = Builder()
    x = b.input("x", 2, 3, 4)
    batch = b.op("Slice", b.op("Shape", x), b.ints(0), b.ints(1), b.ints(0))
    return b.done(b.op("Mul", x, b.op("Cast", batch, to=1)))


def constant_output():
    b = Builder()
    x = b.input("x", 2)
    return b.done(b.op("Relu", x), b.op("Shape", x))


def nothing_constant():
    b = Builder()
    x = b.input("x", 2, 3)
    return b.done(b.op("Add", x, b.op("Relu", x)))


def chain_of_no_ops():
    b = Builder()
    y = b.op("Relu", b.input("x", 2, 3, 4))
    y = b.op("Identity", y)
    y = b.op("Dropout", y)
    y = b.op("Cast", y, to=1)
    y = b.op("Reshape", y, b.ints(2, -1, 4))
    y = b.op("Transpose", y, perm=[0, 1, 2])
    y = b.op("Slice", y, b.ints(0), b.ints(99), b.ints(1))
    y = b.op("Pad", y, b.ints(0, 0, 0, 0, 0, 0))
    y = b.op("Concat", y, axis=1)
    y = b.op("Expand", y, b.ints(1, 3, 1))
    y = b.op("Add", y, b.const(np.zeros((3, 1))))
    y = b.op("Mul", b.const(1.0), y)
    y = b.op("Div", y, b.const([1.0]))
    y = b.op("Sub", y, b.const(0.0))
    return b.done(b.op("Sigmoid", y))


def no_op_before_output():
    b = Builder()
    y = b.op("Relu", b.input("x", 2, 3))
    return b.done(b.op("Identity", y), b.op("Neg", y))


def resize_by_one():
    b = Builder()
    x = b.op("Relu", b.input("x", 1, 1, 4, 4))
    attrs = {
        "mode": "nearest",
        "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric",
    }
    return b.done(b.op("Neg", b.op("Resize", x, None, b.const([1, 1, 1, 1]), **attrs)))


def reduce_ones():
    b = Builder()
    x = b.op("Relu", b.input("x", 2, 1, 1))
    return b.done(b.op("Neg", b.op("ReduceMean", x, b.ints(1, 2))))


def no_op_from_input_to_output():
    b = Builder()
    return b.done(b.op("Identity", b.input("x", 2)))


def almost_no_ops():
    b = Builder()
    x = b.input("x", 1, 3)
    y = b.op("Add", x, b.const(np.zeros((2, 1))))
    y = b.op("Slice", y, b.ints(-1), b.ints(-99), b.ints(0), b.ints(-1))
    y = b.op("Sub", b.const(0.0), y)
    return b.done(b.op("Div", b.const(1.0), y))


def batch_norm(b, x):
    c = x.shape[1]
    return b.op("BatchNormalization", x, b.weight(c), b.weight(c), b.weight(c), b.positive(c))


def conv_batch_norm():
    b = Builder()
    x = b.input("x", 1, 2, 5, 5)
    y = batch_norm(b, b.op("Conv", x, b.weight(4, 2, 3, 3), b.weight(4)))
    return b.done(b.op("Relu", y))


def conv_bias_and_factors():
    b = Builder()
    x = b.input("x", 1, 2, 5, 5)
    y = b.op("Conv", x, b.weight(4, 2, 3, 3))
    y = b.op("Add", b.weight(4, 1, 1), y)
    y = b.op("Mul", y, b.const([1.5]))
    return b.done(b.op("Add", y, b.weight(1, 4, 1, 1)))


def grouped_conv_transpose_batch_norm():
    b = Builder()
    x = b.input("x", 1, 4, 3, 3)
    return b.done(batch_norm(b, b.op("ConvTranspose", x, b.weight(4, 3, 2, 2), group=2)))


def matmul_bias():
    b = Builder()
    x = b.input("x", 2, 3, 4)
    y = b.op("Mul", b.op("MatMul", x, b.weight(4, 5)), b.positive(5))
    return b.done(b.op("Add", y, b.weight(1, 1, 5)))


def gemm_batch_norm():
    b = Builder()
    x = b.input("x", 3, 4)
    return b.done(batch_norm(b, b.op("Gemm", x, b.weight(4, 5), b.weight(5))))


def negated_conv():
    b = Builder()
    x = b.input("x", 1, 2, 5, 5)
    return b.done(b.op("Neg", b.op("Conv", x, b.weight(4, 2, 3, 3), b.weight(4))))


def conv_read_twice():
    b = Builder()
    y = b.op("Conv", b.input("x", 1, 2, 5, 5), b.weight(4, 2, 3, 3))
    return b.done(b.op("Mul", b.op("Add", y, b.const([3.0])), y))


def factor_along_width():
    b = Builder()
    y = b.op("Conv", b.input("x", 1, 2, 5, 5), b.weight(4, 2, 2, 2))
    return b.done(b.op("Mul", y, b.weight(4)))


def factor_that_broadcasts_the_result():
    b = Builder()
    y = b.op("MatMul", b.input("x", 2, 3), b.weight(3, 1))
    return b.done(b.op("Mul", y, b.weight(4)))


def conv_of_variable_weight():
    b = Builder()
    y = b.op("Conv", b.input("x", 1, 2, 5, 5), b.input("w", 4, 2, 3, 3))
    return b.done(b.op("Mul", y, b.weight(4, 1, 1)))


def batch_norm_alone():
    b = Builder()
    return b.done(batch_norm(b, b.input("x", 2, 3, 4)))


def pad_conv():
    b = Builder()
    x = b.op("Pad", b.input("x", 1, 2, 5, 5), b.ints(0, 0, 1, 0, 0, 0, 1, 2), b.const(0.0))
    return b.done(b.op("Conv", x, b.weight(4, 2, 3, 3), pads=[0, 1, 0, 1]))


def pad_along_axes_average_pool():
    b = Builder()
    x = b.op("Pad", b.input("x", 1, 2, 5, 5), b.ints(1, 1), None, b.ints(-1))
    return b.done(b.op("AveragePool", x, kernel_shape=[2, 2], strides=[1, 1], pads=[0] * 4))


def pad_of_ones():
    b = Builder()
    x = b.op("Pad", b.input("x", 1, 2, 5, 5), b.ints(0, 0, 1, 1, 0, 0, 1, 1), b.const(1.0))
    return b.done(b.op("Conv", x, b.weight(4, 2, 3, 3), pads=[0] * 4))


def pad_of_channels():
    b = Builder()
    x = b.op("Pad", b.input("x", 1, 2, 5, 5), b.ints(0, 1, 1, 1, 0, 0, 1, 1))
    return b.done(b.op("Conv", x, b.weight(4, 3, 3, 3), pads=[0] * 4))


def pad_average_pool_that_pads():
    b = Builder()
    x = b.op("Pad", b.input("x", 1, 2, 5, 5), b.ints(0, 0, 1, 1, 0, 0, 1, 1))
    return b.done(b.op("AveragePool", x, kernel_shape=[2, 2], pads=[1] * 4))


def scaled(b, x):
    """x * a + b by scalars, as Paddle's learnable affine blocks have it."""
    return b.op("Add", b.op("Mul", b.const([1.5]), x), b.const([0.25]))


def scales_before_pointwise_conv():
    b = Builder()
    y = scaled(b, b.op("Relu", b.input("x", 1, 4, 5, 5)))
    return b.done(b.op("Conv", y, b.weight(6, 2, 1, 1), pads=[0] * 4, group=2))


def scales_before_padded_conv():
    b = Builder()
    y = b.op("Mul", b.op("Relu", b.input("x", 1, 4, 5, 5)), b.weight(4, 1, 1))
    y = b.op("Add", y, b.weight(4, 1, 1))
    depthwise = b.op("Conv", y, b.weight(4, 1, 3, 3), b.weight(4), pads=[1] * 4, group=4)
    return b.done(depthwise, b.op("Conv", y, b.weight(2, 4, 1, 1), pads=[0] * 4))


def scales_before_matmul_and_gemm():
    b = Builder()
    x = scaled(b, b.input("x", 2, 3))
    y = b.op("Add", b.op("Mul", b.input("y", 2, 2, 3), b.weight(3)), b.weight(1, 3))
    return b.done(b.op("Gemm", x, b.weight(3, 4), b.weight(4)), b.op("MatMul", y, b.weight(3, 4)))


def factor_before_conv_transpose():
    b = Builder()
    x = b.op("Mul", b.input("x", 1, 4, 3, 3), b.weight(1, 4, 1, 1))
    return b.done(b.op("ConvTranspose", x, b.weight(4, 1, 2, 2), group=2, pads=[0] * 4))


def scales_that_others_read():
    b = Builder()
    y = scaled(b, b.input("x", 1, 4, 5, 5))
    return b.done(b.op("Conv", y, b.weight(2, 4, 1, 1), pads=[0] * 4), b.op("Relu", y))


def addend_before_padded_conv():
    b = Builder()
    y = b.op("Add", b.input("x", 1, 4, 5, 5), b.const([0.25]))
    z = b.op("Add", b.op("Mul", b.input("y", 1, 4, 5, 5), b.const([0.0])), b.const([1.0]))
    return b.done(*(b.op("Conv", v, b.weight(2, 4, 3, 3), pads=[1] * 4) for v in (y, z)))


def addend_before_conv_transpose():
    b = Builder()
    y = b.op("Add", b.input("x", 1, 4, 3, 3), b.const([0.25]))
    return b.done(b.op("ConvTranspose", y, b.weight(4, 2, 2, 2), pads=[0] * 4))


POOL = {"kernel_shape": [1, 1], "pads": [0] * 4, "layout": "NHWC"}


def scales_after_map():
    b = Builder()
    x = b.op("MaxPool", b.input("x", 1, 3, 3, 8), **POOL)
    fused = {"activation": "relu", "activation_params": [0.0, 0.0]}
    y = b.op("Add", b.weight(1, 1, 1, 8), b.op("Mul", x, b.weight(8)), **fused)
    return b.done(y, b.op("Neg", scaled(b, x)))


def scales_before_map():
    b = Builder()
    return b.done(b.op("MaxPool", scaled(b, b.input("x", 1, 3, 3, 8)), **POOL))


def scales_of_few_channels():
    b = Builder()
    along_width = b.op("Mul", b.input("y", 1, 3, 3, 8), b.weight(3, 1))
    return b.done(
        b.op("MaxPool", scaled(b, b.input("x", 1, 8, 8, 3)), **POOL),
        b.op("MaxPool", b.op("Add", along_width, b.const([1.0])), **POOL),
    )


def scales_without_map():
    b = Builder()
    return b.done(b.op("Neg", scaled(b, b.input("x", 1, 3, 3, 8))))


CASES = {
    convert_fp16: [half_conv, half_and_casts, half_that_an_attribute_fixes],
    drop_identities: [chain_of_no_ops, no_op_before_output, resize_by_one, reduce_ones],
    fold_batch_norm: [
        conv_batch_norm,
        conv_bias_and_factors,
        grouped_conv_transpose_batch_norm,
        matmul_bias,
        gemm_batch_norm,
        negated_conv,
    ],
    fold_constants: [constant_arithmetic, shape_of_input, constant_output],
    fold_input_scales: [
        scales_before_pointwise_conv,
        scales_before_padded_conv,
        scales_before_matmul_and_gemm,
        factor_before_conv_transpose,
    ],
    fold_pads: [pad_conv, pad_along_axes_average_pool],
    join_scales: [scales_after_map, scales_before_map],
    lower_batch_norm: [batch_norm_alone],
}
UNTOUCHED = {
    convert_fp16: [half_casts_alone],
    drop_identities: [no_op_from_input_to_output, almost_no_ops],
    fold_batch_norm: [
        conv_read_twice,
        factor_along_width,
        factor_that_broadcasts_the_result,
        conv_of_variable_weight,
        batch_norm_alone,
    ],
    fold_constants: [nothing_constant],
    fold_input_scales: [
        scales_that_others_read,
        addend_before_conv_transpose,
        addend_before_padded_conv,
    ],
    fold_pads: [pad_of_ones, pad_of_channels, pad_average_pool_that_pads],
    join_scales: [scales_of_few_channels, scales_without_map],
}


@pytest.mark.parametrize(("module", "build"), pairs(CASES))
def test_keeps_values(module, build):
    check_rewrite(module, build, tolerance=4e-3 if module is convert_fp16 else 1e-5)


@pytest.mark.parametrize(("module", "build"), pairs(UNTOUCHED))
def test_leaves_alone(module, build):
    check_untouched(module, build)


@pytest.mark.parametrize("module", CASES, ids=pass_name)
def test_golden(module):
    check_golden(module, CASES[module])
