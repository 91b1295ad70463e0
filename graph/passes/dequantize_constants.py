"""Quantised constants that no integer operator wants become float constants."""

from __future__ import annotations

from luthier.errors import UnsupportedError
from luthier.graph import reference
from luthier.graph.ir import Graph
from luthier.graph.passes.rewrite import Rewriter


def run(graph: Graph) -> bool:
    """Compute DequantizeLinear of constants, once the passes that look for it have run."""
    rw = Rewriter(graph)
    for node in rw.nodes("DequantizeLinear"):
        if all(v is None or v.data is not None for v in node.inputs):
            try:
                arrays = reference.evaluate(
                    node, [None if v is None else v.data for v in node.inputs]
                )
            except UnsupportedError:
                continue
            rw.freeze(node, arrays)
    return rw.finish()
