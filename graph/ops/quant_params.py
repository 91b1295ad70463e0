"""Scales and zero points: what they must be, and reading them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.ops.common import dtype_of, quote, require, shape_of, tensor

__all__ = ["check_pair", "check_scale", "check_zero", "pair"]


def check_scale(node: Node, i: int, shapes: Sequence[tuple[int, ...]] | None = None) -> None:
    """Input `i` is a scale: one number, or of one of `shapes`; constant ones must be positive.

    Raises
    ------
    InvalidModelError
        If a scale has another shape, or is zero, negative, infinite or not a number.
    """
    value, shape = tensor(node, i), shape_of(node, i)
    if math.prod(shape) != 1 and shapes is not None:
        wanted = " or ".join(str(list(s)) for s in shapes) or "one number"
        reason = f"scale {quote(value.name)} has shape {list(shape)} where {wanted} is needed"
        require(shape in shapes, node, reason)
    if value.data is not None:
        scale = np.asarray(value.data).astype(np.float32)
        if not bool((np.isfinite(scale) & (scale > 0)).all()):
            bad = scale[~(np.isfinite(scale) & (scale > 0))].reshape(-1)[0]
            require(False, node, f"scale {quote(value.name)} is {bad}, must be positive and finite")


def check_zero(
    node: Node, i: int, dtype: np.dtype | None, shapes: Sequence[tuple[int, ...]] | None
) -> None:
    """Input `i`, if present, is a zero point of `dtype`: one number, or of one of `shapes`.

    Raises
    ------
    InvalidModelError
        If it has another type or shape, or belongs to int32 and is not zero.
    """
    value = node.input(i)
    if value is None:
        return
    shape, got = shape_of(node, i), dtype_of(node, i)
    name = f"zero point {quote(value.name)}"
    require(dtype is None or got == dtype, node, f"{name} is {got} where {dtype} is needed")
    if math.prod(shape) != 1 and shapes is not None:
        wanted = " or ".join(str(list(s)) for s in shapes) or "one number"
        reason = f"{name} has shape {list(shape)} where {wanted} is needed"
        require(shape in shapes, node, reason)
    if got == np.int32 and value.data is not None:
        require(not value.data.any(), node, f"{name} of int32 must be 0")


def check_pair(
    node: Node,
    i: int,
    dtype: np.dtype | None = None,
    shapes: Sequence[tuple[int, ...]] = (),
) -> None:
    """Inputs `i` and ``i + 1`` are scale and zero point of a tensor of `dtype`."""
    check_scale(node, i, shapes)
    check_zero(node, i + 1, dtype, shapes)


def pair(arrays: Sequence[Any], i: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `i` and ``i + 1`` as a float32 scale and a zero point, 0 where it is absent.

    What holds one number has no dimensions.
    """
    scale = np.asarray(arrays[i]).astype(np.float32)
    zero = arrays[i + 1] if i + 1 < len(arrays) else None
    zero = np.zeros((), dtype) if zero is None else np.asarray(zero)
    return _scalar(scale), _scalar(zero)


def _scalar(array: np.ndarray) -> np.ndarray:
    return array.reshape(()) if array.size == 1 else array
