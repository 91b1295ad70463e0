"""Operators that read a shape or give a tensor another one without moving elements."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    INT64,
    OpInfo,
    Shape,
    TensorType,
    broadcast,
    const_ints,
    dtype_of,
    invalid,
    needed_ints,
    normal_axes,
    normal_axis,
    require,
    result_shape,
    shape_of,
    typed,
)


def _shape_slice(node: Node) -> Shape:
    return shape_of(node, 0)[slice(node.attrs.get("start", 0), node.attrs.get("end"))]


def _shape(node: Node) -> list[TensorType]:
    return [(INT64, (len(_shape_slice(node)),))]


def _compute_shape(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    return [np.array(_shape_slice(node), np.int64)]


def _size(node: Node) -> list[TensorType]:
    return [(INT64, ())]


def _compute_size(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    return [np.array(math.prod(shape_of(node, 0)), np.int64)]


def _reshape(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    wanted = needed_ints(node, 1)
    target = list(wanted)
    for i, dim in enumerate(target):
        if dim == 0 and not node.attrs.get("allowzero", 0):
            require(i < len(shape), node, f"shape {wanted} copies dimension {i} of {list(shape)}")
            target[i] = shape[i]
    require(
        target.count(-1) <= 1 and all(d >= -1 for d in target), node, f"shape {wanted} is not legal"
    )
    size = math.prod(shape)
    if -1 in target:
        rest = -math.prod(target)
        require(rest > 0 and size % rest == 0, node, f"cannot reshape {list(shape)} to {wanted}")
        target[target.index(-1)] = size // rest
    require(math.prod(target) == size, node, f"cannot reshape {list(shape)} to {wanted}")
    return [(dtype, tuple(target))]


def _flatten(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    axis = node.attrs.get("axis", 1)
    if axis != len(shape):
        axis = normal_axis(node, axis, len(shape))
    return [(dtype, (math.prod(shape[:axis]), math.prod(shape[axis:])))]


def _squeeze(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    given = const_ints(node, 1)
    if given is None:
        return [(dtype, tuple(d for d in shape if d != 1))]
    axes = normal_axes(node, given, len(shape))
    for axis in axes:
        require(shape[axis] == 1, node, f"squeezes axis {axis} of {list(shape)}, which is not 1")
    return [(dtype, tuple(d for i, d in enumerate(shape) if i not in axes))]


def _unsqueeze(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    given = needed_ints(node, 1)
    axes = normal_axes(node, given, len(shape) + len(given))
    rest = iter(shape)
    rank = len(shape) + len(axes)
    return [(dtype, tuple(1 if i in axes else next(rest) for i in range(rank)))]


def _compute_reshape(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    return [arrays[0].reshape(result_shape(node))]


def _transpose(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    perm = permutation(node, len(shape))
    return [(dtype, tuple(shape[p] for p in perm))]


def permutation(node: Node, rank: int) -> list[int]:
    """The checked `perm` of a Transpose of `rank` dimensions (default: reversed)."""
    perm = node.attrs.get("perm", list(range(rank))[::-1])
    if sorted(perm) != list(range(rank)):
        raise invalid(node, f"perm {perm} does not fit rank {rank}")
    return perm


def _compute_transpose(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    return [arrays[0].transpose(permutation(node, arrays[0].ndim))]


def _expand(node: Node) -> list[TensorType]:
    target = needed_ints(node, 1)
    require(all(d >= 0 for d in target), node, f"shape {target} is not legal")
    return [(dtype_of(node, 0), broadcast(node, shape_of(node, 0), tuple(target)))]


def _compute_expand(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    return [np.broadcast_to(arrays[0], result_shape(node))]


OPS: dict[str, OpInfo] = {
    "Shape": OpInfo(_shape, _compute_shape, by_shape=True),
    "Size": OpInfo(_size, _compute_size, by_shape=True),
    "Reshape": OpInfo(_reshape, _compute_reshape),
    "Flatten": OpInfo(_flatten, _compute_reshape),
    "Squeeze": OpInfo(_squeeze, _compute_reshape),
    "Unsqueeze": OpInfo(_unsqueeze, _compute_reshape),
    "Transpose": OpInfo(_transpose, _compute_transpose),
    "Expand": OpInfo(_expand, _compute_expand, view=True),
}
