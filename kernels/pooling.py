"""Pooling on NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels
from luthier.kernels.checks import (
    byte_array,
    byte_map,
    byte_zero,
    check_threads,
    feature_map,
    isa_number,
    positive_scale,
    window,
)
from luthier.kernels.elementwise import CAST_DTYPES

__all__ = [
    "avg_pool2d",
    "max_pool2d",
    "qlinear_avg_pool2d",
    "qlinear_global_avg_pool",
]

_MAX, _AVERAGE, _AVERAGE_PADDED = range(3)
"""The modes of the operator pool2d."""


def max_pool2d(
    x: np.ndarray,
    kernel: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
    layout: str = "NCHW",
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Maximum over windows.

    Parameters
    ----------
    x : ndarray of float32, uint8 or int8, (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``
    kernel, strides, dilations : two ints
    pads : four ints
        Top, left, bottom, right. Padding never wins, unless a window holds nothing else: the least
        number of the type.
    ceil_mode : bool
        Whether a last window that is only partly inside counts, if it starts inside.
    layout : str
        Of x and the result.
    isa : str, optional
        "scalar", "avx2", "avx512" or "neon"; the best of this CPU if left out.
    num_threads : int

    Returns
    -------
    ndarray of the dtype of x

    Raises
    ------
    ArgumentError
        A shape, dtype or window does not fit.

    Notes
    -----
    A window with a NaN gives NaN. Large windows are done along rows and then along columns.

    Examples
    --------
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> max_pool2d(x, (2, 2), strides=(2, 2))[0, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    to_map = byte_map if np.asarray(x).dtype.itemsize == 1 else feature_map
    x, shape = to_map("x", x, layout), window(strides, pads, dilations)
    return _pool(_MAX, x, kernel, shape, ceil_mode, layout, isa, num_threads, {})


def avg_pool2d(
    x: np.ndarray,
    kernel: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: str = "NCHW",
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Mean over windows.

    Parameters
    ----------
    count_include_pad : bool
        Whether the divisor counts the padding; what `ceil_mode` adds beyond it never counts.
    x, kernel, strides, pads, dilations, ceil_mode, layout, isa, num_threads
        As in `max_pool2d`.

    Returns
    -------
    ndarray of float32

    Raises
    ------
    ArgumentError
        A shape, dtype or window does not fit.

    Examples
    --------
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> avg_pool2d(x, (2, 2), strides=(2, 2))[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    mode = _AVERAGE_PADDED if count_include_pad else _AVERAGE
    x, shape = feature_map("x", x, layout), window(strides, pads, dilations)
    return _pool(mode, x, kernel, shape, ceil_mode, layout, isa, num_threads, {})


def qlinear_avg_pool2d(
    x: np.ndarray,
    x_scale: float,
    x_zero: int,
    y_scale: float,
    y_zero: int,
    kernel: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    layout: str = "NCHW",
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Mean over windows of a quantised map: com.microsoft's QLinearAveragePool.

    Parameters
    ----------
    x : ndarray of uint8 or int8, (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``
    x_scale, y_scale : float
    x_zero, y_zero : int
    kernel, strides, pads, dilations, ceil_mode, count_include_pad, layout, isa, num_threads
        As in `avg_pool2d`.

    Returns
    -------
    ndarray of the dtype of x

    Raises
    ------
    ArgumentError
        A shape, dtype, window, scale or zero point does not fit.

    Notes
    -----
    To the bit what ONNX Runtime computes: dequantised values are summed in float32, row by row.

    Examples
    --------
    >>> x = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    >>> qlinear_avg_pool2d(x, 1.0, 0, 0.5, 10, (2, 2), strides=(2, 2))[0, 0]
    array([[15, 19],
           [31, 35]], dtype=uint8)
    """
    x = byte_map("x", x, layout)
    mode = _AVERAGE_PADDED if count_include_pad else _AVERAGE
    shape = window(strides, pads, dilations)
    quantised = {
        "x_scale": positive_scale("x_scale", x_scale),
        "x_zero": byte_zero("x_zero", x_zero, x.dtype),
    }
    quantised |= {
        "y_scale": positive_scale("y_scale", y_scale),
        "y_zero": byte_zero("y_zero", y_zero, x.dtype),
    }
    return _pool(mode, x, kernel, shape, ceil_mode, layout, isa, num_threads, quantised)


