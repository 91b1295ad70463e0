"""The reference backend for nodes that passes have changed: fused epilogues and NHWC layout.

`onnx.reference` knows neither, so the node is taken apart: NHWC maps are transposed, the plain ONNX
operator is evaluated, then bias, residual and activation are applied in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.graph import ops, reference
from luthier.graph.ir import Node, Value
from luthier.graph.reference import Arrays, Kernel
from luthier.graph.verify import ADDED
from luthier.kernels.reference import activation

__all__ = ["prepare"]

_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)


def prepare(node: Node) -> Kernel:
    """A function from the inputs' arrays to the outputs'.

    It keeps nothing of the graph alive but the constants that `node` itself reads.

    Raises
    ------
    UnsupportedError
        If the reference backend does not know the operator.
    """
    info = ops.find(node)
    if info is not None and info.whole:
        return reference.prepare(_plain(node, len(node.inputs), False, set()))
    if node.domain == "luthier":
        return lambda arrays: [activation(np.asarray(arrays[0]), node.op.lower(), (0.0, 0.0))]
    known = [name for name, operators in ADDED.items() if node.op in operators and not node.domain]
    added = {name: node.attrs[name] for name in known if name in node.attrs}
    # Resize names the axes that it scales, so it needs no transposition.
    nhwc = added.get("layout") == "NHWC" and node.op != "Resize"
    count = len(node.inputs) - bool(added.get("residual")) - bool(added.get("bias"))
    inner = reference.prepare(_plain(node, count, nhwc, set(added)))
    name = added.get("activation")
    params = tuple(added.get("activation_params") or (0.0, 0.0))

    def run(arrays: Arrays) -> list[np.ndarray]:
        given: list[Any] = list(arrays[:count])
        if nhwc:
            given[0] = given[0].transpose(_TO_NCHW)
        results = list(inner(given))
        if nhwc:
            results[0] = results[0].transpose(_TO_NHWC)
        for extra in arrays[count:]:
            if extra is not None:
                results[0] = results[0] + extra
        if name:
            with np.errstate(all="ignore"):
                results[0] = activation(results[0], name, params)
        return results

    return run


def _plain(node: Node, count: int, nhwc: bool, added: set[str]) -> Node:
    """The ONNX operator within a changed node, apart from its graph."""

    def copy(value: Value | None, moved: bool) -> Value | None:
        if value is None:
            return None
        if moved:
            return Value(value.name, value.dtype, tuple(value.shape[p] for p in _TO_NCHW))
        return Value(value.name, value.dtype, value.shape, value.data)

    inputs = [copy(v, nhwc and i == 0) for i, v in enumerate(node.inputs[:count])]
    while inputs[-1:] == [None]:
        inputs.pop()
    outputs: list[Any] = [copy(v, nhwc) for v in node.outputs]
    attrs = {k: v for k, v in node.attrs.items() if k not in added}
    return Node(node.op, inputs, outputs, attrs, node.name, node.domain, node.opset)
