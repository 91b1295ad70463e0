"""Spell operators that have a simpler equivalent by it."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.rewrite import Rewriter, constant_of, scalar_of

_BINARY_OF = {"Max": "Max", "Mean": "Add", "Min": "Min", "Sum": "Add"}


def run(graph: Graph) -> bool:
    """Lower global pools, shape operators, n-ary operators and constant arithmetic.

    Division by a constant becomes multiplication by the rounded reciprocal, which moves a result
    by at most one more rounding.
    """
    rw = Rewriter(graph)
    for node in rw.nodes(*_RULES):
        _RULES[node.op](rw, node)
    return rw.finish()


def _global_pool(reduction: str) -> Callable[[Rewriter, Node], None]:
    def rule(rw: Rewriter, node: Node) -> None:
        x = node.inputs[0]
        axes = rw.constant("axes", range(2, len(x.shape)), np.int64)
        rw.emit(reduction, [x, axes], {"keepdims": 1}, into=node.output)

    return rule


def _reshape(rw: Rewriter, node: Node) -> None:
    """Flatten, Squeeze, Unsqueeze and every Reshape: to the known shape, as a constant."""
    shape = node.output.shape
    if node.op == "Reshape":
        target = constant_of(node.inputs[1])
        as_written = 0 not in shape or node.attrs.get("allowzero")
        if as_written and target is not None and tuple(target.tolist()) == shape:
            return
    rw.reshape(node.inputs[0], into=node.output)


def _n_ary(rw: Rewriter, node: Node) -> None:
    count = len(node.inputs)
    op = _BINARY_OF[node.op]
    if count < 2 or (count == 2 and op == node.op):
        return

    def join(a: Value, b: Value) -> Value:
        return rw.emit(op, [a, b], like=node.output, shape=np.broadcast_shapes(a.shape, b.shape))

    if node.op == "Mean":
        total = reduce(join, node.inputs)
        share = rw.constant("share", 1 / count, node.output.dtype)
        rw.emit("Mul", [total, share], into=node.output)
    else:
        head = reduce(join, node.inputs[1:-1], node.inputs[0])
        rw.emit(op, [head, node.inputs[-1]], into=node.output)


def _div(rw: Rewriter, node: Node) -> None:
    divisor = constant_of(node.inputs[1])
    if divisor is None or divisor.dtype not in (np.float32, np.float64):
        return
    with np.errstate(all="ignore"):
        inverse = (1 / divisor.astype(np.float64)).astype(divisor.dtype)
    if not np.isfinite(inverse).all() or (np.abs(inverse) < np.finfo(divisor.dtype).tiny).any():
        return
    rw.emit("Mul", [node.inputs[0], rw.constant("inverse", inverse)], node.attrs, into=node.output)


def _sub(rw: Rewriter, node: Node) -> None:
    subtrahend = constant_of(node.inputs[1])
    if subtrahend is None or subtrahend.dtype.kind != "f":
        return
    negative = rw.constant("negative", -subtrahend)
    rw.emit("Add", [node.inputs[0], negative], node.attrs, into=node.output)


def _pow(rw: Rewriter, node: Node) -> None:
    x, exponent = node.inputs[0], scalar_of(node.inputs[1])
    if x.shape != node.output.shape or x.dtype.kind != "f":
        return
    if exponent == 2:
        rw.emit("Mul", [x, x], into=node.output)
    elif exponent == 1:
        rw.emit("Identity", [x], into=node.output)
    elif exponent == 0.5:
        rw.emit("Sqrt", [x], into=node.output)
    elif exponent == -1:
        rw.emit("Reciprocal", [x], into=node.output)


_RULES: dict[str, Callable[[Rewriter, Node], None]] = {
    "Div": _div,
    "Flatten": _reshape,
    "GlobalAveragePool": _global_pool("ReduceMean"),
    "GlobalMaxPool": _global_pool("ReduceMax"),
    "Max": _n_ary,
    "Mean": _n_ary,
    "Min": _n_ary,
    "Pow": _pow,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Sub": _sub,
    "Sum": _n_ary,
    "Unsqueeze": _reshape,
}
