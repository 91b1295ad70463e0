"""BatchNormalization before opset 14: the number of outputs says whether it trains."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.graph.ops.common import dynamic
from luthier.onnx_frontend.names import Names


def spatial(node: Node, names: Names) -> None:
    """Opset 7: statistics may be per element instead of per channel."""
    if not node.attrs.pop("spatial", 1):
        raise dynamic(node, "statistics per element (spatial = 0) are not supported")


def inference(node: Node, names: Names) -> None:
    """More than one output means training."""
    if len(node.outputs) > 1:
        raise dynamic(node, "training outputs are not supported")
