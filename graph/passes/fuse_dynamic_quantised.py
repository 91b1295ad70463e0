"""Integer products that are scaled at once become products with float results."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.quantised import MICROSOFT
from luthier.graph.passes.rewrite import Rewriter

_FUSED = {
    "ConvInteger": ("ConvIntegerToFloat", "luthier"),
    "MatMulInteger": ("MatMulIntegerToFloat", MICROSOFT),
}


def run(graph: Graph) -> bool:
    """Rewrite MatMulInteger and ConvInteger, Cast to float32, Mul by scales, Add of a bias.

    The scales are a number that a graph may compute and a constant, one number or one a column
    (channel), multiplied with each other first or one after the other; the bias is constant. The
    Add joins a product that has been fused before, too.
    """
    rw = Rewriter(graph)
    for node in rw.nodes(*_FUSED):
        _scale(rw, node)
    for op, domain in _FUSED.values():
        for node in rw.nodes(op, domain=domain):
            _bias(rw, node)
    return rw.finish()


def _scale(rw: Rewriter, node: Node) -> None:
    cast = rw.only_reader(node.output)
    if cast is None or cast.domain or cast.op != "Cast" or cast.output.dtype != np.float32:
        return
    value = cast.output
    number: Value | None = None
    constant: Value | None = None
    while number is None or constant is None:
        mul = rw.only_reader(value)
        if mul is None or mul.domain or mul.op != "Mul" or mul.output.shape != node.output.shape:
            break
        other = mul.inputs[1] if mul.inputs[0] is value else mul.inputs[0]
        factors = _factors(rw, other, node)
        if factors is None or other is value:
            break
        if (factors[0] and number) or (factors[1] and constant):
            break
        number, constant = factors[0] or number, factors[1] or constant
        value = mul.output
    if value is cast.output:
        return
    one = rw.constant("one", 1, np.float32)
    x, w, x_zero, w_zero = [*node.inputs, None, None][:4]
    inputs: list[Any] = [x, w, number or one, constant or one, x_zero, w_zero]
    while inputs[-1] is None:
        inputs.pop()
    op, domain = _FUSED[node.op]
    rw.emit(op, inputs, node.attrs, into=value, domain=domain)


def _factors(rw: Rewriter, value: Value, node: Node) -> tuple[Value | None, Value | None] | None:
    """A factor as (one number of a graph, constant), one of them maybe None."""
    if value.data is not None:
        vector = _vector(rw, value, node)
        return None if vector is None else (None, vector)
    if value.dtype != np.float32:
        return None
    if value.shape in ((), (1,)):
        product = value.producer
        if product is not None and (product.domain, product.op) == ("", "Mul"):
            for a, b in (product.inputs, product.inputs[::-1]):
                if a.data is None and b.data is not None and a.shape in ((), (1,)):
                    return a, b
        return value, None
    product = value.producer
    if product is None or (product.domain, product.op) != ("", "Mul"):
        return None
    for a, b in (product.inputs, product.inputs[::-1]):
        if a.data is None and b.data is not None and a.shape in ((), (1,)):
            vector = _vector(rw, b, node, value.shape)
            return None if vector is None else (a, vector)
    return None


def _vector(
    rw: Rewriter, value: Value, node: Node, shape: tuple[int, ...] | None = None
) -> Value | None:
    """A constant as one number, or as one a channel of the result of `node`; `shape` is that in
    which it meets the result."""
    if value.dtype != np.float32:
        return None
    if value.data.size == 1:
        return (
            value if value.shape in ((), (1,)) else rw.constant(value.name, value.data.reshape(()))
        )
    shape, result = shape or value.shape, node.output.shape
    channel = 1 if node.op.startswith("Conv") else len(result) - 1
    aligned = (*[1] * (len(result) - len(shape)), *shape)
    if any(d != (result[i] if i == channel else 1) for i, d in enumerate(aligned)):
        return None
    return value if len(value.shape) == 1 else rw.constant(value.name, value.data.reshape(-1))


def _bias(rw: Rewriter, node: Node) -> None:
    add = rw.only_reader(node.output)
    if node.input(6) is not None or add is None or (add.domain, add.op) != ("", "Add"):
        return
    if add.attrs or add.output.shape != node.output.shape or "layout" in node.attrs:
        return
    other = add.inputs[1] if add.inputs[0] is node.output else add.inputs[0]
    vector = _vector(rw, other, node) if other.data is not None else None
    if vector is None:
        return
    channels = node.inputs[1].shape[0 if node.op.startswith("Conv") else -1]
    if vector.data.size == 1:
        vector = rw.constant(vector.name, np.full(channels, vector.data.item()), np.float32)
    rw.set_inputs(node, [*[*node.inputs, None][:6], vector])
    rw.set_output(node, add.output)
