"""One-dimensional convolutions and pools become two-dimensional ones of height one."""

from __future__ import annotations

from typing import Any

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.quantised import MICROSOFT
from luthier.graph.passes.rewrite import Rewriter

WINDOWED = {
    "": ("AveragePool", "Conv", "ConvInteger", "ConvTranspose", "MaxPool", "QLinearConv"),
    MICROSOFT: ("QLinearAveragePool",),
    "luthier": ("ConvIntegerToFloat",),
}
"""Operators over maps that have the attribute `pads`, by domain."""

_DEFAULT = {"kernel_shape": 1, "strides": 1, "dilations": 1, "output_padding": 0}


def run(graph: Graph) -> bool:
    """Rewrite convolutions and pools over (N, C, W) to those over (N, C, 1, W).

    Their window attributes must be explicit. What was fused into them stays.
    """
    rw = Rewriter(graph)
    for domain, ops in WINDOWED.items():
        for node in rw.nodes(*ops, domain=domain):
            if len(node.output.shape) == 3 and len(node.outputs) == 1 and "pads" in node.attrs:
                _widen(rw, node)
    return rw.finish()


def _widen(rw: Rewriter, node: Node) -> None:
    inputs = [v if v is None or len(v.shape) != 3 else _insert(rw, v) for v in node.inputs]
    attrs: dict[str, Any] = dict(node.attrs)
    for name, default in _DEFAULT.items():
        if name in attrs:
            attrs[name] = [default, *attrs[name]]
    begin, end = attrs["pads"]
    attrs["pads"] = [0, begin, 0, end]
    result = node.output
    n, c, w = result.shape
    wide = rw.emit(node.op, inputs, attrs, like=result, shape=(n, c, 1, w), domain=node.domain)
    rw.reshape(wide, into=result)


def _insert(rw: Rewriter, value: Value) -> Value:
    """`value` with a height of one."""
    shape = (*value.shape[:2], 1, *value.shape[2:])
    if value.data is not None:
        return rw.constant(value.name, value.data.reshape(shape))
    return rw.reshape(value, shape)
