"""Gemm as `x @ w + bias`: factors and transpositions move into its constants."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Graph, Node
from luthier.graph.passes.rewrite import Rewriter, constant_of, is_float

_PLAIN = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0}


def run(graph: Graph) -> bool:
    """Rewrite float32 Gemm with a constant right side.

    Afterwards its inputs are x (m, k), w (k, n) and, if present, a constant bias (n,); other
    addends follow in an Add of their own.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("Gemm"):
        if is_float(node.output) and constant_of(node.inputs[1]) is not None:
            _normalise(rw, node)
    return rw.finish()


def _normalise(rw: Rewriter, node: Node) -> None:
    attrs = {**_PLAIN, **node.attrs}
    x, w, addend = node.inputs[0], node.inputs[1], node.input(2)
    columns = node.output.shape[1]
    is_bias = addend is None or (addend.is_const and addend.shape == (columns,))
    if is_bias and all(attrs[k] == v for k, v in _PLAIN.items()):
        return
    weights = w.data if attrs["alpha"] == 1 else w.data * np.float64(attrs["alpha"])
    if attrs["transB"]:
        weights = weights.T
    if attrs["transA"]:
        x = rw.emit("Transpose", [x], {"perm": [1, 0]}, shape=x.shape[::-1])
    inputs = [x, rw.constant(w.name, np.ascontiguousarray(weights), np.float32)]
    rest = {k: v for k, v in attrs.items() if k not in _PLAIN}
    if (
        addend is not None
        and addend.is_const
        and (addend.data.size == 1 or addend.shape[-1] == columns == addend.data.size)
    ):
        bias = np.broadcast_to(addend.data.reshape(-1) * np.float64(attrs["beta"]), columns)
        inputs.append(rw.constant(addend.name, bias, np.float32))
        addend = None
    if addend is None:
        rw.emit("Gemm", inputs, rest, into=node.output)
        return
    product = rw.emit("Gemm", inputs, rest, like=node.output)
    if attrs["beta"] != 1:
        beta = rw.constant("beta", attrs["beta"], np.float32)
        addend = rw.emit("Mul", [addend, beta], like=addend)
    rw.emit("Add", [product, addend], into=node.output)
