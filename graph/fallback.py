"""The reference backend for nodes that passes have changed: fused epilogues and NHWC layout.

`onnx.reference` knows neither, so the node is taken apart: NHWC maps are transposed, the plain ONNX
operator is evaluated, then bias, residual and activation are applied in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from luthier.graph import reference
from luthier.graph.ir import Node, Value
from luthier.kernels.reference import activation

__all__ = ["prepare"]

_ADDED = ("activation", "activation_params", "residual", "layout", "bias")
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def prepare(node: Node) -> Callable:
    """A function from the inputs' arrays to the outputs'.

    Raises
    ------
    UnsupportedError
        If the reference backend does not know the operator.
    """
    if not any(name in node.attrs for name in _ADDED):
        return reference.prepare(node)
    # Resize names the axes that it scales, so it needs no transposition.
    nhwc = node.attrs.get("layout") == "NHWC" and node.op != "Resize"
    residual = bool(node.attrs.get("residual"))
    bias = bool(node.attrs.get("bias"))
    count = len(node.inputs) - residual - bias
    inner = reference.prepare(_plain(node, count, nhwc))
    name = node.attrs.get("activation", "none")
    params = tuple(node.attrs.get("activation_params", (0.0, 0.0)))

    def run(arrays: list[np.ndarray | None]) -> list[np.ndarray]:
        given = list(arrays[:count])
        if nhwc:
            given[0] = given[0].transpose(_TO_NCHW)
        y = inner(given)[0]
        if nhwc:
            y = y.transpose(_TO_NHWC)
        for extra in arrays[count:]:
            if extra is not None:
                y = y + extra
        with np.errstate(all="ignore"):
            return [activation(y, name, params).astype(y.dtype, copy=False)]

    return run


def _plain(node: Node, count: int, nhwc: bool) -> Node:
    """The ONNX operator within a changed node."""

    def logical(value: Value | None, moved: bool) -> Value | None:
        if value is None or not moved:
            return value
        shape = tuple(value.shape[p] for p in _TO_NCHW)
        return Value(value.name, value.dtype, shape)

    inputs = [logical(v, nhwc and i == 0) for i, v in enumerate(node.inputs[:count])]
    outputs = [logical(node.output, nhwc)]
    attrs = {k: v for k, v in node.attrs.items() if k not in _ADDED}
    return Node(node.op, inputs, outputs, attrs, node.name, node.domain, node.opset)
