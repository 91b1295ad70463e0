"""Operators between DequantizeLinear and QuantizeLinear become operators on bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.ops import quant_math
from luthier.graph.ops.reduce import reduce_axes
from luthier.graph.passes.quantised import (
    MICROSOFT,
    Quantisation,
    dequantizer,
    look_up,
    quantisation_by,
    quantisation_of,
)
from luthier.graph.passes.rewrite import Rewriter, scalar_of

_LARGEST_BIAS = 2.0**31 - 1
_BIAS_ERROR = 1 / 16
"""In quanta of the result: what rounding a float bias to the accumulator's unit may cost."""


def run(graph: Graph) -> bool:
    """Rewrite by the operators whose results are quantised.

    - Conv, Gemm and MatMul with constant quantised weights (MatMul with quantised results too)
      become QLinearConv and QLinearMatMul, or ConvIntegerToFloat and MatMulIntegerToFloat where
      the result stays float;
    - Add, Mul, Concat, averages over windows and over whole maps become QLinearAdd, QLinearMul,
      Concat, QLinearAveragePool and QLinearGlobalAveragePool;
    - a Relu or Clip before the QuantizeLinear becomes the range of the result (`clamp`).

    A float bias is rounded to the unit of the accumulator; where that could cost more than a
    sixteenth of a quantum the operator stays float. Products get `qdq`: they may be computed
    either way.
    """
    rw = Rewriter(graph)
    for quantizer in rw.nodes("QuantizeLinear"):
        target = quantisation_by(rw, quantizer)
        if target is not None:
            _fuse(rw, quantizer, target)
    for node in rw.nodes(*_TO_FLOAT):
        if node.output.dtype == np.float32:
            _TO_FLOAT[node.op](rw, node)
    return rw.finish()


@dataclass(frozen=True, slots=True)
class Result:
    """What an operator's result becomes: a value of bytes, their quantisation and range."""

    value: Value
    by: Quantisation
    clamp: list[int] | None

    @property
    def attrs(self) -> dict[str, Any]:
        return {} if self.clamp is None else {"clamp": self.clamp}


def _fuse(rw: Rewriter, quantizer: Node, by: Quantisation) -> None:
    """Rewrite what computes the operand of `quantizer`, if nobody else reads it."""
    low, high = quant_math.value_range(by.dtype)
    bounds = low, high
    value = quantizer.inputs[0]
    while True:
        node = value.producer
        if node is None or rw.only_reader(value) is None or node.domain:
            return
        limits = _limits(node)
        if limits is None:
            break
        ends = [int(by.quantize(np.float32(end))) for end in limits]
        low, high = (min(max(bound, ends[0]), ends[1]) for bound in (low, high))
        value = node.inputs[0]
    clamp = None if (low, high) == bounds else [low, high]
    rule = _FUSED.get(node.op)
    if rule is not None and "activation" not in node.attrs:
        rule(rw, node, Result(quantizer.output, by, clamp))


def _limits(node: Node) -> tuple[float, float] | None:
    """The range of a Relu or Clip with constant bounds."""
    if node.op == "Relu":
        return 0.0, np.inf
    if node.op != "Clip":
        return None
    ends = []
    for i, missing in ((1, -np.inf), (2, np.inf)):
        end = missing if node.input(i) is None else scalar_of(node.input(i))
        if end is None or np.isnan(end):
            return None
        ends.append(end)
    return (ends[0], ends[1]) if ends[0] <= ends[1] else None


# -- weights and bias ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Weights:
    """Quantised weights: bytes, scale and zero point of one number or one a channel."""

    q: Value
    scale: Value
    zero: Value


def _weights(rw: Rewriter, value: Value, axis: int) -> Weights | None:
    """Constant weights behind a DequantizeLinear, per tensor or along `axis`."""
    node = dequantizer(value)
    if node is None or node.attrs.get("block_size"):
        return None
    q, scale, zero = node.inputs[0], node.inputs[1], node.input(2)
    if q.dtype not in (np.uint8, np.int8) or q.data is None or scale.data is None:
        return None
    if scale.data.size > 1 and node.attrs.get("axis", 1) % len(q.shape) != axis:
        return None
    if zero is None:
        zero = rw.constant("zero", np.zeros(scale.shape, q.dtype))
    return None if zero.data is None else Weights(q, scale, zero)


