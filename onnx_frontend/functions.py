"""Local functions of a model are inlined, once it is certain that this ends and stays small."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx import inliner

from luthier import limits
from luthier.errors import InvalidModelError
from luthier.graph.ops.common import quote

_Key = tuple[str, str, str]


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with every call of a local function replaced by the function's body.

    Raises
    ------
    InvalidModelError
        If functions call each other in a circle, or the result would have too many nodes.
    """
    if not model.functions:
        return model
    _check_expansion(model)
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # the C++ inliner raises whatever its checks raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidModelError(f"local functions cannot be inlined: {reason}") from None


def _check_expansion(model: onnx.ModelProto) -> None:
    """Count the nodes after inlining without doing it: nested calls multiply."""
    bodies = {(f.domain, f.name, getattr(f, "overload", "")): f.node for f in model.functions}
    if len(bodies) != len(model.functions):
        raise InvalidModelError("two local functions have the same name")
    sizes: dict[_Key, int] = {}
    open_calls: set[_Key] = set()

    def size(nodes: Iterable[onnx.NodeProto], depth: int) -> int:
        if depth > limits.MAX_SUBGRAPH_DEPTH * 4:
            raise InvalidModelError("local functions and subgraphs are nested too deeply")
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type, getattr(node, "overload", ""))
            total += 1
            if key in bodies:
                if key in open_calls:
                    raise InvalidModelError(f"local function {quote(key[1])} calls itself")
                if key not in sizes:
                    open_calls.add(key)
                    sizes[key] = size(bodies[key], depth + 1)
                    open_calls.remove(key)
                total += sizes[key]
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    total += size(attribute.g.node, depth + 1)
            if total > limits.MAX_NODES:
                raise InvalidModelError(f"more than {limits.MAX_NODES} nodes after inlining")
        return total

    size(model.graph.node, 0)
    for body in bodies.values():
        size(body, 0)
