"""BatchNormalization that nothing could absorb becomes Mul and Add."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Graph
from luthier.graph.passes.fold_batch_norm import batch_norm_affine
from luthier.graph.passes.rewrite import Rewriter, fits_float, is_float


def run(graph: Graph) -> bool:
    """Spell float32 BatchNormalization in inference by constants of shape (C, 1, ...)."""
    rw = Rewriter(graph)
    for node in rw.nodes("BatchNormalization"):
        x = node.inputs[0]
        affine = batch_norm_affine(node) if is_float(x, node.output) else None
        if affine is None or not fits_float(affine.scale) or not fits_float(affine.shift):
            continue
        shape = (-1, *[1] * (len(x.shape) - 2))
        scale = rw.constant("scale", affine.scale.reshape(shape), np.float32)
        shift = rw.constant("shift", affine.shift.reshape(shape), np.float32)
        rw.emit("Add", [rw.emit("Mul", [x, scale]), shift], into=node.output)
    return rw.finish()
