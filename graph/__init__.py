"""The graph: IR, operators, passes, lowering, plans."""

from __future__ import annotations

from luthier.graph.infer import bind, default_shapes
from luthier.graph.ir import Graph, Node, Value
from luthier.graph.lower import lower, tunable_workloads
from luthier.graph.passes import optimize
from luthier.graph.plan import Plan
from luthier.graph.printer import print_graph
from luthier.graph.verify import verify

__all__ = [
    "Graph",
    "Node",
    "Plan",
    "Value",
    "bind",
    "default_shapes",
    "lower",
    "optimize",
    "print_graph",
    "tunable_workloads",
    "verify",
]
