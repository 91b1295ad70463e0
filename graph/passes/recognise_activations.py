"""Recognise activations spelled out in arithmetic and name them.

Afterwards they are Relu, Clip, LeakyRelu, HardSigmoid, HardSwish, Gelu or ``luthier.Silu``
(``x * sigmoid(x)``). Every rule looks at one node and its operands; spellings in several steps
meet by running the pass again, because each step leaves a simpler product behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.rewrite import Rewriter, fits_float, is_float, scalar_of

_TOLERANCE = 1e-6
_LONGEST_LINE = 4


@dataclass(frozen=True, slots=True)
class Line:
    """``a * root + b``."""

    root: Value
    a: float
    b: float


def run(graph: Graph) -> bool:
    """Replace spelled-out float32 activations by the canonical operators."""
    rw = Rewriter(graph)
    for node in rw.nodes(*_RULES):
        if is_float(node.output) and "activation" not in node.attrs:
            _RULES[node.op](rw, node)
    return rw.finish()


def _line(rw: Rewriter, value: Value, stop: Value | None = None) -> Line:
    """Follow Mul and Add by scalars upwards from `value`.

    The walk ends at `stop`, or where it meets another operator or, without `stop`, a value that
    others read too.
    """
    a, b = 1.0, 0.0
    for _ in range(_LONGEST_LINE):
        if value is stop or (stop is None and rw.only_reader(value) is None):
            break
        step = _scalar_step(value)
        if step is None:
            break
        value, factor, addend = step
        a, b = a * factor, b + a * addend
    return Line(value, a, b)


def _scalar_step(value: Value) -> tuple[Value, float, float] | None:
    """``value = other * factor + addend``, if a Mul or Add by a scalar computes it."""
    node = value.producer
    if node is None or node.domain or node.op not in ("Mul", "Add") or node.attrs:
        return None
    for other, constant in (node.inputs, node.inputs[::-1]):
        number = scalar_of(constant)
        if number is not None and other.shape == value.shape and not other.is_const:
            return (other, number, 0.0) if node.op == "Mul" else (other, 1.0, number)
    return None


def _bounds(node: Node | None) -> tuple[float, float] | None:
    """Low and high of a Clip or Relu; None where they are not constant."""
    if node is None or node.domain or node.op not in ("Clip", "Relu"):
        return None
    if node.op == "Relu":
        return 0.0, math.inf
    ends = []
    for i, missing in ((1, -math.inf), (2, math.inf)):
        end = missing if node.input(i) is None else scalar_of(node.input(i))
        if end is None or math.isnan(end):
            return None
        ends.append(end)
    return ends[0], ends[1]


def _gate(rw: Rewriter, value: Value, x: Value) -> tuple[float, float, float] | None:
    """``value = k * hard_sigmoid(x; a, b)`` as (k, a, b)."""
    node = value.producer
    if node is None or node.domain:
        return None
    if node.op == "HardSigmoid":
        line = _line(rw, node.inputs[0], x)
        alpha, beta = node.attrs.get("alpha", 0.2), node.attrs.get("beta", 0.5)
        return (1.0, alpha * line.a, alpha * line.b + beta) if line.root is x else None
    bounds = _bounds(node)
    if bounds is None or bounds[0] != 0 or not 0 < bounds[1] < math.inf:
        return None
    line, high = _line(rw, node.inputs[0], x), bounds[1]
    return (high, line.a / high, line.b / high) if line.root is x else None


def _product(rw: Rewriter, node: Node) -> None:
    """x * gate(x), and Mul by scalars that meet."""
    for a, b in (node.inputs, node.inputs[::-1]):
        number = scalar_of(b)
        if number is not None:
            _scaled(rw, node, a, number)
            return
    for x, gate in (node.inputs, node.inputs[::-1]):
        step = _scalar_step(x) if x.producer is not None and x.producer.op == "Mul" else None
        roots = [(x, 1.0)] if step is None else [(x, 1.0), (step[0], step[1])]
        for root, factor in roots:
            if root.shape == node.output.shape and _self_gated(rw, node, root, gate, factor):
                return


def _self_gated(rw: Rewriter, node: Node, x: Value, gate: Value, factor: float) -> bool:
    """Rewrite ``factor * x * gate`` if the gate is a known function of `x`."""
    source = gate.producer
    if source is None or source.domain:
        return False
    hard = _gate(rw, gate, x)
    if hard is not None and _near(hard[1], 1 / 6) and _near(hard[2], 1 / 2):
        _emit_scaled(rw, node, "HardSwish", x, factor * hard[0])
        return True
    if source.op == "Sigmoid" and source.inputs[0] is x:
        _emit_scaled(rw, node, "Silu", x, factor, domain="luthier")
        return True
    step = _scalar_step(gate)
    scale = 1.0
    if step is not None and source.op == "Mul":
        gate, scale, _ = step
        step = _scalar_step(gate)
    if step is not None and _near(step[2], 1) and _is_erf_of_root_half(rw, step[0], x):
        _emit_scaled(rw, node, "Gelu", x, 2 * scale * factor)
        return True
    return False


def _is_erf_of_root_half(rw: Rewriter, value: Value, x: Value) -> bool:
    node = value.producer
    if node is None or node.op != "Erf" or node.domain:
        return False
    line = _line(rw, node.inputs[0], x)
    return line.root is x and _near(line.a, math.sqrt(0.5)) and line.b == 0


def _emit_scaled(
    rw: Rewriter, node: Node, op: str, x: Value, factor: float, domain: str = ""
) -> None:
    if _near(factor, 1):
        rw.emit(op, [x], into=node.output, domain=domain)
    else:
        result = rw.emit(op, [x], like=node.output, domain=domain)
        rw.emit("Mul", [result, rw.constant("factor", factor, np.float32)], into=node.output)


def _scaled(rw: Rewriter, node: Node, x: Value, number: float) -> None:
    """x * number: a product of two scalars, or a gate whose range becomes 0 .. 1."""
    if x.shape != node.output.shape or rw.only_reader(x) is None:
        return
    source = x.producer
    if source is not None and source.op == "Mul" and (step := _scalar_step(x)) is not None:
        factor = step[1] * number
        if _near(factor, 1):
            rw.forward(node.output, step[0])
        elif fits_float(np.float64(factor)):
            constant = rw.constant("factor", factor, np.float32)
            rw.emit("Mul", [step[0], constant], into=node.output)
        return
    bounds = _bounds(source)
    if bounds is not None and bounds[0] == 0 and _near(bounds[1] * number, 1):
        line = _line(rw, source.inputs[0])
        _hard_sigmoid(rw, node, line.root, line.a * number, line.b * number)


def _clip(rw: Rewriter, node: Node) -> None:
    """Clip and Relu: joined with the one before, then named by their bounds."""
    bounds = _bounds(node)
    if bounds is None:
        return
    low, high = bounds
    x = node.inputs[0]
    before = _bounds(x.producer)
    if before is not None and rw.only_reader(x) is node and before[0] <= before[1]:
        low, high = (min(max(b, low), high) for b in before)
        _emit_clip(rw, node, x.producer.inputs[0], low, high)
    elif node.op == "Clip" and (low, high) == (0.0, 1.0):
        line = _line(rw, x)
        if line.root is not x:
            _hard_sigmoid(rw, node, line.root, line.a, line.b)
    elif node.op == "Clip" and (low, high) == (0.0, math.inf):
        _emit_clip(rw, node, x, low, high)


def _emit_clip(rw: Rewriter, node: Node, x: Value, low: float, high: float) -> None:
    if (low, high) == (0.0, math.inf):
        rw.emit("Relu", [x], into=node.output)
        return
    ends = [
        None if math.isinf(end) else rw.constant(name, end, np.float32)
        for name, end in (("low", low), ("high", high))
    ]
    rw.emit("Clip", [x, *ends], into=node.output)


def _hard_sigmoid(rw: Rewriter, node: Node, x: Value, alpha: float, beta: float) -> None:
    rw.emit("HardSigmoid", [x], {"alpha": alpha, "beta": beta}, into=node.output)


def _extremum(rw: Rewriter, node: Node) -> None:
    """Max and Min with a scalar."""
    if len(node.inputs) != 2:
        return
    for x, bound in (node.inputs, node.inputs[::-1]):
        number = scalar_of(bound)
        if number is not None and math.isfinite(number) and x.shape == node.output.shape:
            low, high = (number, math.inf) if node.op == "Max" else (-math.inf, number)
            _emit_clip(rw, node, x, low, high)
            return


def _prelu(rw: Rewriter, node: Node) -> None:
    slope = scalar_of(node.inputs[1])
    if slope is not None:
        rw.emit("LeakyRelu", node.inputs[:1], {"alpha": slope}, into=node.output)


def _near(number: float, target: float) -> bool:
    return abs(number - target) <= _TOLERANCE * abs(target)


_RULES: dict[str, Callable[[Rewriter, Node], None]] = {
    "Clip": _clip,
    "Max": _extremum,
    "Min": _extremum,
    "Mul": _product,
    "PRelu": _prelu,
    "Relu": _clip,
}
