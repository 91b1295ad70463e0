"""Passes over quantised graphs."""

from __future__ import annotations

import interp
import numpy as np
import pytest
from graphs import assert_close, check_golden, check_rewrite, check_untouched, pairs
from graphs import pass_name as name_of
from quantised_graphs import QuantisedBuilder

from luthier.graph.passes import (
    dequantize_constants,
    fuse_dynamic_quantised,
    fuse_quantised,
    fuse_quantised_epilogues,
    move_quantisers,
    normalise_quantised,
    optimize,
    tabulate_quantised,
)

QUANTUM = 1 / 128
"""One quantum, of results whose largest is at least 128."""

EXACT = 0.0


# -- normalise_quantised ---------------------------------------------------------------------------


def gemms():
    b = QuantisedBuilder()
    x = b.bytes_input("x", 3, 6)
    w, scale, zero = b.filters(4, 6), b.scales(4), b.const(np.zeros(4), np.int8)
    bias = b.const([[9, -8, 7, -6]], np.int32)
    first = b.ms("QGemm", x, *b.by(), w, scale, zero, bias, *b.by(), transB=1, alpha=1.5)
    real = b.ms("QGemm", x, *b.by(), w, scale, zero, bias, transB=1)
    w = b.filters(3, 5)
    turned = b.ms("QGemm", x, *b.by(), w, *b.by(0.1, 0, np.int8), None, *b.by(), transA=1)
    return b.done(first, real, turned)


def unary_tables():
    b = QuantisedBuilder()
    x = b.bytes_input("x", 2, 3)
    y = b.ms("QLinearLeakyRelu", x, *b.by(), *b.by(0.05, 100), alpha=0.3)
    return b.done(b.ms("QLinearSigmoid", y, *b.by(0.05, 100), b.const(1 / 256)))


def concatenations():
    b = QuantisedBuilder()
    x, y = (b.bytes_input(n, 2, 3) for n in "xy")
    same = b.ms("QLinearConcat", *b.by(), x, *b.by(), y, *b.by(), axis=1)
    other = b.ms("QLinearConcat", *b.by(), x, *b.by(), y, *b.by(0.2, 9), axis=0)
    return b.done(same, other)


def softmax():
    b = QuantisedBuilder()
    x = b.bytes_input("x", 2, 3, 4)
    by = b.const(1 / 256), b.const(0, np.uint8)
    y = b.ms("QLinearSoftmax", x, *b.by(), *by, axis=1, opset=13)
    return b.done(y, b.ms("QLinearSoftmax", x, *b.by(), *by, axis=1, opset=11))


def dynamic_product():
    b = QuantisedBuilder()
    x = b.input("x", 2, 3, 6)
    w = b.filters(6, 4)
    return b.done(b.ms("DynamicQuantizeMatMul", x, w, b.scales(4), None, b.weight(4)))


def few_bits():
    b = QuantisedBuilder()
    x = b.input("x", 2, 20)
    outputs = []
    for bits in (4, 8):
        packed = b.const(b.rng.integers(0, 256, (3, 2, 2 * bits)), np.uint8)
        scales = b.const(b.rng.uniform(0.1, 0.2, (3, 2)))
        attrs = {"N": 3, "K": 20, "bits": bits, "block_size": 16}
        outputs.append(b.ms("MatMulNBits", x, packed, scales, **attrs))
    return b.done(*outputs)


def foreign_quantisers():
    b = QuantisedBuilder()
    q = b.ms("QuantizeLinear", b.input("x", 2, 3), *b.by())
    return b.done(b.ms("DequantizeLinear", q, *b.by()))


def channels_last_pools():
    b = QuantisedBuilder()
    x = b.bytes_input("x", 1, 4, 4, 3)
    pool = b.ms("QLinearAveragePool", x, *b.by(), *b.by(), kernel_shape=[2, 2], channels_last=1)
    return b.done(b.ms("QLinearGlobalAveragePool", pool, *b.by(), *b.by(), channels_last=1))


def weights_of_the_run():
    b = QuantisedBuilder()
    scale = b.input("scale")
    return b.done(b.ms("QLinearSigmoid", b.bytes_input("x", 2, 3), scale, None, b.const(1 / 256)))


