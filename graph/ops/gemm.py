"""Matrix products."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    OpInfo,
    Shape,
    TensorType,
    broadcast,
    broadcasts_to,
    dtype_of,
    require,
    shape_of,
)


def matmul_shape(node: Node, a: Shape, b: Shape) -> Shape:
    """Shape of the product under the rule of numpy.matmul."""
    mismatch = f"cannot multiply shapes {list(a)} and {list(b)}"
    require(bool(a) and bool(b), node, mismatch)
    left = a if len(a) > 1 else (1, *a)
    right = b if len(b) > 1 else (*b, 1)
    require(left[-1] == right[-2], node, mismatch)
    batch = broadcast(node, left[:-2], right[:-2])
    rows = (left[-2],) if len(a) > 1 else ()
    columns = (right[-1],) if len(b) > 1 else ()
    return (*batch, *rows, *columns)


def _matmul(node: Node) -> list[TensorType]:
    dtype, other = dtype_of(node, 0), dtype_of(node, 1)
    require(dtype == other, node, f"inputs differ in type: {dtype} and {other}")
    return [(dtype, matmul_shape(node, shape_of(node, 0), shape_of(node, 1)))]


def gemm_shape(node: Node, a: Shape, b: Shape) -> Shape:
    """(M, N) of a Gemm with operands of shapes `a` and `b`, transA and transB applied."""
    require(len(a) == 2 and len(b) == 2, node, f"cannot multiply shapes {list(a)} and {list(b)}")
    m, k = a[::-1] if node.attrs.get("transA", 0) else a
    rows, n = b[::-1] if node.attrs.get("transB", 0) else b
    require(k == rows, node, f"inner dimensions of {list(a)} and {list(b)} differ: {k} and {rows}")
    return m, n


def _gemm(node: Node) -> list[TensorType]:
    shape = gemm_shape(node, shape_of(node, 0), shape_of(node, 1))
    if node.input(2) is not None:
        c = shape_of(node, 2)
        require(
            broadcasts_to(c, shape),
            node,
            f"C of shape {list(c)} does not broadcast to {list(shape)}",
        )
    return [(dtype_of(node, 0), shape)]


OPS: dict[str, OpInfo] = {
    "MatMul": OpInfo(_matmul, keep=True),
    "Gemm": OpInfo(_gemm, keep=True),
}
