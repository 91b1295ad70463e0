"""Compute once what depends on constants and shapes alone."""

from __future__ import annotations

from luthier.graph.infer import FoldBudget, fold
from luthier.graph.ir import Graph
from luthier.graph.passes.rewrite import Rewriter


def run(graph: Graph) -> bool:
    """Replace nodes whose inputs are constant, or that read only shapes, by constants.

    `luthier.graph.infer.fold` decides which nodes are small and quick enough.
    """
    rw, budget = Rewriter(graph), FoldBudget()
    for node in list(graph.nodes):
        if not all(v.is_static for v in node.outputs):
            continue
        arrays = fold(node, [(v.dtype, v.shape) for v in node.outputs], budget)
        if arrays is not None:
            rw.freeze(node, arrays)
    return rw.finish()
