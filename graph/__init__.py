"""The graph: IR, operators, passes, lowering, plans."""

from __future__ import annotations

from luthier.graph.infer import bind, default_shapes
from luthier.graph.ir import Graph, Node, Value

__all__ = ["Graph", "Node", "Value", "bind", "default_shapes"]
