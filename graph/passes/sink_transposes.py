"""Move Transposes towards the outputs, where they meet others, or into constant weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from luthier.graph.ir import Graph, Node
from luthier.graph.passes.cancel_transposes import permutation
from luthier.graph.passes.rewrite import Rewriter, is_float


def run(graph: Graph) -> bool:
    """Rewrite what reads the result of a Transpose, each read once.

    - Transpose + Reshape that only merges neighbours, before a Concat or Transpose, becomes
      Reshape + Transpose, if the merged dimensions are neighbours before the Transpose too;
    - a Concat of Transposes by one permutation becomes a Transpose of a Concat;
    - Transpose + Reshape to (N, K) before a product with a constant (K, M) matrix becomes a
      Reshape, and the rows of the matrix are permuted.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("Reshape", "Concat"):
        if node.op == "Concat":
            _concat(rw, node)
            continue
        transpose = _transpose(rw, node, 0)
        reader = rw.only_reader(node.output)
        if transpose is None or reader is None or reader.domain:
            continue
        if reader.op in ("Concat", "Transpose"):
            _merge(rw, transpose, node)
        elif reader.op in ("Gemm", "MatMul"):
            _flatten(rw, transpose, node, reader)
    return rw.finish()


def _transpose(rw: Rewriter, node: Node, i: int) -> Node | None:
    """The Transpose that makes input `i` of `node` and nothing else."""
    value = node.inputs[i]
    before = value.producer
    if before is None or before.op != "Transpose" or before.domain:
        return None
    return before if rw.only_reader(value) is node else None


def _concat(rw: Rewriter, concat: Node) -> None:
    transposes: list[Any] = [_transpose(rw, concat, i) for i in range(len(concat.inputs))]
    if any(t is None for t in transposes):
        return
    perms = [permutation(t) for t in transposes]
    if any(p != perms[0] for p in perms):
        return
    perm, shape = perms[0], concat.output.shape
    axis = concat.attrs["axis"] % len(shape)
    before = [shape[perm.index(i)] for i in range(len(shape))]
    joined = rw.emit(
        "Concat", [t.inputs[0] for t in transposes], {"axis": perm[axis]}, shape=before
    )
    rw.emit("Transpose", [joined], {"perm": perm}, into=concat.output)


def _merge(rw: Rewriter, transpose: Node, reshape: Node) -> None:
    groups = _merged(reshape.inputs[0].shape, reshape.output.shape)
    if groups is None:
        return
    perm = permutation(transpose)
    sources = [[perm[i] for i in group] for group in groups]
    if any(s != list(range(s[0], s[0] + len(s))) for s in sources):
        return
    order = sorted(range(len(sources)), key=lambda i: sources[i][0])
    shape = [reshape.output.shape[i] for i in order]
    merged = rw.reshape(transpose.inputs[0], shape)
    attrs = {"perm": [order.index(i) for i in range(len(order))]}
    rw.emit("Transpose", [merged], attrs, into=reshape.output)


def _merged(shape: tuple[int, ...], target: tuple[int, ...]) -> list[list[int]] | None:
    """For each dimension of `target` the dimensions of `shape` whose product it is, or None."""
    groups: list[list[int]] = []
    i = 0
    for size in target:
        group = [i]
        while group[-1] < len(shape) and math.prod(shape[j] for j in group) < size:
            group.append(group[-1] + 1)
        if group[-1] >= len(shape) or math.prod(shape[j] for j in group) != size:
            return None
        groups.append(group)
        i = group[-1] + 1
    return groups if i == len(shape) else None


def _flatten(rw: Rewriter, transpose: Node, reshape: Node, product: Node) -> None:
    """Permute the rows of the weights instead of the columns of the flattened value."""
    perm, shape = permutation(transpose), reshape.inputs[0].shape
    w = product.inputs[1]
    if product.inputs[0] is not reshape.output or not is_float(w) or not w.is_const:
        return
    if product.attrs.get("transA") or product.attrs.get("transB"):
        return
    if perm[0] != 0 or reshape.output.shape != (shape[0], math.prod(shape[1:])):
        return
    if len(w.shape) != 2 or product.inputs.count(reshape.output) != 1:
        return
    inverse = [perm.index(i) - 1 for i in range(1, len(perm))]
    rows = w.data.reshape(*shape[1:], -1).transpose(*inverse, len(inverse))
    weights = rw.constant(w.name, np.ascontiguousarray(rows).reshape(w.shape))
    flat = rw.reshape(transpose.inputs[0], reshape.output.shape)
    rw.set_inputs(product, [flat, weights, *product.inputs[2:]])