# -- move_quantisers -------------------------------------------------------------------------------


def below_moves():
    b = QuantisedBuilder()
    x = b.op("Transpose", b.real("x", 1, 4, 6, 2), perm=[0, 3, 1, 2])
    x = b.op("MaxPool", x, kernel_shape=[2, 2], pads=[1, 1, 0, 0])
    x = b.op("Pad", x, b.ints(0, 0, 1, 1, 0, 0, 1, 1))
    sizes = b.const([1.0, 1.0, 2.0, 2.0])
    attrs = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    x = b.op("Resize", x, None, sizes, mode="nearest", **attrs)
    x = b.op("Slice", x, b.ints(1), b.ints(9), b.ints(2))
    return b.done(b.op("Reshape", x, b.ints(2, -1)))


def global_maximum():
    b = QuantisedBuilder()
    return b.done(b.op("ReduceMax", b.real("x", 1, 3, 4, 5), b.ints(2, 3), keepdims=1))


def split_and_joined():
    b = QuantisedBuilder()
    first, second = b.op("Split", b.real("x", 2, 6), results=2, axis=1, num_outputs=2)
    return b.done(b.op("Concat", second, first, axis=1))


def above_moves():
    b = QuantisedBuilder()
    x = b.op("Relu", b.input("x", 2, 3, 4))
    return b.done(b.q(b.op("Reshape", b.op("Transpose", x, perm=[0, 2, 1]), b.ints(2, 12))))


def padding_between_bytes():
    b = QuantisedBuilder()
    x = b.real("x", 2, 3)
    y = b.op("Pad", x, b.ints(0, 1, 0, 1), b.const(0.123))
    return b.done(y, b.op("Concat", x, b.real("z", 2, 3, scale=0.2), axis=0))


# -- tabulate_quantised ----------------------------------------------------------------------------


def hard_swish():
    b = QuantisedBuilder()
    return b.done(b.q(b.op("HardSwish", b.real("x", 2, 3)), 0.05, 10))


def chain():
    b = QuantisedBuilder()
    x = b.op("Mul", b.op("Sigmoid", b.op("Add", b.real("x", 2, 3), b.const(0.5))), b.const([2.0]))
    return b.done(b.q(x, 0.01, 0, np.int8))


def another_quantisation():
    b = QuantisedBuilder()
    return b.done(b.q(b.real("x", 2, 3), 0.2, -3, np.int8))


def same_quantisation():
    b = QuantisedBuilder()
    x = b.op("Transpose", b.bytes_input("x", 2, 3))
    return b.done(b.op("Transpose", b.q(b.dq(x))))


def tables_in_a_row():
    b = QuantisedBuilder()
    x = b.q(b.op("Relu", b.real("x", 2, 3)), 0.2, 9)
    return b.done(b.q(b.op("Tanh", b.dq(x, 0.2, 9)), 0.01, 128))


def functions_of_more():
    b = QuantisedBuilder()
    x, y = b.real("x", 2, 3), b.real("y", 2, 3)
    shared = b.op("Relu", x)
    return b.done(b.q(b.op("Sub", x, y)), b.q(shared), shared, b.q(b.op("Add", x, b.weight(3))))


# -- fuse_quantised --------------------------------------------------------------------------------


def conv_relu6():
    b = QuantisedBuilder()
    w = b.weights(4, 3, 3, 3)
    y = b.op("Conv", b.real("x", 1, 3, 6, 5), w, b.bias(w), pads=[1, 1, 1, 1])
    return b.done(b.q(b.op("Clip", y, b.const(0.0), b.const(6.0)), 0.04, 100))


def depthwise_with_float_bias():
    b = QuantisedBuilder()
    y = b.op("Conv", b.real("x", 1, 4, 6, 5), b.weights(4, 1, 3, 3), b.weight(4), group=4)
    return b.done(b.q(b.op("Relu", y)))


def products():
    b = QuantisedBuilder()
    w = b.weights(4, 6)
    gemm = b.op("Gemm", b.real("x", 3, 6), w, b.bias(w), transB=1)
    x = b.dq(b.q(gemm, 0.3, 120), 0.3, 120)
    y = b.dq(b.q(b.op("Add", b.op("MatMul", x, b.weights(4, 5, axis=1)), b.weight(5))))
    return b.done(b.q(b.op("MatMul", y, b.real("z", 5, 2))))


