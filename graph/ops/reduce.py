"""Reductions over axes."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    INT64,
    OpInfo,
    TensorType,
    const_ints,
    normal_axes,
    normal_axis,
    require,
    shape_of,
    typed,
)

_REDUCE = """
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare
""".split()


def reduce_axes(node: Node) -> list[int]:
    """The axes that a Reduce operator reduces, counted from the front and sorted."""
    rank = len(shape_of(node, 0))
    axes = const_ints(node, 1)
    if not axes:
        return [] if node.attrs.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(normal_axes(node, axes, rank))


def _reduce(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    axes = reduce_axes(node)
    if node.attrs.get("keepdims", 1):
        return [(dtype, tuple(1 if i in axes else d for i, d in enumerate(shape)))]
    return [(dtype, tuple(d for i, d in enumerate(shape) if i not in axes))]


def _arg(node: Node) -> list[TensorType]:
    _, shape = typed(node, 0)
    axis = normal_axis(node, node.attrs.get("axis", 0), len(shape))
    require(shape[axis] > 0, node, f"axis {axis} of {list(shape)} is empty")
    kept = (1,) if node.attrs.get("keepdims", 1) else ()
    return [(INT64, (*shape[:axis], *kept, *shape[axis + 1 :]))]


OPS: dict[str, OpInfo] = {
    **{name: OpInfo(_reduce) for name in _REDUCE},
    "ArgMax": OpInfo(_arg),
    "ArgMin": OpInfo(_arg),
}
