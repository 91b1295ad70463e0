"""Loop: absent inputs become explicit, because `onnx.reference` does not know their defaults."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Node
from luthier.onnx_frontend.names import Names


def explicit(node: Node, names: Names) -> None:
    """No trip count means no bound, no condition means true."""
    own = len(node.inputs) - node.attrs.get("captures", 0)
    head = [*node.inputs[: min(own, 2)], None, None][:2]
    if head[0] is None:
        head[0] = names.ints(f"{node.name}.count", np.iinfo(np.int64).max)
    if head[1] is None:
        head[1] = names.const(f"{node.name}.condition", np.array(True))
    node.inputs = [*head, *node.inputs[min(own, 2) :]]
