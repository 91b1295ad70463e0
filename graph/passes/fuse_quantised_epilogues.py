"""Fuse the addition and the table behind a quantised product into it."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Graph, Node
from luthier.graph.ops import quant_math
from luthier.graph.passes.quantised import MICROSOFT
from luthier.graph.passes.rewrite import Rewriter

_PRODUCTS = ("QLinearConv", "QLinearMatMul")


def run(graph: Graph) -> bool:
    """Fuse QLinearAdd and LookUp into the QLinearConv or QLinearMatMul that only they read.

    `residual = 1` marks five more inputs, the other operand and the quantisations of it and of the
    sum, `residual_first` that it was the first operand; `table` holds the entries of the LookUp. A
    table that only limits the range becomes `clamp` or `sum_clamp`.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("QLinearAdd", domain=MICROSOFT):
        _fuse_sum(rw, node)
    for node in rw.nodes("LookUp", domain="luthier"):
        _fuse_table(rw, node)
    return rw.finish()


def _product(rw: Rewriter, reader: Node, i: int) -> Node | None:
    """The product that computes input `i` of `reader` for it alone, if it can take in more."""
    value = reader.inputs[i]
    node = value.producer
    if node is None or node.domain or node.op not in _PRODUCTS or "table" in node.attrs:
        return None
    return node if rw.only_reader(value) is reader else None


def _fuse_sum(rw: Rewriter, add: Node) -> None:
    """Let the operand computed last take in the other one, so that fewer results must wait."""
    a, b = add.inputs[0], add.inputs[3]
    if a is b or a.shape != b.shape or add.input(2) is None or add.input(5) is None:
        return
    if add.input(7) is None:
        return
    for own, other in ((3, 0), (0, 3)):
        node = _product(rw, add, own)
        if node is None or node.attrs.get("residual"):
            continue
        same = all(
            np.array_equal(v.data, w.data) if v.data is not None and w.data is not None else v is w
            for v, w in zip(node.inputs[6:8], add.inputs[own + 1 : own + 3], strict=True)
        )
        if not same:
            continue
        attrs = {**node.attrs, "residual": 1}
        if other == 0:
            attrs["residual_first"] = 1
        if "clamp" in add.attrs:
            attrs["sum_clamp"] = add.attrs["clamp"]
        inputs = [*[*node.inputs, None][:9], *add.inputs[other : other + 3], *add.inputs[6:8]]
        rw.set_inputs(node, inputs)
        node.attrs = attrs
        rw.set_output(node, add.output)
        return


def _fuse_table(rw: Rewriter, node: Node) -> None:
    product, table = _product(rw, node, 0), node.attrs["table"]
    if product is None:
        return
    attrs = dict(product.attrs)
    limits = _limits(table) if table.dtype == node.inputs[0].dtype else None
    if limits is None:
        attrs["table"] = table
    else:
        name = "sum_clamp" if attrs.get("residual") else "clamp"
        low, high = attrs.get(name) or quant_math.value_range(table.dtype)
        attrs[name] = [min(max(bound, limits[0]), limits[1]) for bound in (low, high)]
    rw.set_output(product, node.output)
    product.attrs = attrs
    product.output.dtype = table.dtype


def _limits(table: np.ndarray) -> list[int] | None:
    """The bounds of a table that does nothing but clip, or None."""
    low, high = int(table.min()), int(table.max())
    clipped = np.clip(quant_math.byte_values(table.dtype), low, high)
    return [low, high] if np.array_equal(table, clipped) else None
