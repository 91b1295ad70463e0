"""The graph: IR, operators, passes, lowering, plans.

What needs compiled code is loaded at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.graph.infer import bind, default_shapes
from luthier.graph.ir import Graph, Node, Value
from luthier.graph.printer import print_graph
from luthier.graph.verify import verify
from luthier.lazy import lazy_names

if TYPE_CHECKING:
    from luthier.graph.lowering.lower import lower, tunable_workloads
    from luthier.graph.passes import optimize
    from luthier.graph.plan import Plan

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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Plan": "plan",
        "lower": "lowering.lower",
        "optimize": "passes",
        "tunable_workloads": "lowering.lower",
    },
)