def _bias_numbers(value: Value | None) -> np.ndarray | None:
    """A constant bias in float64, also one behind a DequantizeLinear of int32."""
    if value is None or value.data is not None:
        return None if value is None else value.data.astype(np.float64)
    node = dequantizer(value)
    if node is None or any(v is not None and v.data is None for v in node.inputs):
        return None
    zero = 0 if node.input(2) is None else node.inputs[2].data.astype(np.float64)
    q, scale = node.inputs[0].data.astype(np.float64), node.inputs[1].data
    return (q - zero) * scale.reshape(-1) if scale.size > 1 else (q - zero) * float(scale.item())


def _int_bias(
    rw: Rewriter, value: Value | None, x: Quantisation, w: Weights, y: Quantisation
) -> tuple[Value | None] | None:
    """The bias in units of the accumulator, in a tuple; None if that would cost too much."""
    if value is None:
        return (None,)
    numbers = _bias_numbers(value)
    if numbers is None:
        return None
    unit = x.numbers[0].astype(np.float64) * w.scale.data.astype(np.float64)
    exact = numbers / unit
    rounded = np.rint(exact)
    cost = np.abs(exact - rounded) * unit / y.numbers[0]
    fits = np.isfinite(exact).all() and np.abs(rounded).max(initial=0) <= _LARGEST_BIAS
    if not fits or cost.max(initial=0) > _BIAS_ERROR:
        return None
    return (rw.constant(value.name, rounded, np.int32),)


# -- products --------------------------------------------------------------------------------------


def _product(
    rw: Rewriter,
    op: str,
    x: tuple[Value, Quantisation],
    w: Weights,
    bias: Value | None,
    attrs: dict[str, Any],
    result: Result,
) -> None:
    (q, by), added = x, _int_bias(rw, bias, x[1], w, result.by)
    if added is None:
        return
    inputs = [q, by.scale, by.zero, w.q, w.scale, w.zero, result.by.scale, result.by.zero]
    if added[0] is not None:
        inputs.append(added[0])
    rw.emit(op, inputs, {**attrs, **result.attrs, "qdq": 1}, into=result.value)


def _conv(rw: Rewriter, node: Node, result: Result) -> None:
    x, w = quantisation_of(rw, node.inputs[0]), _weights(rw, node.inputs[1], 0)
    if x is not None and w is not None:
        _product(rw, "QLinearConv", x, w, node.input(2), node.attrs, result)


def _gemm(rw: Rewriter, node: Node, result: Result) -> None:
    found = _gemm_operands(rw, node)
    if found is not None:
        x, w, bias = found
        _product(rw, "QLinearMatMul", x, w, bias, {}, result)


def _gemm_operands(
    rw: Rewriter, node: Node
) -> tuple[tuple[Value, Quantisation], Weights, Value | None] | None:
    """Operands of a Gemm as x (m, k), w (k, n) and bias (n,)."""
    a = node.attrs
    if a.get("transA") or a.get("alpha", 1.0) != 1 or a.get("beta", 1.0) != 1:
        return None
    x = quantisation_of(rw, node.inputs[0])
    w = _weights(rw, node.inputs[1], 0 if a.get("transB") else 1)
    bias = node.input(2)
    if x is None or w is None or (bias is not None and bias.shape != node.output.shape[1:]):
        return None
    if a.get("transB"):
        w = Weights(rw.constant(w.q.name, np.ascontiguousarray(w.q.data.T)), w.scale, w.zero)
    return x, w, bias


def _matmul(rw: Rewriter, node: Node, result: Result, bias: Value | None = None) -> None:
    a = quantisation_of(rw, node.inputs[0])
    b = node.inputs[1]
    w = _weights(rw, b, len(b.shape) - 1)
    if w is None:
        other = quantisation_of(rw, b)
        w = None if other is None else Weights(other[0], other[1].scale, other[1].zero)
    if a is not None and w is not None and min(len(v.shape) for v in node.inputs) > 1:
        _product(rw, "QLinearMatMul", a, w, bias, {}, result)


# -- elementwise -----------------------------------------------------------------------------------


def _add(rw: Rewriter, node: Node, result: Result) -> None:
    for value, bias in (node.inputs, node.inputs[::-1]):
        product = value.producer
        if (
            product is not None
            and (product.domain, product.op) == ("", "MatMul")
            and rw.only_reader(value) is node
            and bias.shape == node.output.shape[-1:]
            and _bias_numbers(bias) is not None
        ):
            _matmul(rw, product, result, bias)
            return
    _binary(rw, node, result)


def _binary(rw: Rewriter, node: Node, result: Result) -> None:
    operands = [quantisation_of(rw, v) for v in node.inputs]
    inputs: list[Value] = []
    for found in operands:
        if found is None or found[1].dtype != result.by.dtype:
            return
        inputs += [found[0], found[1].scale, found[1].zero]
    inputs += [result.by.scale, result.by.zero]
    op = "QLinearAdd" if node.op == "Add" else "QLinearMul"
    rw.emit(op, inputs, result.attrs, into=result.value, domain=MICROSOFT)


