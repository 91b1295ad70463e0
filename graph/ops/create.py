"""Operators that make a tensor from sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    FLOAT32,
    OpInfo,
    TensorType,
    const,
    dtype_of,
    invalid,
    needed_ints,
    needed_size,
    normal_axis,
    require,
    result_shape,
    shape_of,
    tensor,
    typed,
)
from luthier.graph.ops.dtypes import numpy_dtype


def _fill(node: Node) -> np.ndarray:
    value = node.attrs.get("value")
    if value is None:
        return np.zeros((), FLOAT32)
    require(value.size == 1, node, f"value must have one element, not {value.size}")
    return value.reshape(())


def _constant_of_shape(node: Node) -> list[TensorType]:
    shape = needed_ints(node, 0)
    require(min(shape, default=0) >= 0, node, f"shape {shape} is not legal")
    return [(_fill(node).dtype, tuple(shape))]


def _compute_constant_of_shape(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    return [np.broadcast_to(_fill(node), result_shape(node))]


def _range(node: Node) -> list[TensorType]:
    tensor(node, 2)
    bounds = []
    for i in range(3):
        data = const(node, i)
        number = data.reshape(()).item() if data is not None and data.size == 1 else None
        if not isinstance(number, int | float):
            raise invalid(node, f"input {i} must be one number")
        bounds.append(number)
    start, limit, delta = bounds
    require(delta != 0 and all(map(math.isfinite, bounds)), node, f"range {bounds} is not legal")
    if all(isinstance(b, int) for b in bounds):
        return [(dtype_of(node, 0), (int(max(0, -((start - limit) // delta))),))]
    steps = (limit - start) / delta
    require(math.isfinite(steps), node, f"range {bounds} is not legal")
    return [(dtype_of(node, 0), (max(0, math.ceil(steps)),))]


def _compute_range(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    start, _, delta = (a.reshape(()) for a in arrays)
    count = np.arange(result_shape(node)[0], dtype=start.dtype)
    return [start + count * delta]


def declared_dtype(node: Node, attr: str, default: np.dtype) -> np.dtype:
    """The dtype that the attribute `attr` names, `default` where it is absent."""
    if attr not in node.attrs:
        return default
    dtype = numpy_dtype(node.attrs[attr])
    if dtype is None:
        raise invalid(node, f"{attr} {node.attrs[attr]} is not an element type")
    return dtype


def _eye_like(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    require(len(shape) == 2, node, f"input must be a matrix, not {list(shape)}")
    return [(declared_dtype(node, "dtype", dtype), shape)]


def _one_hot(node: Node) -> list[TensorType]:
    indices = shape_of(node, 0)
    depth = needed_size(node, 1)
    axis = normal_axis(node, node.attrs.get("axis", -1), len(indices) + 1)
    return [(dtype_of(node, 2), (*indices[:axis], depth, *indices[axis:]))]


OPS: dict[str, OpInfo] = {
    "ConstantOfShape": OpInfo(_constant_of_shape, _compute_constant_of_shape, view=True),
    "Range": OpInfo(_range, _compute_range),
    "EyeLike": OpInfo(_eye_like),
    "OneHot": OpInfo(_one_hot),
}
