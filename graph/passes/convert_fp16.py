"""float16 graphs compute in float32; their inputs and outputs stay float16."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.rewrite import Rewriter

_FLOAT, _FLOAT16 = 1, 10  # onnx.TensorProto.DataType
_HALF, _SINGLE = np.dtype("float16"), np.dtype("float32")


def run(graph: Graph) -> bool:
    """Let every node that reads or makes float16 work on float32.

    Constants are widened once, inputs pass through a Cast, and so do outputs. Nodes whose types
    are fixed otherwise (by an attribute, a subgraph, a sequence, a foreign domain) keep float16,
    between Casts. Only Casts and such nodes touch float16 afterwards.
    """
    if not any(_touches_half(n) and n.op != "Cast" and not _keeps_half(n) for n in graph.nodes):
        return False
    rw = Rewriter(graph)
    wide: dict[Value, Value] = {}
    replaced: set[Value] = set()  # results that exist in float32 only

    def widened(value: Value | None) -> Value | None:
        if value is None or value.dtype != _HALF:
            return value
        if value not in wide:
            if value.data is not None:
                wide[value] = rw.constant(value.name, value.data, _SINGLE)
            else:
                wide[value] = rw.emit("Cast", [value], {"to": _FLOAT}, dtype=_SINGLE)
        return wide[value]

    def widen_result(node: Node, value: Value) -> None:
        result = Value(rw.name(value.name), _SINGLE, value.shape, producer=node)
        node.outputs = [result if v is value else v for v in node.outputs]
        wide[value] = result
        value.producer = None
        if rw.is_output(value):
            rw.emit("Cast", [result], {"to": _FLOAT16}, into=value)
        else:
            replaced.add(value)

    for node in list(graph.nodes):
        if not _touches_half(node):
            continue
        if _keeps_half(node):
            for value in [v for v in dict.fromkeys(node.inputs) if v in replaced]:
                rw.emit("Cast", [wide[value]], {"to": _FLOAT16}, into=value)
                replaced.remove(value)
            continue
        rw.set_inputs(node, [widened(v) for v in node.inputs])
        node.attrs = {k: _widened_attribute(v) for k, v in node.attrs.items()}
        if node.op == "Cast" and node.attrs.get("to") == _FLOAT16:
            node.attrs["to"] = _FLOAT
        for value in node.outputs:
            if value.dtype == _HALF:
                widen_result(node, value)
    return rw.finish()


def _touches_half(node: Node) -> bool:
    return any(v is not None and v.dtype == _HALF for v in (*node.inputs, *node.outputs))


def _keeps_half(node: Node) -> bool:
    return (
        bool(node.domain)
        or "Sequence" in node.op
        or "Optional" in node.op
        or "dtype" in node.attrs
        or "output_dtype" in node.attrs
        or any(isinstance(v, Graph) for v in node.attrs.values())
    )


def _widened_attribute(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == _HALF:
        return value.astype(_SINGLE)
    return value
