"""Recognise layer normalisation spelled out in arithmetic."""

from __future__ import annotations

import math

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.rewrite import Rewriter, constant_of, ints_of, is_float, scalar_of


def run(graph: Graph) -> bool:
    """Replace ``(x - mean(x)) / sqrt(var(x) + eps) * scale + bias`` by LayerNormalization.

    Mean and variance are over trailing axes; scale and bias are optional constants of their
    shape.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("Div"):
        if is_float(node.output):
            _rewrite(rw, node)
    return rw.finish()


def _rewrite(rw: Rewriter, division: Node) -> None:
    centred, deviation = division.inputs
    subtraction = _producer(centred, "Sub")
    root = _producer(deviation, "Sqrt")
    addition = _producer(root.inputs[0], "Add") if root else None
    if subtraction is None or addition is None:
        return
    x, mean = subtraction.inputs
    axis = _mean_axis(mean, x)
    variance, epsilon = _with_scalar(addition)
    if axis is None or epsilon is None or _mean_axis(variance, None) != axis:
        return
    if not _is_square(variance.producer.inputs[0], centred):
        return

    shape = x.shape[axis:]
    last, scale, bias = division, np.ones(shape, np.float32), None
    for op in ("Mul", "Add"):
        step = rw.only_reader(last.output)
        parameter = _parameter(step, op, last.output, shape) if step else None
        if step and parameter is not None:
            last = step
            scale, bias = (parameter, bias) if op == "Mul" else (scale, parameter)
    inputs = [x, rw.constant("scale", scale)]
    if bias is not None:
        inputs.append(rw.constant("bias", bias))
    attrs = {"axis": axis - len(x.shape), "epsilon": epsilon}
    rw.emit("LayerNormalization", inputs, attrs, into=last.output)


def _producer(value: Value | None, op: str) -> Node | None:
    node = None if value is None else value.producer
    return node if node is not None and node.op == op and not node.domain else None


def _mean_axis(value: Value, x: Value | None) -> int | None:
    """The first of the trailing axes that `value` is the kept-dims mean over (of `x`)."""
    node = _producer(value, "ReduceMean")
    if node is None or not node.attrs.get("keepdims", 1) or x not in (None, node.inputs[0]):
        return None
    rank = len(value.shape)
    axes = sorted(a % rank for a in ints_of(node.input(1)) or ())
    return axes[0] if axes and axes == list(range(axes[0], rank)) else None


def _with_scalar(addition: Node) -> tuple[Value, float | None]:
    for value, constant in (addition.inputs, addition.inputs[::-1]):
        number = scalar_of(constant)
        if number is not None and number > 0 and math.isfinite(number):
            return value, number
    return addition.inputs[0], None


def _is_square(value: Value, centred: Value) -> bool:
    product = _producer(value, "Mul")
    if product is not None:
        return product.inputs[0] is centred and product.inputs[1] is centred
    power = _producer(value, "Pow")
    return power is not None and power.inputs[0] is centred and scalar_of(power.inputs[1]) == 2


def _parameter(step: Node, op: str, x: Value, shape: tuple[int, ...]) -> np.ndarray | None:
    """The constant operand of `step`, broadcast to the normalised shape."""
    if step.op != op or step.domain or step.output.shape != x.shape:
        return None
    a, b = step.inputs
    data = constant_of(b if a is x else a)
    if data is None or (1,) * (data.ndim - len(shape)) != data.shape[: -len(shape)]:
        return None
    return np.broadcast_to(data.reshape(data.shape[-len(shape) :]), shape).copy()
