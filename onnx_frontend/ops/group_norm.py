"""GroupNormalization before opset 21: scale and bias are per group."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.onnx_frontend.names import Names


def per_channel(node: Node, names: Names) -> list[Node]:
    """Repeat scale and bias for every channel of a group; the shape arithmetic folds later."""
    x, *per_group = node.inputs
    channels = names.apply(node, "Shape", [x], start=1, end=2)
    groups = names.ints("groups", [node.attrs["num_groups"]])
    count = names.apply(node, "Div", [channels.output, groups])
    target = names.apply(node, "Concat", [groups, count.output], axis=0)
    nodes = [channels, count, target]
    node.inputs = [x]
    for value in per_group:
        column = names.apply(node, "Unsqueeze", [value, names.ints("axes", [1])])
        wide = names.apply(node, "Expand", [column.output, target.output])
        flat = names.apply(node, "Reshape", [wide.output, names.ints("shape", [-1])])
        node.inputs.append(flat.output)
        nodes += [column, wide, flat]
    return [*nodes, node]
