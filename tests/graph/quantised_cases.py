"""Quantised graphs of one operator each, for lowering: every operator and the forms it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from quantised_graphs import QuantisedBuilder

from luthier.graph.ir import Graph
from luthier.graph.lowering import quantised

__all__ = ["CASES", "QUANTISED"]

QUANTISED = {domain: set(rules) for domain, rules in quantised.RULES.items()}
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


CASES: list[Build] = [
    quantizers,
    dequantizers,
    dynamic,
    sums,
    tables,
    average_pools,
    global_averages,
    max_pool,
    softmax,
]
