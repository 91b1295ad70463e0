"""Functions of one byte become tables."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.ops import quant_math
from luthier.graph.passes.quantised import (
    Quantisation,
    look_up,
    quantisation_by,
    quantisation_of,
    table_of,
)
from luthier.graph.passes.rewrite import Rewriter

_UNARY = frozenset(
    "Abs Acos Asin Atan Ceil Celu Clip Cos Elu Erf Exp Floor Gelu HardSigmoid HardSwish LeakyRelu "
    "Log Mish Neg Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Swish Tan "
    "Tanh ThresholdedRelu".split()
)
_WITH_SCALAR = frozenset(("Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub"))
_LONGEST_CHAIN = 8


def run(graph: Graph) -> bool:
    """Rewrite DequantizeLinear, elementwise operators, QuantizeLinear to a LookUp of 256 entries.

    Without operators between them they only change the quantisation; where that stays the same
    nothing is left. Tables that follow each other become one, tables that change nothing go.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("QuantizeLinear"):
        found = _chain(rw, node)
        if found is not None:
            _rewrite(rw, node, *found)
    for node in rw.nodes("LookUp", domain="luthier"):
        _simplify(rw, node)
    return rw.finish()


def _chain(
    rw: Rewriter, quantizer: Node
) -> tuple[list[Node], Value, Quantisation, Quantisation] | None:
    """The operators up to a DequantizeLinear, its bytes, their quantisation and the new one."""
    value, chain = quantizer.inputs[0], list[Node]()
    while len(chain) <= _LONGEST_CHAIN:
        source = quantisation_of(rw, value)
        if source is not None:
            break
        node = value.producer
        if node is None or rw.only_reader(value) is None:
            return None
        operand = _operand(node)
        if operand is None:
            return None
        chain.append(node)
        value = operand
    else:
        return None
    target = quantisation_by(rw, quantizer)
    return None if target is None else (chain[::-1], *source, target)


def _operand(node: Node) -> Value | None:
    """The one operand that `node` is an elementwise function of, else None."""
    if node.domain == "luthier" and node.op == "Silu":
        return node.inputs[0]
    if node.domain or node.output.dtype != np.float32:
        return None
    if node.op in _UNARY:
        bounds = [v for v in node.inputs[1:] if v is not None]
        return node.inputs[0] if all(v.data is not None for v in bounds) else None
    if node.op in _WITH_SCALAR and len(node.inputs) == 2:
        for x, other in (node.inputs, node.inputs[::-1]):
            if x.data is None and x.shape == node.output.shape and other.data is not None:
                return x if other.data.size == 1 else None
    return None


def _rewrite(
    rw: Rewriter,
    quantizer: Node,
    chain: list[Node],
    q: Value,
    source: Quantisation,
    target: Quantisation,
) -> None:
    if not chain and source.same(target) and rw.forward(quantizer.output, q):
        return
    table = table_of(chain, source, target)
    if table is not None:
        look_up(rw, q, table, quantizer.output)


def _simplify(rw: Rewriter, node: Node) -> None:
    x, table = node.inputs[0], node.attrs["table"]
    if table.dtype == x.dtype and np.array_equal(table, quant_math.byte_values(x.dtype)):
        rw.forward(node.output, x)
        return
    before = x.producer
    if before is not None and (before.domain, before.op) == ("luthier", "LookUp"):
        joined = quant_math.look_up(before.attrs["table"], table)
        look_up(rw, before.inputs[0], joined, node.output)
