"""Operators of older opsets become their newest form, one file a family."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.onnx_frontend.names import Names
from luthier.onnx_frontend.ops._op_list import UPGRADES

OLDEST_OPSET = 7
"""The oldest opset of ai.onnx that is read."""

OPSET = 21
"""The opset whose forms nodes have after `upgrade`; nodes of newer models keep their version."""


def upgrade(node: Node, names: Names) -> list[Node]:
    """Nodes in the newest form that compute what `node` computes, in order.

    Parameters
    ----------
    node : Node
        Of domain ai.onnx, its `opset` is the version that the model imports. Edited in place.
    names : Names

    Returns
    -------
    list of Node
        The last ones have the output values of `node`.

    Raises
    ------
    UnsupportedError
        If the newest opset cannot say what the node says.
    """
    version, nodes = node.opset, [node]
    for since, step in UPGRADES.get(node.op, ()):
        if version < since:
            nodes = step(node, names) or nodes
    for result in nodes:
        result.opset = max(version, OPSET)
        for value in result.outputs:
            value.producer = result
    return nodes
