"""The graph verifier: what must hold between two passes."""

from __future__ import annotations

import math

import numpy as np

from luthier.errors import InvalidModelError, UnsupportedError, VerifyError
from luthier.graph import ops
from luthier.graph.ir import Graph, Node, Value
from luthier.graph.ops.common import describe, quote

__all__ = ["ACTIVATIONS", "ADDED", "verify"]

ACTIVATIONS = (
    "relu",
    "clip",
    "hard_sigmoid",
    "hard_swish",
    "sigmoid",
    "silu",
    "tanh",
    "gelu",
    "leaky_relu",
)
"""The names that the attribute `activation` may have."""

ADDED = {
    "activation": ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul"),
    "activation_params": ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul"),
    "residual": ("Conv", "Gemm", "MatMul"),
    "bias": ("MatMul",),
    "layout": ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LRN", "Resize"),
}
"""The attributes that passes add, and the ONNX operators that may have them."""

_FUSED = frozenset(op for operators in ADDED.values() for op in operators)
_OWN = {
    "activation": ("CausalConvWithState",),
    "bias": ("LRN", "Shrink"),
    "layout": ("GRU", "LSTM", "RNN"),
}
"""Where ONNX itself has an attribute of that name."""


def verify(graph: Graph) -> None:
    """Check a bound graph.

    Nodes are in topological order, every value has one definition and a unique name, every
    result has the static type that its operator's rule infers, and the attributes that fusion
    adds fit (see the table in docs/design/architecture.md).

    Parameters
    ----------
    graph : Graph

    Raises
    ------
    VerifyError
        At the first thing that does not hold; the message names the node.

    Examples
    --------
    >>> x, y = (Value(n, np.dtype("float32"), (2, 3)) for n in "xy")
    >>> verify(Graph([x], [y], [Node("Relu", [x], [y])]))
    Traceback (most recent call last):
    luthier.errors.VerifyError: node '' (Relu): output 'y' has another producer
    """
    defined: set[Value] = set()
    for value in graph.inputs:
        if value.is_const or value.producer is not None:
            raise VerifyError(f"input {quote(value.name)} is a constant or has a producer")
        defined.add(value)
    for node in graph.nodes:
        _check_inputs(node, defined)
        _check_outputs(node, defined)
        _check_types(node)
        _check_attributes(node)
        defined.update(node.outputs)
    for value in graph.outputs:
        if not value.is_const and value not in defined:
            raise VerifyError(f"graph output {quote(value.name)} is not defined")
    _check_names(graph)


def _require(condition: bool, node: Node, reason: str) -> None:
    if not condition:
        raise VerifyError(f"{describe(node)}: {reason}")


def _check_inputs(node: Node, defined: set[Value]) -> None:
    for value in node.inputs:
        if value is None or value in defined:
            continue
        _require(value.is_const, node, f"reads {quote(value.name)} before it is defined")
        _require(value.producer is None, node, f"constant {quote(value.name)} has a producer")
        same = value.data.shape == value.shape and value.data.dtype == value.dtype
        _require(same, node, f"the type of constant {quote(value.name)} is not that of its data")


def _check_outputs(node: Node, defined: set[Value]) -> None:
    _require(bool(node.outputs), node, "has no outputs")
    for value in node.outputs:
        _require(value.producer is node, node, f"output {quote(value.name)} has another producer")
        _require(not value.is_const, node, f"output {quote(value.name)} is a constant")
        _require(value not in defined, node, f"defines {quote(value.name)} again")


def _check_types(node: Node) -> None:
    info = ops.find(node)
    if info is None:
        return
    try:
        types = info.infer(node)
    except (InvalidModelError, UnsupportedError) as error:
        raise VerifyError(str(error)) from error
    _require(len(types) >= len(node.outputs), node, f"has {len(node.outputs)} outputs")
    for value, (dtype, shape) in zip(node.outputs, types, strict=False):
        _require(value.is_static, node, f"the type of output {quote(value.name)} is not static")
        _require(
            (value.dtype, value.shape) == (dtype, tuple(shape)),
            node,
            f"output {quote(value.name)} is {value.dtype}{list(value.shape)},"
            f" the operator gives {dtype}{list(shape)}",
        )


def _check_attributes(node: Node) -> None:
    info = ops.find(node)
    if node.domain or (info is not None and info.whole):
        return  # their own rules check what passes add
    for name, operators in ADDED.items():
        if name in node.attrs and node.op not in _OWN.get(name, ()):
            legal = node.op in operators
            _require(legal, node, f"may not have the attribute {name}")
    if node.op in _FUSED:
        _check_fused(node)


def _check_fused(node: Node) -> None:
    if "activation" in node.attrs:
        name, params = node.attrs["activation"], node.attrs.get("activation_params")
        _require(name in ACTIVATIONS, node, f"activation {name!r} is unknown")
        legal = (
            isinstance(params, list) and len(params) == 2 and all(math.isfinite(p) for p in params)
        )
        _require(legal, node, f"activation_params {params} are not two finite numbers")
        _require(node.output.dtype == np.float32, node, "an activation needs float32")
    if "residual" in node.attrs:
        last = node.inputs[-1]
        fits = len(node.inputs) == 4 and last is not None and last.shape == node.output.shape
        _require(fits, node, "input 3 is no residual of the output's shape")
    if "bias" in node.attrs and node.op not in _OWN["bias"]:
        bias, columns = node.input(2), node.output.shape[-1:]
        _require(bias is not None and bias.shape == columns, node, f"input 2 is no bias {columns}")
    if node.op == "MatMul" and "bias" not in node.attrs:
        _require(node.input(2) is None, node, "has a third input that is no bias")
    if "layout" in node.attrs:
        fits = node.attrs["layout"] == "NHWC" and len(node.output.shape) == 4
        _require(fits, node, f"layout {node.attrs['layout']!r} does not fit its output")


def _check_names(graph: Graph) -> None:
    for kind, names in (
        ("value", [v.name for v in graph.values()]),
        ("node", [n.name for n in graph.nodes if n.name]),
    ):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise VerifyError(f"two {kind}s are named {quote(name)}")
            seen.add(name)
