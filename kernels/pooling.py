"""Pooling on NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels
from luthier.kernels.checks import check_threads, feature_map, isa_number, window

__all__ = ["avg_pool2d", "max_pool2d"]

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
    x : ndarray of float32, (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``
    kernel, strides, dilations : two ints
    pads : four ints
        Top, left, bottom, right. Padding never wins, unless a window holds nothing else: -inf.
    ceil_mode : bool
        Whether a last window that is only partly inside counts, if it starts inside.
    layout : str
        Of x and the result.
    isa : str, optional
        "scalar", "avx2", "avx512" or "neon"; the best of this CPU if left out.
    num_threads : int

    Returns
    -------
    ndarray of float32

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
    shape = window(strides, pads, dilations)
    return _pool(_MAX, x, kernel, shape, ceil_mode, layout, isa, num_threads)


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
    shape = window(strides, pads, dilations)
    return _pool(mode, x, kernel, shape, ceil_mode, layout, isa, num_threads)


def _pool(mode, x, kernel, shape, ceil_mode, layout, isa, num_threads) -> np.ndarray:
    x = feature_map("x", x, layout)
    if len(kernel) != 2 or min(kernel) < 1:
        raise ArgumentError(f"kernel: expected 2 ints of at least 1, got {kernel}")
    (kh, kw), (n, ih, iw, c) = kernel, x.shape
    (sh, sw), (dh, dw), (pt, pl, pb, pr) = shape["strides"], shape["dilations"], shape["pads"]
    oh = _output_size(ih, kh, sh, pt, pb, dh, ceil_mode)
    ow = _output_size(iw, kw, sw, pl, pr, dw, ceil_mode)
    y = np.empty((n, oh, ow, c), np.float32)
    slots = {"mode": mode, "n": n, "ih": ih, "iw": iw, "c": c, "oh": oh, "ow": ow}
    slots |= {"kh": kh, "kw": kw, "sh": sh, "sw": sw, "dh": dh, "dw": dw}
    slots |= {"pt": pt, "pl": pl, "pb": pb, "pr": pr, "ldx": c, "ldy": c, "x": x, "y": y}
    slots |= {"isa": isa_number(isa), "threads": check_threads(num_threads)}
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
