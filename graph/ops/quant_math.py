"""The arithmetic of quantised operators in NumPy, exact in its integers.

Accumulators are sums of products of bytes. They are computed in float64, which is exact for them,
because NumPy multiplies matrices of floats much faster than matrices of integers. Scales and what
is multiplied by them are float32, every operation rounded once; rounding is half to even.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from luthier.graph.ops.window import Window

__all__ = [
    "accumulate_conv",
    "accumulate_matmul",
    "add",
    "align",
    "average",
    "byte_values",
    "dequantize",
    "look_up",
    "multiply",
    "quantize",
    "quantize_dynamic",
    "requantize",
    "value_range",
    "wrapped",
]

_F32 = np.float32


def value_range(dtype: np.dtype) -> tuple[int, int]:
    """Least and largest number of an integer type, those of four and two bits included."""
    info = ml_dtypes.iinfo(dtype) if dtype.kind == "V" else np.iinfo(dtype)
    return int(info.min), int(info.max)


def align(parameter: np.ndarray, shape: tuple[int, ...], axis: int, block: int = 0) -> np.ndarray:
    """A scale or zero point per tensor, per axis or per block, in a shape that broadcasts."""
    if parameter.size == 1:
        return parameter.reshape(())
    if not block:
        return parameter.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    repeated = np.repeat(parameter, block, axis)
    return repeated[tuple(slice(0, n) if i == axis else slice(None) for i, n in enumerate(shape))]


def _saturate(value: np.ndarray, zero: Any, dtype: np.dtype, clamp: Any = None) -> np.ndarray:
    """``round(value) + zero``, clamped to the type or to `clamp`. NaN becomes the zero point."""
    low, high = clamp or value_range(dtype)
    rounded = np.rint(np.asarray(value, np.float64))
    rounded = np.where(np.isnan(rounded), 0, rounded) + np.asarray(zero, np.float64)
    return np.clip(rounded, low, high).astype(np.int32).astype(dtype)


def quantize(x: np.ndarray, scale: np.ndarray, zero: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``saturate(round(x / scale) + zero)``."""
    with np.errstate(all="ignore"):
        return _saturate(x / scale, _int(zero), dtype)


def dequantize(q: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """``(q - zero) * scale`` in float32."""
    with np.errstate(over="ignore"):
        return (_int(q) - _int(zero)).astype(_F32) * scale.astype(_F32)


def quantize_dynamic(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """DynamicQuantizeLinear: bytes, scale and zero point for the range of `x`, 0 included."""
    low, high = (np.float32(f(x, initial=0)) for f in (np.min, np.max))
    scale = np.float32(high - low if high > low else 1) / np.float32(255)
    zero = np.rint(np.clip(-low / scale, 0, 255)).astype(np.uint8)
    return quantize(x, scale, zero, zero.dtype), np.asarray(scale), np.asarray(zero)


def requantize(
    acc: np.ndarray, scale: np.ndarray, zero: np.ndarray, dtype: np.dtype, clamp: Any = None
) -> np.ndarray:
    """``clamp(round(float(acc) * scale) + zero)`` of int32 accumulators."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _saturate(acc.astype(_F32) * scale.astype(_F32), _int(zero), dtype, clamp)


def add(
    a: np.ndarray,
    a_zero: np.ndarray,
    a_ratio: np.float32,
    b: np.ndarray,
    b_zero: np.ndarray,
    b_ratio: np.float32,
    zero: np.ndarray,
    clamp: Any = None,
) -> np.ndarray:
    """The sum of two quantised tensors; a ratio is a tensor's scale over the sum's.

    The arithmetic is that of docs/adr/0005-quantised-sums-as-onnx-runtime.md, in which the two
    operands are not exchangeable.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        offset = _F32(zero) - _fused(a_ratio, a_zero, b_ratio * _F32(b_zero))
        return _saturate(_fused(a, a_ratio, _fused(b, b_ratio, offset)), 0, zero.dtype, clamp)


def _fused(a: Any, b: Any, c: Any) -> np.ndarray:
    """``a b + c`` of float32 numbers, rounded once.

    The product is exact in float64; the sum is rounded to odd there, so that rounding it again to
    float32 gives what one rounding would (Boldo and Melquiond, Emulation of FMA and correctly
    rounded sums: proved algorithms using rounding to odd, 2008).
    """
    product, c = np.asarray(a, np.float64) * np.asarray(b, np.float64), np.asarray(c, np.float64)
    total = np.atleast_1d(product + c)
    part = total - product
    error = (product - (total - part)) + (c - part)
    even = (total.view(np.int64) & 1) == 0
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    result = np.where((error != 0) & even, odd, total).astype(_F32)
    return result.reshape(np.broadcast_shapes(product.shape, c.shape))


def multiply(
    a: np.ndarray,
    a_zero: np.ndarray,
    b: np.ndarray,
    b_zero: np.ndarray,
    ratio: np.float32,
    zero: np.ndarray,
    clamp: Any = None,
) -> np.ndarray:
    """The product of two quantised tensors; `ratio` is both scales over the product's."""
    product = (_int(a) - _int(a_zero)) * (_int(b) - _int(b_zero))
    return requantize(product, np.asarray(ratio), zero, zero.dtype, clamp)


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


def average(
    x: np.ndarray, x_zero: np.ndarray, window: Window, count_pads: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of ``x - x_zero`` (N, C, ...) over windows as int32, and how many elements count."""
    image = _padded(_wide(x, x_zero), window.pads)
    inside = np.ones(x.shape[2:])[None, None]
    inside = _padded(inside, window.pads, 1.0 if count_pads else 0.0)
    room = [
        max(0, (o - 1) * s + (k - 1) * d + 1 - size)
        for o, s, k, d, size in zip(
            window.output,
            window.strides,
            window.kernel,
            window.dilations,
            image.shape[2:],
            strict=True,
        )
    ]  # with ceil_mode the last window reaches beyond the padding, which never counts
    image, inside = (_padded(a, [*[0] * len(room), *room]) for a in (image, inside))
    total: Any = 0.0
    count: Any = 0.0
    for tap in np.ndindex(*window.kernel):
        where = _positions(tap, window)
        total, count = total + image[where], count + inside[where]
    return wrapped(total), wrapped(count)


def byte_values(dtype: np.dtype) -> np.ndarray:
    """The 256 values of a type of one byte, in the order of their bytes."""
    return np.arange(256, dtype=np.uint8).view(dtype)


def look_up(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The entry of `table` for each byte of `x`."""
    return table[np.ascontiguousarray(x).view(np.uint8)]


def _int(x: np.ndarray) -> np.ndarray:
    return np.asarray(x).astype(np.int32)


def _wide(x: np.ndarray, zero: Any) -> np.ndarray:
    return np.asarray(x).astype(np.float64) - np.asarray(zero).astype(np.float64)


def _padded(x: np.ndarray, pads: Sequence[int], fill: float = 0.0) -> np.ndarray:
    rank = len(pads) // 2
    widths = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    return np.pad(x, widths, constant_values=fill)


def _positions(tap: tuple[int, ...], window: Window) -> tuple[slice, ...]:
    """What tap `tap` of the window reads of maps (N, C, ...), for every position of the window."""
    places = zip(tap, window.dilations, window.output, window.strides, strict=True)
    steps = (slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, o, s in places)
    return (slice(None), slice(None), *steps)
