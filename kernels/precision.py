"""A product of bytes as one of float32 between conversions: what both are made of.

Scales are folded into the float weights, so that the product gives the numbers that the integer
kernel rounds; then come the same rounding, sum with the residual and table, as steps of their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from luthier.kernels.fields import dtype_number
from luthier.kernels.loops import loop_slots
from luthier.kernels.quant_inputs import out_shape
from luthier.kernels.workload import QGemm

__all__ = ["PRECISIONS", "FloatSteps", "elements_read", "float_operands", "float_steps"]

PRECISIONS = ("int8", "f32")
"""Values of the one knob of a `luthier.kernels.Precision`."""

Slots = Mapping[str, Any]
Step = tuple[str, dict[str, Any]]
"""An operator and its slots."""

FloatSteps = tuple[list[Step], dict[str, Any], list[Step]]

_ONE = np.ones(1, np.float32)
_ADD = 0
"""``LT_BINARY_ADD``."""


def float_operands(
    integer: Any, weights: np.ndarray, scale: np.ndarray, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of float32 whose product with bytes less their zero point is the result.

    Parameters
    ----------
    integer : QGemm, QConv2d or QDepthwiseConv2d
    weights : ndarray
        Less their zero points, with columns last for qgemm and first for convolutions.
    scale : ndarray of float32
        Of the integer sums, one a column.
    bias : ndarray, (n,), optional
        Of int32 in units of the sums, or of float32 in those of the result.
    """
    columns = weights.shape[-1 if isinstance(integer, QGemm) else 0]
    scale = np.broadcast_to(scale, columns).astype(np.float32)
    along = scale if isinstance(integer, QGemm) else scale[:, None, None, None]
    if bias is None:
        bias = np.zeros(columns, np.float32)
    elif bias.dtype == np.int32:
        bias = (bias * scale.astype(np.float64)).astype(np.float32)
    return weights.astype(np.float32) * along, bias


def float_steps(integer: Any, slots: Slots, room: Callable[[int], Any]) -> FloatSteps:
    """The steps before the product, the product's own input and output, and the steps behind it.

    Parameters
    ----------
    integer : QGemm, QConv2d or QDepthwiseConv2d
    slots : mapping
        Of the operator on bytes, with its output.
    room : callable
        Makes a place of so many bytes for what is between two steps.
    """
    side = "a" if isinstance(integer, QGemm) else "x"
    x, y = room(4 * elements_read(integer)), slots["y"]
    before = [_dequantize(integer, slots, slots[side], x)]
    stages = [_quantize] if integer.y != "f32" else []
    stages += [_add] * integer.residual + [_look_up] * integer.table
    size = math.prod(out_shape(integer))
    results = [*(room((4, 1)[i > 0] * size) for i in range(len(stages))), y]
    pairs = itertools.pairwise(results)
    after = [stage(integer, slots, *ends) for stage, ends in zip(stages, pairs, strict=True)]
    return before, {side: x, "y": results[0]}, after


def elements_read(integer: Any) -> int:
    """How many bytes the product is made from, weights aside."""
    q = integer
    return q.batch * q.m * q.k if isinstance(q, QGemm) else q.n * q.h * q.w * q.c


def _whole(size: int, dtype: str, zero: int) -> dict[str, Any]:
    """The slots of a conversion by one zero point and a scale of one."""
    sizes = {"outer": 1, "count": 1, "inner": size, "block": 0, "type": dtype_number(dtype)}
    return {**sizes, "scale": _ONE, "zero": np.array([zero], np.int32)}


def _dequantize(integer: Any, slots: Slots, x: Any, y: Any) -> Step:
    whole = _whole(elements_read(integer), integer.a, slots["a_zero"])
    return "dequantize", {"x": x, "y": y, **whole}


def _quantize(integer: Any, slots: Slots, x: Any, y: Any) -> Step:
    whole = _whole(math.prod(out_shape(integer)), integer.y, slots["y_zero"])
    bounds = {name: slots[name] for name in ("y_min", "y_max")}
    return "quantize", {"x": x, "y": y, **whole, **bounds}


def _add(integer: Any, slots: Slots, x: Any, y: Any) -> Step:
    own = {"": x, "_scale": slots["y_ratio"], "_zero": slots["y_zero"]}
    other = {"": slots["residual"], "_scale": slots["r_ratio"], "_zero": slots["r_zero"]}
    a, b = (other, own) if slots["r_first"] else (own, other)
    operands = {letter + end: d[end] for letter, d in (("a", a), ("b", b)) for end in d}
    result = {"y_scale": 1.0, "y_zero": slots["sum_zero"]}
    bounds = {"y_min": slots["sum_min"], "y_max": slots["sum_max"]}
    loops = loop_slots((math.prod(out_shape(integer)),), {"a": (1,), "b": (1,)})
    kind = {"op": _ADD, "type": dtype_number(integer.y)}
    return "qbinary", {"y": y, **operands, **result, **bounds, **loops, **kind}


def _look_up(integer: Any, slots: Slots, x: Any, y: Any) -> Step:
    size = math.prod(out_shape(integer))
    sizes = {"rows": 1, "cols": size, "ldx": size, "ldy": size}
    return "lookup", {"x": x, "y": y, "table": slots["table"], **sizes}
