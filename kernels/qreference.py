"""The oracle of quantised operators: plain NumPy that gives the very bits of the kernels.

Floats are float32, each operation rounded once; rounding is half to even.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from luthier.kernels import reference

if TYPE_CHECKING:
    from luthier.kernels.requant import Requant

__all__ = [
    "add",
    "average_pool2d",
    "conv2d",
    "dequantize",
    "dynamic_quantize",
    "fused",
    "gemm",
    "global_average_pool",
    "multiply",
    "quantize",
    "requantise",
    "requantize",
    "softmax",
    "softmax_table",
]

_F32 = np.float32


def fused(a: Any, b: Any, c: Any) -> np.ndarray:
    """``a * b + c`` of float32 rounded once.

    The product is exact in float64. The sum is rounded to odd there: its last bit is set if it is
    inexact, so that rounding it again gives what rounding once does (Boldo and Melquiond, 2005).
    """
    product = np.asarray(a, np.float64) * np.asarray(b, np.float64)
    product, c = np.broadcast_arrays(product, np.asarray(c, np.float64))
    total = product + c
    shadow = total - product
    error = (product - (total - shadow)) + (c - shadow)
    even = (np.ascontiguousarray(total).view(np.int64) & 1) == 0
    odd = np.nextafter(total, np.copysign(np.inf, error))
    return np.where((error != 0) & even, odd, total).astype(_F32)


def _saturate(v: np.ndarray, zero: int | np.ndarray, low: int, high: int) -> np.ndarray:
    """``clip(rint(v) + zero)`` as int32, of any v but NaN."""
    zero = np.asarray(zero, np.int64)
    return (np.rint(np.clip(v, low - zero, high - zero)).astype(np.int64) + zero).astype(np.int32)


def align(
    parameter: np.ndarray, shape: tuple[int, ...], axis: int | None, block: int
) -> np.ndarray:
    """A scale or zero point of a tensor, an axis or a block in a shape that broadcasts."""
    if axis is None:
        return parameter.reshape(())
    if not block:
        return parameter.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.repeat(parameter, block, axis).take(range(shape[axis]), axis)


def quantize(
    x: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray,
    low: int,
    high: int,
    axis: int | None = None,
    block: int = 0,
) -> np.ndarray:
    """``clip(rint(x / scale) + zero, low, high)`` as int32; NaN becomes `low`."""
    scale, zero = (align(p, x.shape, axis, block) for p in (scale, zero))
    with np.errstate(all="ignore"):
        v = x / scale
    return np.where(np.isnan(v), low, _saturate(np.where(np.isnan(v), 0, v), zero, low, high))


def dequantize(
    x: np.ndarray, scale: np.ndarray, zero: np.ndarray, axis: int | None = None, block: int = 0
) -> np.ndarray:
    """``(x - zero) * scale``, the difference in int32."""
    scale, zero = (align(p, x.shape, axis, block) for p in (scale, zero))
    with np.errstate(all="ignore"):
        return (x.astype(np.int32) - zero.astype(np.int32)).astype(_F32) * scale


def dynamic_quantize(x: np.ndarray) -> tuple[np.ndarray, np.float32, np.uint8]:
    """ONNX's DynamicQuantizeLinear: bytes, scale, zero point; NaN does not count for the range."""
    known = x[~np.isnan(x)]
    low, high = (_F32(f(known, initial=0)) for f in (np.min, np.max))
    with np.errstate(all="ignore"):
        scale = _F32(1) if high == low else (high - low) / _F32(255)
        zero = np.rint(np.clip(-low / scale, _F32(0), _F32(255)))
    zero = np.uint8(0 if np.isnan(zero) else zero)
    y = quantize(x, np.asarray(scale), np.asarray(zero), 0, 255)
    return y.astype(np.uint8), scale, zero


def requantize(acc: np.ndarray, scale: Any, zero: int, low: int, high: int) -> np.ndarray:
    """``clip(rint(float(acc) * scale) + zero, low, high)`` as int32."""
    return _saturate(acc.astype(_F32) * scale, zero, low, high)


def add(
    a: np.ndarray,
    b: np.ndarray,
    ratios: tuple[np.float32, np.float32],
    zeros: tuple[int, int, int],
    low: int,
    high: int,
) -> np.ndarray:
    """The sum of quantised tensors, of scales `ratios` times that of the sum, as ADR 0005 says."""
    (ra, rb), (za, zb, zero) = ratios, zeros
    offset = _F32(zero) - fused(ra, _F32(za), rb * _F32(zb))
    v = fused(a.astype(_F32), ra, fused(b.astype(_F32), rb, offset))
    return _saturate(v, 0, low, high)


def multiply(
    a: np.ndarray,
    b: np.ndarray,
    ratio: np.float32,
    zeros: tuple[int, int, int],
    low: int,
    high: int,
) -> np.ndarray:
    """``clip(rint((a - a_zero) (b - b_zero) ratio + zero), low, high)`` as int32."""
    za, zb, zero = zeros
    product = (a.astype(np.int32) - za) * (b.astype(np.int32) - zb)
    return _saturate(product.astype(_F32) * ratio + _F32(zero), 0, low, high)


