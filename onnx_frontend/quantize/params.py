"""Scales and zero points, and the arithmetic that goes with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["INT32_MAX", "QParams", "activation_params", "quantize_bias", "weight_scales"]

INT32_MAX = 2**31 - 1
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class QParams:
    """How a tensor is quantised: ``real = (stored - zero_point) * scale``.

    Attributes
    ----------
    scale : numpy.float32
        Positive.
    zero_point : numpy.uint8 or numpy.int8
        Its type is that of the stored numbers.
    """

    scale: np.float32
    zero_point: np.generic

    def quantize(self, array: np.ndarray) -> np.ndarray:
        """The stored numbers for `array`, as QuantizeLinear defines them (ties to even)."""
        info = np.iinfo(self.zero_point.dtype)
        stored = np.rint(array.astype(np.float32) / self.scale) + int(self.zero_point)
        return np.clip(stored, info.min, info.max).astype(info.dtype)


def activation_params(low: float, high: float, dtype: np.dtype) -> QParams:
    """Parameters that cover the range from `low` to `high`, widened so that it holds zero.

    Zero has a number of its own, because padding and clamps need it exactly.

    Examples
    --------
    >>> activation_params(0.0, 6.0, np.dtype(np.uint8)).zero_point
    np.uint8(0)
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    info = np.iinfo(dtype)
    scale = np.float32((high - low) / (info.max - info.min))
    if scale < _TINY:  # a tensor of zeros
        return QParams(np.float32(1), dtype.type(info.min))
    zero = int(np.clip(np.rint(info.min - low / scale), info.min, info.max))
    return QParams(scale, dtype.type(zero))


def weight_scales(weights: np.ndarray, axis: int | None) -> np.ndarray:
    """Symmetric scales for int8 from -127 to 127.

    Parameters
    ----------
    weights : numpy.ndarray
    axis : int or None
        The axis of output channels; None for one scale.

    Returns
    -------
    numpy.ndarray
        float32 of shape (channels,), or () without an axis. A channel of zeros gets the largest
        scale of the others.
    """
    other = None if axis is None else tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.abs(weights).max(axis=other, initial=0)
    scales = np.asarray(largest / 127, np.float32)
    return np.where(scales < _TINY, scales.max(initial=0) or np.float32(1), scales).astype(
        np.float32
    )


def quantize_bias(bias: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """`bias` as int32 multiples of `scale`, the product of input and weight scale."""
    stored = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    return np.clip(stored, -INT32_MAX, INT32_MAX).astype(np.int32)
