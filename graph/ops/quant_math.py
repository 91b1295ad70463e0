"""The arithmetic of quantised operators in NumPy, exact in its integers.

Accumulators are sums of products of bytes. They are computed in float64, which is exact for them,
because NumPy multiplies matrices of floats much faster than matrices of integers. Everything else
is the arithmetic of the kernels, `luthier.kernels.qreference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from luthier.graph.ops.window import Window
from luthier.kernels import qreference

__all__ = [
    "Quantised",
    "accumulate_conv",
    "accumulate_matmul",
    "add",
    "byte_values",
    "look_up",
    "multiply",
    "quantize",
    "quantize_dynamic",
    "requantize",
    "value_range",
    "wrapped",
]


def value_range(dtype: np.dtype) -> tuple[int, int]:
    """Least and largest number of an integer type, those of four and two bits included."""
    info = ml_dtypes.iinfo(dtype) if dtype.kind == "V" else np.iinfo(dtype)
    return int(info.min), int(info.max)


def quantize(
    x: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    dtype: np.dtype,
    axis: int | None = None,
    block: int = 0,
) -> np.ndarray:
    """``saturate(round(x / scale) + zero)``, per tensor, along an axis or in blocks of it."""
    low, high = value_range(dtype)
    y = qreference.quantize(x, scale, zero.astype(np.int32), low, high, axis, block)
    return y.astype(dtype)


def quantize_dynamic(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """DynamicQuantizeLinear: bytes, scale and zero point for the range of `x`, 0 included."""
    y, scale, zero = qreference.dynamic_quantize(x)
    return y, np.asarray(scale), np.asarray(zero)


def requantize(
    acc: np.ndarray, scale: np.ndarray, zero: np.ndarray, clamp: Any = None
) -> np.ndarray:
    """``clamp(round(float(acc) * scale) + zero)`` of int32 accumulators, of the type of `zero`."""
    low, high = clamp or value_range(zero.dtype)
    finite = np.minimum(scale.astype(np.float32), np.finfo(np.float32).max)
    with np.errstate(over="ignore"):
        return qreference.requantize(acc, finite, int(zero), low, high).astype(zero.dtype)


@dataclass(frozen=True, slots=True)
class Quantised:
    """A tensor of bytes with a scale and a zero point for all of it."""

    q: np.ndarray
    scale: np.ndarray
    zero: np.ndarray


def add(
    a: Quantised, b: Quantised, scale: np.ndarray, zero: np.ndarray, clamp: Any = None
) -> np.ndarray:
    """The sum of two quantised tensors, which are not exchangeable: see ADR 0005."""
    low, high = clamp or value_range(zero.dtype)
    ratios = np.float32(a.scale / scale), np.float32(b.scale / scale)
    zeros = int(a.zero), int(b.zero), int(zero)
    return qreference.add(a.q, b.q, ratios, zeros, low, high).astype(zero.dtype)


def multiply(
    a: Quantised, b: Quantised, scale: np.ndarray, zero: np.ndarray, clamp: Any = None
) -> np.ndarray:
    """The product of two quantised tensors."""
    low, high = clamp or value_range(zero.dtype)
    ratio = np.float32(a.scale * b.scale / scale)
    zeros = int(a.zero), int(b.zero), int(zero)
    return qreference.multiply(a.q, b.q, ratio, zeros, low, high).astype(zero.dtype)


def wrapped(acc: np.ndarray) -> np.ndarray:
    """Exact sums as int32, which wraps around."""
    return acc.astype(np.int64).astype(np.int32)


def accumulate_matmul(a: np.ndarray, a_zero: Any, b: np.ndarray, b_zero: Any) -> np.ndarray:
    """``(a - a_zero) @ (b - b_zero)`` as int32; zero points broadcast against their matrices."""
    return wrapped(np.matmul(_wide(a, a_zero), _wide(b, b_zero)))


def accumulate_conv(
    x: np.ndarray, x_zero: Any, w: np.ndarray, w_zero: Any, window: Window, groups: int
) -> np.ndarray:
    """``x - x_zero`` (N, C, ...), padded with 0, convolved with ``w - w_zero`` as int32."""
    rank = w.ndim - 2
    x, w = _wide(x, x_zero), _wide(w, np.reshape(w_zero, (-1, *[1] * (rank + 1))))
    x = _padded(x, window.pads)
    n, c = x.shape[:2]
    oc = w.shape[0]
    parts = w.reshape(groups, oc // groups, c // groups, -1)
    acc: Any = 0.0
    for i, tap in enumerate(np.ndindex(*w.shape[2:])):
        columns = x[_positions(tap, window)].reshape(n, groups, c // groups, -1)
        acc = acc + np.matmul(parts[..., i], columns)
    return wrapped(acc).reshape(n, oc, *window.output)


def byte_values(dtype: np.dtype) -> np.ndarray:
    """The 256 values of a type of one byte, in the order of their bytes."""
    return np.arange(256, dtype=np.uint8).view(dtype)


def look_up(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The entry of `table` for each byte of `x`."""
    return table[np.ascontiguousarray(x).view(np.uint8)]


def _wide(x: np.ndarray, zero: Any) -> np.ndarray:
    return np.asarray(x).astype(np.float64) - np.asarray(zero).astype(np.float64)


def _padded(x: np.ndarray, pads: Sequence[int]) -> np.ndarray:
    rank = len(pads) // 2
    return np.pad(x, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])


def _positions(tap: tuple[int, ...], window: Window) -> tuple[slice, ...]:
    """What tap `tap` of the window reads of maps (N, C, ...), for every position of the window."""
    places = zip(tap, window.dilations, window.output, window.strides, strict=True)
    steps = (slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, o, s in places)
    return (slice(None), slice(None), *steps)