def qlinear_global_avg_pool(
    x: np.ndarray,
    x_scale: float,
    x_zero: int,
    y_scale: float,
    y_zero: int,
    layout: str = "NCHW",
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Mean over a whole quantised map: com.microsoft's QLinearGlobalAveragePool.

    Parameters
    ----------
    x : ndarray of uint8 or int8, (n, c, ...), or (n, ..., c) with ``layout="NHWC"``
    x_scale, x_zero, y_scale, y_zero, layout, isa, num_threads
        As in `qlinear_avg_pool2d`.

    Returns
    -------
    ndarray of the dtype of x, (n, c, 1, ...), or (n, 1, ..., c)

    Raises
    ------
    ArgumentError
        A shape, dtype, scale or zero point does not fit.

    Notes
    -----
    To the bit what ONNX Runtime computes on x86-64 for uint8: the integer sum is multiplied by
    ``x_scale / (y_scale * count)`` in float32.

    Examples
    --------
    >>> x = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    >>> qlinear_global_avg_pool(x, 1.0, 0, 0.5, 10).ravel()
    array([25], dtype=uint8)
    """
    x = byte_array("x", x)
    if layout not in ("NCHW", "NHWC") or x.ndim < 3:
        raise ArgumentError(
            f"x: expected rank 3 or more in NCHW or NHWC, got {x.ndim} in {layout!r}"
        )
    last = layout == "NHWC"
    n, c = x.shape[0], x.shape[-1] if last else x.shape[1]
    ones = (1,) * (x.ndim - 2)
    y = np.empty((n, *ones, c) if last else (n, c, *ones), x.dtype)
    count = math.prod(x.shape[1:-1] if last else x.shape[2:])
    total = np.float32(positive_scale("y_scale", y_scale)) * np.float32(count)
    slots = {"outer": n if last else n * c, "count": count, "inner": c if last else 1}
    slots |= {"x": x, "y": y, "type": CAST_DTYPES.index(x.dtype.name)}
    slots |= {
        "scale": float(np.float32(positive_scale("x_scale", x_scale)) / total) if count else 1.0
    }
    slots |= {"x_zero": byte_zero("x_zero", x_zero, x.dtype)}
    slots |= {"y_zero": byte_zero("y_zero", y_zero, x.dtype)}
    slots |= {"isa": isa_number(isa), "threads": check_threads(num_threads)}
    _kernels.call("qmean", slots)
    return y


def _pool(mode, x, kernel, shape, ceil_mode, layout, isa, num_threads, quantised) -> np.ndarray:
    """Pool x, which is NHWC already."""
    if len(kernel) != 2 or min(kernel) < 1:
        raise ArgumentError(f"kernel: expected 2 ints of at least 1, got {kernel}")
    (kh, kw), (n, ih, iw, c) = kernel, x.shape
    (sh, sw), (dh, dw), (pt, pl, pb, pr) = shape["strides"], shape["dilations"], shape["pads"]
    oh = _output_size(ih, kh, sh, pt, pb, dh, ceil_mode)
    ow = _output_size(iw, kw, sw, pl, pr, dw, ceil_mode)
    y = np.empty((n, oh, ow, c), x.dtype)
    slots = {"mode": mode, "n": n, "ih": ih, "iw": iw, "c": c, "oh": oh, "ow": ow}
    slots |= {"kh": kh, "kw": kw, "sh": sh, "sw": sw, "dh": dh, "dw": dw}
    slots |= {"pt": pt, "pl": pl, "pb": pb, "pr": pr, "ldx": c, "ldy": c, "x": x, "y": y}
    slots |= {"isa": isa_number(isa), "threads": check_threads(num_threads)}
    slots |= {"type": CAST_DTYPES.index(x.dtype.name), **quantised}
    _kernels.call("pool2d", slots)
    return y if layout == "NHWC" else np.ascontiguousarray(y.transpose(0, 3, 1, 2))


def _output_size(
    size: int, taps: int, stride: int, before: int, after: int, dilation: int, ceil_mode: bool
) -> int:
    room = size + before + after - (taps - 1) * dilation - 1
    if room < 0:
        raise ArgumentError(
            f"kernel: a window of {(taps - 1) * dilation + 1} exceeds the padded size "
            f"{size + before + after}"
        )
    count = (-(-room // stride) if ceil_mode else room // stride) + 1
    # With ceil_mode, a window that would start in the padding behind the image is dropped.
    if ceil_mode and (count - 1) * stride >= size + before:
        count -= 1
    return count
