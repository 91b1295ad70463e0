"""Dropout before opset 10."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.graph.ops.dtypes import onnx_elem_type
from luthier.onnx_frontend.names import Names


def mask(node: Node, names: Names) -> list[Node] | None:
    """The mask had the data's type; it is boolean since."""
    if len(node.outputs) < 2:
        return None
    wanted = node.outputs[1]
    flags = names.apply(node, "Dropout", []).outputs[0]
    dtype = node.outputs[0].dtype
    node.outputs[1] = flags
    to = 1 if dtype is None else onnx_elem_type(dtype)
    cast = names.apply(node, "Cast", [flags], to=to)
    cast.outputs = [wanted]
    return [node, cast]
