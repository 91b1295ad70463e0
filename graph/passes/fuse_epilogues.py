"""Fuse the residual addition and the activation behind an operator into the operator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from luthier.graph.ir import Graph, Node
from luthier.graph.passes.rewrite import Rewriter, is_float, scalar_of

_WITH_RESIDUAL = ("Conv", "Gemm", "MatMul")
_WITH_ACTIVATION = (*_WITH_RESIDUAL, "ConvTranspose", "Add", "Mul")
_LIMITS = np.finfo(np.float32)


def run(graph: Graph) -> bool:
    """Fuse ``activation(op(...) + residual)`` for float32.

    The residual has exactly the result's shape and becomes the last input, after the bias (None
    where there is none), marked by the attribute ``residual = 1``; the activation becomes the
    attributes ``activation`` and ``activation_params``. What is fused must have no other reader.
    """
    rw = Rewriter(graph)
    for node in list(graph.nodes):
        if not is_float(*node.outputs) or "activation" in node.attrs:
            continue
        if node.op == "Add" and not node.domain:
            _fuse_residual(rw, node)
        else:
            _fuse_activation(rw, node)
    return rw.finish()


def _fuse_residual(rw: Rewriter, add: Node) -> None:
    """Let the operand computed last take in the other one, so that fewer results must wait."""
    a, b = add.inputs
    if a is b or a.shape != b.shape:
        return
    for value, residual in ((b, a), (a, b)):
        node = value.producer
        if (
            node is not None
            and node.op in _WITH_RESIDUAL
            and not node.domain
            and rw.only_reader(value) is add
            and not {"activation", "residual"} & node.attrs.keys()
        ):
            rw.set_inputs(node, [*node.inputs[:2], node.input(2), residual])
            node.attrs = {**node.attrs, "residual": 1}
            rw.set_output(node, add.output)
            return


def _fuse_activation(rw: Rewriter, node: Node) -> None:
    activation = _activation_of(node)
    if activation is None:
        return
    x = node.inputs[0]
    before = x.producer
    if (
        before is not None
        and before.op in _WITH_ACTIVATION
        and not before.domain
        and rw.only_reader(x) is node
        and is_float(x, *(v for v in before.inputs if v is not None))
        and "activation" not in before.attrs
    ):
        name, params = activation
        before.attrs = {**before.attrs, "activation": name, "activation_params": params}
        rw.set_output(before, node.output)


def _activation_of(node: Node) -> tuple[str, list[float]] | None:
    """Name and parameters of an activation that epilogues know, or None."""
    if (node.domain, node.op) == ("luthier", "Silu"):
        return "silu", [0.0, 0.0]
    if node.domain or node.op not in _ACTIVATIONS:
        return None
    return _ACTIVATIONS[node.op](node)


def _named(name: str) -> Callable[[Node], tuple[str, list[float]]]:
    return lambda node: (name, [0.0, 0.0])


def _clip(node: Node) -> tuple[str, list[float]] | None:
    low = float(_LIMITS.min) if node.input(1) is None else scalar_of(node.input(1))
    high = float(_LIMITS.max) if node.input(2) is None else scalar_of(node.input(2))
    return None if low is None or high is None else ("clip", [low, high])


def _hard_sigmoid(node: Node) -> tuple[str, list[float]]:
    return "hard_sigmoid", [node.attrs.get("alpha", 0.2), node.attrs.get("beta", 0.5)]


def _leaky_relu(node: Node) -> tuple[str, list[float]]:
    return "leaky_relu", [node.attrs.get("alpha", 0.01), 0.0]


def _gelu(node: Node) -> tuple[str, list[float]] | None:
    return ("gelu", [0.0, 0.0]) if node.attrs.get("approximate", "none") == "none" else None


_ACTIVATIONS: dict[str, Callable[[Node], tuple[str, list[float]] | None]] = {
    "Clip": _clip,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _named("hard_swish"),
    "LeakyRelu": _leaky_relu,
    "Relu": _named("relu"),
    "Sigmoid": _named("sigmoid"),
    "Tanh": _named("tanh"),
}
