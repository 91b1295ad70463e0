"""Join neighbouring Transpose and Reshape nodes and drop those that move nothing."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.rewrite import Rewriter, squeezed

_LONGEST_CHAIN = 16


def run(graph: Graph) -> bool:
    """Rewrite Transpose and Reshape by what they do to the order of elements.

    - Reshape of Reshape reads the first one's input;
    - Transpose of Transpose becomes one Transpose;
    - a chain of Transposes, with Reshapes that only add or drop dimensions of one among them,
      that leaves the order of the other dimensions becomes one Reshape.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("Transpose", "Reshape"):
        source = _unmoved_source(node)
        if source is not None:
            rw.reshape(source, into=node.output)
            continue
        before = node.inputs[0].producer
        if before is None or before.domain or before.op != node.op:
            continue
        if node.op == "Reshape":
            rw.reshape(before.inputs[0], into=node.output)
        else:
            inner, outer = permutation(before), permutation(node)
            attrs = {"perm": [inner[p] for p in outer]}
            rw.emit("Transpose", [before.inputs[0]], attrs, into=node.output)
    return rw.finish()


def permutation(node: Node) -> list[int]:
    """The `perm` of a Transpose, its default (reversed) written out."""
    rank = len(node.inputs[0].shape)
    return list(node.attrs.get("perm", range(rank)[::-1]))


def keeps_order(shape: Sequence[int], perm: Sequence[int]) -> bool:
    """Whether transposing `shape` by `perm` leaves the elements in their order in memory."""
    moved = [p for p in perm if shape[p] != 1]
    return moved == sorted(moved)


def _unmoved_source(last: Node) -> Value | None:
    """The farthest value above `last` whose elements lie in the same order, or None.

    Walks up while every step is a Transpose or a Reshape that keeps the dimensions other than
    one; `order` says which of the present dimensions each of those of the result is.
    """
    if last.op == "Reshape" and not _only_ones(last):
        return None
    order = list(range(len(squeezed(last.output.shape))))
    found = None
    moves = False
    node: Node | None = last
    for _ in range(_LONGEST_CHAIN):
        if node is None or node.domain or node.op not in ("Transpose", "Reshape"):
            break
        source = node.inputs[0]
        if node.op == "Reshape":
            if not _only_ones(node):
                break
        else:
            moves = True
            shape = source.shape
            kept = [p for p in permutation(node) if shape[p] != 1]
            rank = sorted(kept)
            order = [rank.index(kept[i]) for i in order]
        if moves and order == sorted(order):
            found = source
        node = source.producer
    return found


def _only_ones(reshape: Node) -> bool:
    """Whether a Reshape adds and drops dimensions of one only."""
    return squeezed(reshape.inputs[0].shape) == squeezed(reshape.output.shape)
