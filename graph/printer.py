"""The text form of a graph: one line a node, the same text for the same graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.graph.ir import Graph, Node, Value

__all__ = ["print_graph"]

_SHOWN_ELEMENTS = 8
_KIND = {"f": "f", "i": "i", "u": "u", "c": "c"}


def print_graph(graph: Graph) -> str:
    """The graph as text.

    The first line names the inputs, the last the outputs. Constants (``@name``) come before the
    nodes, in the order of their first use, those of at most eight elements with their content.
    A node is ``%result: type = Op(operands) {attributes}``; an absent operand is ``_``.

    Parameters
    ----------
    graph : Graph

    Returns
    -------
    str
        Lines ended by newlines.

    Examples
    --------
    >>> from luthier.graph.ir import Graph, Node, Value
    >>> x, y = (Value(n, np.dtype("float32"), (2, 3)) for n in "xy")
    >>> print(print_graph(Graph([x], [y], [Node("Relu", [x], [y])])), end="")
    inputs %x: f32[2,3]
    %y: f32[2,3] = Relu(%x)
    outputs %y
    """
    return "\n".join(_lines(graph)) + "\n"


def _lines(graph: Graph) -> list[str]:
    lines = ["inputs " + ", ".join(f"{_ref(v)}: {_type(v)}" for v in graph.inputs)]
    lines += [_constant(v) for v in graph.values() if v.is_const]
    for node in graph.nodes:
        lines.append(_node(node))
        for key, body in sorted(node.attrs.items()):
            if isinstance(body, Graph):
                lines.append(f"  {key}:")
                lines += ["    " + line for line in _lines(body)]
    lines.append("outputs " + ", ".join(_ref(v) for v in graph.outputs))
    return lines


def _node(node: Node) -> str:
    results = ", ".join(f"{_ref(v)}: {_type(v)}" for v in node.outputs)
    op = f"{node.domain}.{node.op}" if node.domain else node.op
    operands = ", ".join("_" if v is None else _ref(v) for v in node.inputs)
    attrs = ", ".join(
        f"{k}={_attribute(v)}" for k, v in sorted(node.attrs.items()) if not isinstance(v, Graph)
    )
    return f"{results} = {op}({operands})" + (f" {{{attrs}}}" if attrs else "")


def _constant(value: Value) -> str:
    text = f"{_ref(value)}: {_type(value)}"
    if value.data is not None and 0 < value.data.size <= _SHOWN_ELEMENTS:
        text += f" = {_attribute(value.data.tolist())}"
    return text


def _ref(value: Value) -> str:
    return ("@" if value.is_const else "%") + value.name


def _type(value: Value) -> str:
    shape = "[...]"
    if value.shape is not None:
        shape = "[" + ",".join("?" if d is None else str(d) for d in value.shape) + "]"
    return _dtype(value.dtype) + shape


def _dtype(dtype: np.dtype | None) -> str:
    if dtype is None:
        return "?"
    kind = _KIND.get(dtype.kind)
    return f"{kind}{8 * dtype.itemsize}" if kind else dtype.name


def _attribute(value: Any) -> str:
    if isinstance(value, np.ndarray):
        text = f"{_dtype(value.dtype)}[{','.join(map(str, value.shape))}]"
        if value.size <= _SHOWN_ELEMENTS:
            text += f"={_attribute(value.tolist())}"
        return text
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_attribute(v) for v in value) + "]"
    if isinstance(value, float):
        return f"{value:.7g}"
    return str(value)
