"""Softmax, LogSoftmax and Hardmax before opset 13: they see the input as a matrix."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.onnx_frontend.names import Names


def flattened(node: Node, names: Names) -> list[Node] | None:
    """Flatten at `axis`, take the maximum or sum over columns, give the shape back.

    Where `axis` is the last dimension this is the same as the new form.
    """
    axis = node.attrs.pop("axis", 1)
    x = node.inputs[0]
    rank = None if x is None or x.shape is None else len(x.shape)
    node.attrs["axis"] = -1
    if axis == -1 or (rank is not None and axis == rank - 1):
        return None
    flat = names.apply(node, "Flatten", [x], axis=axis)
    shape = names.apply(node, "Shape", [x])
    result = names.apply(node, node.op, [flat.output], axis=-1)
    back = names.apply(node, "Reshape", [result.output, shape.output])
    back.outputs = node.outputs
    return [flat, shape, result, back]