def _concat(rw: Rewriter, node: Node, result: Result) -> None:
    operands = [quantisation_of(rw, v) for v in node.inputs]
    if any(found is None for found in operands):
        return
    inputs = []
    for found in operands:
        assert found is not None
        q, by = found
        if not by.same(result.by) or result.clamp is not None:
            table = result.by.quantize(by.dequantize(quant_math.byte_values(by.dtype)))
            if result.clamp is not None:
                table = np.clip(table, *np.array(result.clamp, table.dtype))
            q = look_up(rw, q, table)
        inputs.append(q)
    rw.emit("Concat", inputs, node.attrs, into=result.value)


# -- averages --------------------------------------------------------------------------------------


def _average(rw: Rewriter, node: Node, result: Result) -> None:
    x = quantisation_of(rw, node.inputs[0])
    plain = all(d == 1 for d in node.attrs.get("dilations") or [])
    if x is None or x[1].dtype != result.by.dtype or result.clamp is not None or not plain:
        return
    attrs = {k: v for k, v in node.attrs.items() if k != "dilations"}
    inputs = [x[0], x[1].scale, x[1].zero, result.by.scale, result.by.zero]
    rw.emit("QLinearAveragePool", inputs, attrs, into=result.value, domain=MICROSOFT)


def _mean(rw: Rewriter, node: Node, result: Result) -> None:
    x = quantisation_of(rw, node.inputs[0])
    shape = node.inputs[0].shape
    over_maps = len(shape) >= 3 and reduce_axes(node) == list(range(2, len(shape)))
    if x is None or x[1].dtype != result.by.dtype or result.clamp is not None or not over_maps:
        return
    inputs = [x[0], x[1].scale, x[1].zero, result.by.scale, result.by.zero]
    pooled = (*shape[:2], *[1] * (len(shape) - 2))
    if pooled == result.value.shape:
        rw.emit("QLinearGlobalAveragePool", inputs, into=result.value, domain=MICROSOFT)
    else:
        pool = rw.emit(
            "QLinearGlobalAveragePool",
            inputs,
            like=result.value,
            shape=pooled,
            domain=MICROSOFT,
        )
        rw.reshape(pool, into=result.value)


_FUSED: dict[str, Callable[[Rewriter, Node, Result], None]] = {
    "Add": _add,
    "AveragePool": _average,
    "Concat": _concat,
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Mul": _binary,
    "ReduceMean": _mean,
}

# -- float results ---------------------------------------------------------------------------------


def _conv_to_float(rw: Rewriter, node: Node) -> None:
    x, w = quantisation_of(rw, node.inputs[0]), _weights(rw, node.inputs[1], 0)
    if x is not None and w is not None:
        _to_float(rw, node, "ConvIntegerToFloat", x, w, node.input(2), node.attrs, "luthier")


def _gemm_to_float(rw: Rewriter, node: Node) -> None:
    found = _gemm_operands(rw, node)
    if found is not None:
        _to_float(rw, node, "MatMulIntegerToFloat", *found, {}, MICROSOFT)


def _matmul_to_float(rw: Rewriter, node: Node) -> None:
    w = node.inputs[1]
    x, weights = quantisation_of(rw, node.inputs[0]), _weights(rw, w, len(w.shape) - 1)
    if x is not None and weights is not None and len(w.shape) == 2 <= len(x[0].shape):
        _to_float(rw, node, "MatMulIntegerToFloat", x, weights, None, {}, MICROSOFT)


def _to_float(
    rw: Rewriter,
    node: Node,
    op: str,
    x: tuple[Value, Quantisation],
    w: Weights,
    bias: Value | None,
    attrs: dict[str, Any],
    domain: str,
) -> None:
    (q, by), numbers = x, _bias_numbers(bias)
    if {"activation", "residual", "layout", "bias"} & node.attrs.keys():
        return
    if bias is not None and numbers is None:
        return
    inputs = [q, w.q, by.scale, w.scale, by.zero, w.zero]
    if numbers is not None:
        inputs.append(rw.constant("bias", numbers, np.float32))
    rw.emit(op, inputs, {**attrs, "qdq": 1}, into=node.output, domain=domain)


_TO_FLOAT: dict[str, Callable[[Rewriter, Node], None]] = {
    "Conv": _conv_to_float,
    "Gemm": _gemm_to_float,
    "MatMul": _matmul_to_float,
}