def sums_and_products():
    b = QuantisedBuilder()
    x, y = b.real("x", 2, 3, 4), b.real("y", 3, 1, scale=0.05)
    total = b.q(b.op("Relu", b.op("Add", x, y)), 0.2, 128)
    return b.done(total, b.q(b.op("Mul", x, y), 0.5, 100))


def joined():
    b = QuantisedBuilder()
    x, y = b.real("x", 2, 3), b.real("y", 2, 3, scale=0.3)
    return b.done(
        b.q(b.op("Concat", x, y, axis=1)), b.q(b.op("Relu", b.op("Concat", y, x, axis=0)))
    )


def averages():
    b = QuantisedBuilder()
    x = b.real("x", 1, 3, 6, 6)
    y = b.q(b.op("AveragePool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]), 0.08)
    mean = b.q(b.op("ReduceMean", x, b.ints(2, 3), keepdims=1), 0.05)
    return b.done(y, mean, b.q(b.op("ReduceMean", x, b.ints(2, 3), keepdims=0), 0.05))


def float_results():
    b = QuantisedBuilder()
    w = b.weights(4, 3, 3, 3)
    y = b.op("Conv", b.real("x", 1, 3, 6, 5), w, b.bias(w))
    gemm = b.op("Gemm", b.real("r", 3, 6), b.weights(4, 6), b.weight(4), transB=1)
    return b.done(y, gemm, b.op("MatMul", b.real("s", 2, 3, 6), b.weights(6, 4, axis=1)))


def must_stay_float():
    """A bias far finer than the accumulator, weights along the wrong axis, float operands."""
    b = QuantisedBuilder()
    x = b.real("x", 3, 6, scale=1000.0)
    coarse = b.q(b.op("Add", b.op("MatMul", x, b.weight(6, 4)), b.weight(4)))
    wrong = b.q(b.op("Gemm", x, b.weights(4, 6, axis=1), transB=1))
    return b.done(coarse, wrong, b.q(b.op("Add", x, b.input("y", 3, 6))))


# -- fuse_dynamic_quantised ------------------------------------------------------------------------


def dynamic_matmul():
    b = QuantisedBuilder()
    q, scale, zero = b.op("DynamicQuantizeLinear", b.input("x", 2, 3, 6), results=3)
    product = b.op("MatMulInteger", q, b.filters(6, 4), zero, b.const(np.zeros(4), np.int8))
    scales = b.op("Mul", scale, b.scales(4))
    y = b.op("Mul", b.op("Cast", product, to=1), scales)
    return b.done(b.op("Add", y, b.weight(4)))


def dynamic_conv():
    b = QuantisedBuilder()
    q, scale, zero = b.op("DynamicQuantizeLinear", b.input("x", 1, 3, 6, 6), results=3)
    product = b.op(
        "ConvInteger", q, b.filters(4, 3, 3, 3, dtype=np.uint8), zero, b.const(99, np.uint8)
    )
    y = b.op("Mul", b.op("Cast", product, to=1), b.op("Mul", scale, b.const(0.02)))
    return b.done(b.op("Add", y, b.weight(1, 4, 1, 1)))


def scaled_twice():
    b = QuantisedBuilder()
    scale = b.input("scale")
    product = b.op("MatMulInteger", b.bytes_input("x", 3, 6), b.filters(6, 4))
    y = b.op("Mul", b.op("Mul", b.op("Cast", product, to=1), b.scales(4)), scale)
    return b.done(y)


def scaled_by_rows():
    b = QuantisedBuilder()
    product = b.op("MatMulInteger", b.bytes_input("x", 3, 6), b.filters(6, 4))
    return b.done(b.op("Mul", b.op("Cast", product, to=1), b.weight(3, 1)))


# -- fuse_quantised_epilogues ----------------------------------------------------------------------


def residuals():
    b = QuantisedBuilder()
    x = b.bytes_input("x", 1, 4, 5, 5)
    y = b.ms("QLinearAdd", b.qconv(x, 4), *b.by(0.3, 120), x, *b.by(), *b.by(0.4, 100))
    return b.done(
        b.ms("QLinearAdd", y, *b.by(0.4, 100), b.qconv(y, 4, 3), *b.by(0.3, 120), *b.by())
    )


def tables():
    b = QuantisedBuilder()
    x = b.bytes_input("x", 1, 4, 5, 5)
    wave = (np.arange(256) * 7 % 256).astype(np.uint8)
    y = b.op("LookUp", b.qconv(x, 4), domain="luthier", table=wave)
    clip = np.clip(np.arange(256), 30, 200).astype(np.uint8)
    y = b.ms("QLinearAdd", b.qconv(y, 4), *b.by(0.3, 120), y, *b.by(), *b.by(0.4, 100))
    y = b.op("LookUp", y, domain="luthier", table=clip)
    signed = wave.view(np.int8)
    return b.done(b.op("LookUp", b.qconv(y, 4), domain="luthier", table=signed))


def read_twice_or_broadcast():
    b = QuantisedBuilder()
    x = b.bytes_input("x", 1, 4, 5, 5)
    y = b.qconv(x, 4)
    wide = b.ms("QLinearAdd", y, *b.by(0.3, 120), b.bytes_input("z", 4, 1, 1), *b.by(), *b.by())
    return b.done(b.qconv(wide, 4), y)


# -- dequantize_constants --------------------------------------------------------------------------


def constants():
    b = QuantisedBuilder()
    w = b.op(
        "DequantizeLinear",
        b.filters(4, 3),
        b.const(b.rng.uniform(0.1, 1, (4, 2))),
        axis=1,
        block_size=2,
    )
    return b.done(b.op("Add", b.input("x", 4, 3), w))


CASES = {
    normalise_quantised: [
        gemms,
        unary_tables,
        concatenations,
        softmax,
        dynamic_product,
        few_bits,
        foreign_quantisers,
        channels_last_pools,
    ],
    move_quantisers: [below_moves, global_maximum, split_and_joined, above_moves],
    tabulate_quantised: [
        hard_swish,
        chain,
        another_quantisation,
        same_quantisation,
        tables_in_a_row,
    ],
    fuse_quantised: [
        conv_relu6,
        depthwise_with_float_bias,
        products,
        sums_and_products,
        joined,
        averages,
        float_results,
    ],
    fuse_dynamic_quantised: [dynamic_matmul, dynamic_conv, scaled_twice],
    fuse_quantised_epilogues: [residuals, tables],
    dequantize_constants: [constants],
}
UNTOUCHED = {
    normalise_quantised: [weights_of_the_run],
    move_quantisers: [padding_between_bytes],
    tabulate_quantised: [functions_of_more],
    fuse_quantised: [must_stay_float],
    fuse_dynamic_quantised: [scaled_by_rows],
    fuse_quantised_epilogues: [read_twice_or_broadcast],
}
TOLERANCE = {fuse_quantised: QUANTUM, fuse_dynamic_quantised: 1e-6, normalise_quantised: 1e-6}


@pytest.mark.parametrize(("module", "build"), pairs(CASES))
def test_keeps_values(module, build):
    check_rewrite(module, build, TOLERANCE.get(module, EXACT))


@pytest.mark.parametrize(("module", "build"), pairs(UNTOUCHED))
def test_leaves_alone(module, build):
    check_untouched(module, build)


@pytest.mark.parametrize("module", CASES, ids=name_of)
def test_golden(module):
    check_golden(module, CASES[module])


@pytest.mark.parametrize(("module", "build"), pairs(CASES))
def test_whole_pipeline(module, build):
    """Everything together, layouts too; float operators in other orders, and joined roundings."""
    graph = build()
    feeds = interp.random_feeds(graph)
    before = interp.run(graph, *feeds)
    optimize(graph)
    assert_close(interp.run(graph, *feeds), before, QUANTUM)


def test_a_bias_too_fine_stays_float():
    b = QuantisedBuilder()
    x = b.real("x", 1, 3, 4, 4, scale=100.0)
    graph = b.done(b.q(b.op("Conv", x, b.weights(4, 3, 1, 1), b.weight(4)), 1.0))
    assert fuse_quantised.run(graph)
    assert [n.op for n in graph.nodes] == ["ConvIntegerToFloat", "QuantizeLinear"]
