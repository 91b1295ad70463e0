"""Quantised graphs of one operator each, for lowering: every operator and the forms it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from quantised_graphs import QuantisedBuilder

from luthier.graph.ir import Graph
from luthier.graph.lowering import quant_products, quantised

__all__ = ["CASES", "QUANTISED"]

QUANTISED = {
    domain: {*rules, *quant_products.RULES[domain]} for domain, rules in quantised.RULES.items()
}
"""Operators with a rule of their own, by domain."""

Build = Callable[[], Graph]


def quantizers() -> Graph:
    b = QuantisedBuilder()
    x = b.input("x", 3, 5, 37)
    scale, zero = b.const(np.linspace(0.01, 0.02, 5)), b.const(range(5), np.int8)
    parts = [b.q(x, 0.02, zero, dtype) for zero, dtype in ((7, np.uint8), (-3, np.int16))]
    parts.append(b.op("QuantizeLinear", x, scale, zero, axis=1))
    blocks = b.positive(3, 5, 10)
    return b.done(*parts, b.op("QuantizeLinear", x, blocks, axis=2, block_size=4))


def dequantizers() -> Graph:
    b = QuantisedBuilder()
    x, y = b.bytes_input("x", 3, 5, 37), b.bytes_input("y", 3, 5, 37, dtype=np.int8)
    scale, zero = b.positive(5), b.const(range(5), np.int8)
    wide = b.op("DequantizeLinear", b.input("z", 40, dtype=np.int32), b.const(0.125))
    per_axis = b.op("DequantizeLinear", y, scale, zero, axis=-2)
    blocks = b.op("DequantizeLinear", y, b.positive(3, 2, 37), axis=1, block_size=3)
    return b.done(b.dq(x), b.dq(y, 0.3, -4), wide, per_axis, blocks)


def dynamic() -> Graph:
    b = QuantisedBuilder()
    return b.done(*b.op("DynamicQuantizeLinear", b.input("x", 3, 50), results=3))


def sums() -> Graph:
    b = QuantisedBuilder()
    x, y = b.bytes_input("x", 2, 5, 7, 19), b.bytes_input("y", 2, 5, 7, 19)
    row = b.bytes_input("z", 19)
    column = b.bytes_input("w", 5, 1, 1)
    every = []
    for op in ("QLinearAdd", "QLinearMul"):
        for left, right in ((x, y), (x, row), (column, x), (row, column)):
            operands = left, *b.by(0.11, 100), right, *b.by(0.07, 90), *b.by(0.3, 120)
            every.append(b.ms(op, *operands))
            every.append(b.ms(op, *operands, clamp=[110, 140]))
    return b.done(*every)


def tables() -> Graph:
    b = QuantisedBuilder()
    table = (np.arange(256) * 7 % 256).astype(np.uint8)
    x = b.bytes_input("x", 3, 50)
    signed = b.op("LookUp", x, domain="luthier", table=table.view(np.int8))
    return b.done(b.op("LookUp", signed, domain="luthier", table=table))


def average_pools() -> Graph:
    b = QuantisedBuilder()
    x = b.bytes_input("x", 2, 7, 6, 20, dtype=np.int8)
    by = *b.by(0.1, 7, np.int8), *b.by(0.09, 3, np.int8)
    window: dict[str, Any] = {"kernel_shape": [3, 2], "pads": [1, 1, 0, 1], "strides": [2, 1]}
    window |= {"dilations": [1, 1], "layout": "NHWC"}
    inside = b.ms("QLinearAveragePool", x, *by, **window)
    padded = b.ms("QLinearAveragePool", x, *by, count_include_pad=1, **window)
    return b.done(inside, padded)


def global_averages() -> Graph:
    b = QuantisedBuilder()
    last, first = b.bytes_input("x", 2, 5, 6, 20), b.bytes_input("y", 2, 20, 5, 6)
    by = *b.by(0.1, 7), *b.by(0.03, 30)
    op = "QLinearGlobalAveragePool"
    return b.done(b.ms(op, last, *by, layout="NHWC"), b.ms(op, first, *by))


def max_pool() -> Graph:
    b = QuantisedBuilder()
    x, y = b.bytes_input("x", 1, 7, 6, 20), b.bytes_input("y", 1, 7, 6, 20, dtype=np.int8)
    window: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}
    window |= {"dilations": [1, 1], "layout": "NHWC"}
    return b.done(*(b.op("MaxPool", v, **window) for v in (x, y)))


def softmax() -> Graph:
    b = QuantisedBuilder()
    x = b.bytes_input("x", 3, 4, 25)
    by = *b.by(), b.const(1 / 256), b.const(0, np.uint8)
    return b.done(*(b.ms("QLinearSoftmax", x, *by, axis=a, opset=o) for a, o in ((2, 13), (1, 11))))


def window(size: int, **attrs: Any) -> dict[str, Any]:
    given = {"kernel_shape": [size, size], "strides": [1, 1], "dilations": [1, 1], "group": 1}
    return {**given, "pads": [size // 2] * 4, "layout": "NHWC", **attrs}


def quantised_convolutions() -> Graph:
    b = QuantisedBuilder()
    x = b.bytes_input("x", 1, 9, 8, 12)
    y = b.bytes_input("y", 1, 9, 8, 20)
    wave = (np.arange(256) * 7 % 256).astype(np.uint8)
    every = []
    for size, attrs in ((1, {}), (3, {}), (3, {"strides": [2, 2]}), (3, {"group": 4})):
        w = b.filters(20, 12 // attrs.get("group", 1), size, size)
        by = *b.by(0.1, 120), w, b.scales(20), b.const(np.zeros(20), np.int8), *b.by(3.0, 99)
        bias = b.const(b.rng.integers(-9999, 9999, 20), np.int32)
        whole = window(size, **attrs)
        every.append(b.op("QLinearConv", x, *by, bias, clamp=[90, 200], **whole))
        if "strides" not in attrs:
            sums = *b.by(2.0, 80), *b.by(4.0, 100)
            for first in (0, 1):
                more = {"residual": 1, "residual_first": first, "sum_clamp": [50, 190]}
                every.append(
                    b.op("QLinearConv", x, *by, bias, y, *sums, table=wave, **more, **whole)
                )
    w = b.filters(12, 1, 3, 3, dtype=np.uint8)
    by = *b.by(0.1, 120), w, *b.by(0.01, 130), *b.by(0.6, 99)
    return b.done(*every, b.op("QLinearConv", x, *by, **window(3, group=12)))


def integer_convolutions() -> Graph:
    b = QuantisedBuilder()
    x = b.bytes_input("x", 1, 9, 8, 12, dtype=np.int8)
    zero, scale = b.input("zero", dtype=np.int8), b.input("scale")
    w, depth = b.filters(20, 12, 3, 3), b.filters(12, 1, 3, 3)
    plain = b.op("ConvInteger", x, w, zero, **window(3))
    deep = b.op("ConvInteger", x, depth, b.const(-3, np.int8), **window(3, group=12))
    zeros = b.const(range(20), np.int8)
    operands = x, w, scale, b.scales(20), zero, zeros, b.weight(20)
    real = b.op("ConvIntegerToFloat", *operands, domain="luthier", **window(3))
    operands = x, w, b.const(0.1), b.const(0.01)
    return b.done(
        plain, deep, real, b.op("ConvIntegerToFloat", *operands, domain="luthier", **window(3))
    )


def quantised_products() -> Graph:
    b = QuantisedBuilder()
    x, w = b.bytes_input("x", 2, 7, 37), b.filters(37, 21)
    by = *b.by(0.1, 120), w, b.scales(21), b.const(np.zeros(21), np.int8), *b.by(2.0, 99)
    bias = b.const(b.rng.integers(-9999, 9999, 21), np.int32)
    plain = b.op("QLinearMatMul", x, *by, bias)
    residual = b.bytes_input("r", 2, 7, 21)
    sums = *b.by(2.0, 80), *b.by(3.0, 100)
    summed = b.op("QLinearMatMul", x, *by, None, residual, *sums, residual=1)
    other = b.bytes_input("y", 2, 37, 5, dtype=np.int8)
    both = b.op("QLinearMatMul", x, *b.by(0.1, 120), other, *b.by(0.1, 3, np.int8), *b.by(9.0, 99))
    return b.done(plain, summed, both)


def integer_products() -> Graph:
    b = QuantisedBuilder()
    x, w = b.bytes_input("x", 7, 37), b.filters(37, 21, dtype=np.uint8)
    zero, scale = b.input("zero", 1, dtype=np.uint8), b.input("scale", 1)
    zeros = b.const(range(21), np.uint8)
    plain = b.op("MatMulInteger", x, w, zero, zeros)
    late = b.op("MatMulInteger", x, b.bytes_input("y", 37, 5), b.const(3, np.uint8))
    real = b.ms("MatMulIntegerToFloat", x, w, scale, b.scales(21), zero, zeros, b.weight(21))
    return b.done(plain, late, real)


def few_bits() -> Graph:
    """Floats that are exact in every order: whole numbers times a power of two."""
    b = QuantisedBuilder()
    x = b.op("Cast", b.bytes_input("x", 2, 3, 40), to=1, dtype=np.float32)
    outputs = []
    for bits, zeros in ((4, False), (4, True), (2, False), (2, True)):
        packed = b.const(b.rng.integers(0, 256, (19, 3, 2 * bits)), np.uint8)
        zero = b.const(b.rng.integers(0, 256, (19, -(-3 * bits // 8))), np.uint8)
        operands = [x, packed, b.const(np.full((19, 3), 0.125)), zero if zeros else None]
        outputs.append(b.ms("MatMulNBits", *operands, N=19, K=40, bits=bits, block_size=16))
    return b.done(*outputs)


CASES: list[Build] = [
    quantised_convolutions,
    integer_convolutions,
    quantised_products,
    integer_products,
    quantizers,
    dequantizers,
    dynamic,
    sums,
    tables,
    average_pools,
    global_averages,
    max_pool,
    softmax,
    few_bits,
]
