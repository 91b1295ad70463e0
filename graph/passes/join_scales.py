"""A factor and an addend per channel become one depthwise convolution of size one."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.fold_batch_norm import affine_of
from luthier.graph.passes.rewrite import Rewriter, is_float

_FEWEST_CHANNELS = 8
_WINDOW = {
    "kernel_shape": [1, 1],
    "strides": [1, 1],
    "dilations": [1, 1],
    "pads": [0, 0, 0, 0],
    "layout": "NHWC",
}


def run(graph: Graph) -> bool:
    """Rewrite ``activation(x * scale + shift)`` on maps in NHWC that no neighbour took in.

    The convolution reads and writes the map once. It vectorises over channels, so that maps of
    fewer than eight stay as they are. A map is known to be NHWC by a neighbour with that layout.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("Add"):
        _join(rw, node)
    return rw.finish()


def _join(rw: Rewriter, add: Node) -> None:
    mul = next((v.producer for v in add.inputs if v.producer is not None), None)
    if mul is None or mul.op != "Mul" or mul.domain or "activation" in mul.attrs:
        return
    x = next((v for v in mul.inputs if not v.is_const), None)
    if x is None or not _is_map(rw, x, add) or rw.only_reader(mul.output) is not add:
        return
    first, second = affine_of(mul, x, 3), affine_of(add, mul.output, 3)
    if first is None or second is None:
        return
    channels = x.shape[3]
    scale = rw.constant("scale", first.scale.reshape(channels, 1, 1, 1), np.float32)
    shift = rw.constant("shift", second.shift, np.float32)
    attrs = {**_WINDOW, "group": channels, **add.attrs}
    rw.emit("Conv", [x, scale, shift], attrs, into=add.output)


def _is_map(rw: Rewriter, x: Value, add: Node) -> bool:
    if not is_float(x) or len(x.shape) != 4 or x.shape[3] < _FEWEST_CHANNELS:
        return False
    neighbours = [x.producer, *rw.readers(add.output)]
    return any(n is not None and n.attrs.get("layout") == "NHWC" for n in neighbours)