def average_pool2d(
    x: np.ndarray,
    kernel: tuple[int, int],
    out_size: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    padded: bool,
    scales: tuple[np.float32, np.float32],
    zeros: tuple[int, int],
) -> np.ndarray:
    """NHWC: means of ``x_scale * (x - x_zero)``, summed in float32 row by row, as int32."""
    (top, left, bottom, right), (n, ih, iw, c) = pads, x.shape
    terms = (x.astype(np.int32) - zeros[0]).astype(_F32) * scales[0]
    y = np.zeros((n, *out_size, c), _F32)
    for oy, ox in np.ndindex(*out_size):
        rows = [oy * strides[0] - top + k * dilations[0] for k in range(kernel[0])]
        cols = [ox * strides[1] - left + k * dilations[1] for k in range(kernel[1])]
        counted = sum(r < ih + bottom for r in rows) * sum(k < iw + right for k in cols)
        inside = [(r, k) for r in rows for k in cols if 0 <= r < ih and 0 <= k < iw]
        total = np.zeros((n, c), _F32)
        for r, k in inside:
            total = total + terms[:, r, k]
        y[:, oy, ox] = total / _F32(max(1, counted if padded else len(inside)))
    info = np.iinfo(x.dtype)
    return _saturate(y / scales[1] + _F32(zeros[1]), 0, info.min, info.max)


def global_average_pool(x: np.ndarray, scale: np.float32, x_zero: int, y_zero: int) -> np.ndarray:
    """``requantize(sum over axis 1 of x - x_zero)`` of (outer, count, inner), as int32."""
    info = np.iinfo(x.dtype)
    total = (x.astype(np.int32) - x_zero).sum(1, dtype=np.int32)
    return requantize(total, scale, y_zero, info.min, info.max)


def softmax_table(x_scale: float, count: int) -> np.ndarray:
    """The exponentials of QLinearSoftmax over `count` elements: 256 floats, the largest last.

    Scaled so that their sum stays far below the largest float, as in ONNX Runtime.
    """
    scale = float(np.float32(x_scale))
    shift = max(0.0, math.log(float(np.finfo(np.float32).max) / count) - 5) / scale
    with np.errstate(over="ignore", under="ignore"):
        return np.exp((np.arange(256.0) - 255 + shift) * scale).astype(np.float32)


def softmax(x: np.ndarray, exps: np.ndarray, factor: np.float32, y_zero: int) -> np.ndarray:
    """Of rows: ``exps[255 - max + x] * factor / sum``, summed one by one, as int32."""
    info = np.iinfo(x.dtype)
    index = x.astype(np.int32) - info.min
    e = exps[index + 255 - index.max(1, keepdims=True)]
    total = np.zeros(len(x), _F32)
    for column in e.T:
        total = total + column
    with np.errstate(over="ignore"):
        return _saturate(e * factor / total[:, None], y_zero, info.min, info.max)


def requantise(sums: np.ndarray, bias: np.ndarray | None, out: Requant) -> np.ndarray:
    """What `out` makes of exact sums, whose last axis is that of columns; they wrap to int32."""
    from luthier.kernels.checks import integer_bounds  # loads compiled code

    if bias is not None:
        sums = sums + bias
    acc = sums.astype(np.int64).astype(np.int32)
    if out.type == "s32":
        return acc
    scale, real = np.asarray(out.scale, _F32), acc.astype(_F32)
    if out.type == "f32":
        if out.a_scale is not None:
            scale = scale * out.a_scale.astype(_F32)
        real = real * scale
        return real if out.fbias is None else real + out.fbias.astype(_F32)
    with np.errstate(over="ignore"):
        q = _saturate(real * scale, out.zero, *integer_bounds(out.low, out.high, out.dtype))
    if out.residual is not None:
        r = out.residual
        pairs = (q, _F32(r.own_ratio), out.zero), (r.value, _F32(r.ratio), r.zero)
        (a, ra, za), (b, rb, zb) = reversed(pairs) if r.first else pairs
        limits = integer_bounds(r.low, r.high, out.dtype)
        q = add(a, b, (ra, rb), (za, zb, r.sum_zero), *limits)
    y = q.astype(out.dtype)
    return y if out.table is None else out.table.view(out.dtype)[y.view(np.uint8)]


def gemm(
    a: np.ndarray,
    w: np.ndarray,
    out: Requant,
    a_zero: int = 0,
    w_zero: Any = 0,
    bias: np.ndarray | None = None,
) -> np.ndarray:
    """`out` of ``(a - a_zero) @ (w - w_zero) + bias``; float64 holds the sums exactly."""
    left, right = a.astype(np.float64) - a_zero, w.astype(np.float64) - w_zero
    return requantise(left @ right, bias, out)


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    out: Requant,
    x_zero: int = 0,
    w_zero: Any = 0,
    bias: np.ndarray | None = None,
    **window: Any,
) -> np.ndarray:
    """NHWC convolution of bytes, padding counting as `x_zero`; `window` of `reference.conv2d`."""
    taps = w.astype(np.float64) - np.reshape(w_zero, (-1, 1, 1, 1))
    sums = reference.conv2d(x.astype(np.float64) - x_zero, taps, **window)
    return requantise(sums, bias, out)
