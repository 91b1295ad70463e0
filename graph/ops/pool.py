"""Pooling. Shapes follow the attribute `layout`."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    INT64,
    OpInfo,
    TensorType,
    dtype_of,
    join_map,
    shape_of,
    split_map,
    typed,
)
from luthier.graph.ops.window import Window, resolve_window


def pool_window(node: Node) -> Window:
    """The window of a MaxPool, AveragePool or LpPool."""
    _, _, spatial = split_map(node, shape_of(node, 0))
    return resolve_window(node, spatial, node.attrs["kernel_shape"])


def _pool(node: Node) -> list[TensorType]:
    n, c, _ = split_map(node, shape_of(node, 0))
    return [(dtype_of(node, 0), join_map(node, n, c, pool_window(node).output))]


def _max_pool(node: Node) -> list[TensorType]:
    dtype, shape = _pool(node)[0]
    return [(dtype, shape), (INT64, shape)][: len(node.outputs)]


def _global_pool(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    n, c, spatial = split_map(node, shape)
    return [(dtype, join_map(node, n, c, (1,) * len(spatial)))]


OPS: dict[str, OpInfo] = {
    "MaxPool": OpInfo(_max_pool, keep=True),
    "AveragePool": OpInfo(_pool, keep=True),
    "LpPool": OpInfo(_pool, keep=True),
    "GlobalAveragePool": OpInfo(_global_pool),
    "GlobalMaxPool": OpInfo(_global_pool),
    "GlobalLpPool": OpInfo(_global_pool),
}
