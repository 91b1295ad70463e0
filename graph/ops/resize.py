"""Resize. Scales, sizes and axes count the input's dimensions in their physical order."""

from __future__ import annotations

import math
from collections.abc import Callable

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    OpInfo,
    TensorType,
    const,
    const_ints,
    normal_axes,
    require,
    typed,
)


def resize_scales(node: Node) -> tuple[list[float], list[int]]:
    """Scale and output size of every axis of a Resize, in the input's order.

    Raises
    ------
    InvalidModelError
        If both or neither of scales and sizes are given, or they do not fit the input.
    """
    _, shape = typed(node, 0)
    axes = normal_axes(node, node.attrs.get("axes") or list(range(len(shape))), len(shape))
    factors, sizes = const(node, 2), const_ints(node, 3)
    if factors is not None and not factors.size:
        factors = None  # some exporters write an empty tensor for an absent one
    require((factors is None) != (sizes is None), node, "needs either scales or sizes")
    scales, result = [1.0] * len(shape), list(shape)
    if factors is not None:
        given = [float(s) for s in factors.reshape(-1)]
        legal = len(given) == len(axes) and all(s > 0 and math.isfinite(s) for s in given)
        require(legal, node, f"scales {given} do not fit shape {list(shape)}")
        for axis, scale in zip(axes, given, strict=True):
            scales[axis], result[axis] = scale, math.floor(shape[axis] * scale)
        return scales, result
    wanted = sizes or []
    legal = len(wanted) == len(axes) and all(s > 0 for s in wanted)
    require(legal and all(shape), node, f"sizes {wanted} do not fit shape {list(shape)}")
    ratios = [size / shape[axis] for axis, size in zip(axes, wanted, strict=True)]
    policy = node.attrs.get("keep_aspect_ratio_policy", "stretch")
    pick: dict[str, Callable[[list[float]], float]] = {"not_larger": min, "not_smaller": max}
    if policy in pick:
        ratios = [pick[policy](ratios)] * len(axes)
        wanted = [math.floor(r * shape[axis] + 0.5) for axis, r in zip(axes, ratios, strict=True)]
    for axis, ratio, size in zip(axes, ratios, wanted, strict=True):
        scales[axis], result[axis] = ratio, size
    return scales, result


def _resize(node: Node) -> list[TensorType]:
    dtype, _ = typed(node, 0)
    return [(dtype, tuple(resize_scales(node)[1]))]


OPS: dict[str, OpInfo] = {"Resize": OpInfo(_resize, keep=True)}
