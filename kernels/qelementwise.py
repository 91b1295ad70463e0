"""Quantisation, and elementwise functions of quantised NumPy arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels
from luthier.kernels.checks import (
    byte_array,
    byte_zero,
    check_axis,
    check_threads,
    float_array,
    integer_bounds,
    isa_number,
    positive_scale,
)
from luthier.kernels.elementwise import BINARY_OPS, CAST_DTYPES, broadcast_shape, broadcast_slots
from luthier.kernels.qreference import softmax_table

__all__ = [
    "dequantize_linear",
    "dtype_number",
    "dynamic_quantize_linear",
    "lookup",
    "qlinear_add",
    "qlinear_mul",
    "qlinear_softmax",
    "quantize_linear",
]

_QUANTISED = (np.uint8, np.int8, np.uint16, np.int16)


def dtype_number(dtype: Any) -> int:
    """The number of ``enum lt_dtype``."""
    return CAST_DTYPES.index(np.dtype(dtype).name)


def quantize_linear(
    x: np.ndarray,
    scale: float | np.ndarray,
    zero: int | np.ndarray = 0,
    *,
    dtype: Any = np.uint8,
    low: int | None = None,
    high: int | None = None,
    axis: int | None = None,
    block: int = 0,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """``clip(rint(x / scale) + zero, low, high)``: ONNX's QuantizeLinear.

    Parameters
    ----------
    x : ndarray of float32
    scale : float or ndarray of float32
        One; with `axis` one for each of its indices; with `block` as well one for each block of
        so many indices: the shape of x with ``ceil(n / block)`` at `axis`.
    zero : int or ndarray of integers, one or the shape of `scale`
    dtype : uint8, int8, uint16 or int16
    low, high : int, optional
        Bounds, those of the type if left out. Four-bit integers are int8 from -8 to 7, or uint8
        from 0 to 15.
    axis : int, optional
    block : int
    isa, num_threads
        As in `luthier.kernels.unary`.

    Returns
    -------
    ndarray of `dtype`, the shape of x
        NaN becomes the lower bound.

    Raises
    ------
    ArgumentError
        A shape, dtype or bound does not fit.

    Examples
    --------
    >>> quantize_linear(np.float32([-1, 0.25, 3]), 0.5, 128)
    array([126, 128, 134], dtype=uint8)
    """
    x, dtype = float_array("x", x), np.dtype(dtype)
    if dtype not in _QUANTISED:
        raise ArgumentError(f"dtype: expected 8 or 16 bits, got {dtype}")
    low, high = integer_bounds(low, high, dtype)
    y = np.empty(x.shape, dtype)
    slots = {
        **_parameter_slots(x.shape, scale, zero, axis, block),
        **{"x": x, "y": y, "type": dtype_number(dtype), "y_min": low, "y_max": high},
        **{"isa": isa_number(isa), "threads": check_threads(num_threads)},
    }
    _kernels.call("quantize", slots)
    return y


def dequantize_linear(
    x: np.ndarray,
    scale: float | np.ndarray,
    zero: int | np.ndarray = 0,
    *,
    axis: int | None = None,
    block: int = 0,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """``(x - zero) * scale``: ONNX's DequantizeLinear.

    Parameters
    ----------
    x : ndarray of uint8, int8, uint16, int16 or int32
    scale, zero, axis, block, isa, num_threads
        As in `quantize_linear`.

    Returns
    -------
    ndarray of float32, the shape of x

    Raises
    ------
    ArgumentError
        A shape or dtype does not fit.

    Examples
    --------
    >>> dequantize_linear(np.uint8([126, 128, 134]), 0.5, 128)
    array([-1.,  0.,  3.], dtype=float32)
    """
    x = np.require(x, requirements=["C", "A"])
    if x.dtype not in (*_QUANTISED, np.int32):
        raise ArgumentError(f"x: expected integers of 8 or 16 bits or int32, got {x.dtype}")
    y = np.empty(x.shape, np.float32)
    slots = {
        **_parameter_slots(x.shape, scale, zero, axis, block),
        **{"x": x, "y": y, "type": dtype_number(x.dtype)},
        **{"isa": isa_number(isa), "threads": check_threads(num_threads)},
    }
    _kernels.call("dequantize", slots)
    return y


def _parameter_slots(shape, scale, zero, axis, block) -> dict:
    """The slots of scales and zero points, which are per tensor, per axis or per block."""
    scale = np.require(scale, np.float32, ["C", "A"])
    zero = np.require(zero, np.int32, ["C", "A"])
    expected: tuple[int, ...] = ()
    if axis is None:
        sizes = {"outer": 1, "count": 1, "inner": math.prod(shape)}
        scale = scale.reshape(()) if scale.size == 1 else scale
    else:
        axis = check_axis(axis, len(shape))
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        sizes = {"outer": before, "count": shape[axis], "inner": after}
        blocks = -(-shape[axis] // block) if block > 0 else 0
        expected = (*shape[:axis], blocks, *shape[axis + 1 :]) if block else (shape[axis],)
    if block < 0 or (block and axis is None):
        raise ArgumentError(f"block: expected at least 0, and an axis, got {block}")
    if scale.shape != expected:
        raise ArgumentError(f"scale: expected {list(expected)}, got {list(scale.shape)}")
    if zero.size != 1 and zero.shape != expected:
        raise ArgumentError(f"zero: expected {list(expected)}, got {list(zero.shape)}")
    zero = np.ascontiguousarray(
        np.broadcast_to(zero.reshape(-1) if zero.size == 1 else zero, scale.shape or (1,))
    )
    return {**sizes, "block": block, "scale": scale, "zero": zero}


def dynamic_quantize_linear(
    x: np.ndarray, *, isa: str | None = None, num_threads: int = 1
) -> tuple[np.ndarray, np.float32, np.uint8]:
    """ONNX's DynamicQuantizeLinear: the range of x and 0 becomes 0 to 255.

    Parameters
    ----------
    x : ndarray of float32
    isa, num_threads
        As in `luthier.kernels.unary`.

    Returns
    -------
    y : ndarray of uint8, the shape of x
    scale : float32
        1 if x is all zeros.
    zero : uint8

    Raises
    ------
    ArgumentError
        x is not float32.

    Examples
    --------
    >>> y, scale, zero = dynamic_quantize_linear(np.float32([-1, 0, 254]))
    >>> y, float(scale), int(zero)
    (array([  0,   1, 255], dtype=uint8), 1.0, 1)
    """
    x = float_array("x", x)
    y, scale, zero = np.empty(x.shape, np.uint8), np.empty(1, np.float32), np.empty(1, np.uint8)
    slots = {"x": x, "y": y, "scale": scale, "zero": zero, "n": x.size}
    slots |= {"isa": isa_number(isa), "threads": check_threads(num_threads)}
    _kernels.call("dynamic_quantize", slots)
    return y, scale[0], zero[0]


def qlinear_add(
    a: np.ndarray,
    a_scale: float,
    a_zero: int,
    b: np.ndarray,
    b_scale: float,
    b_zero: int,
    y_scale: float,
    y_zero: int,
    *,
    low: int | None = None,
    high: int | None = None,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """The sum of two quantised tensors: com.microsoft's QLinearAdd, with NumPy's broadcasting.

    Parameters
    ----------
    a, b : ndarray of uint8, or both of int8
    a_scale, b_scale, y_scale : float
    a_zero, b_zero, y_zero : int
    low, high : int, optional
        Bounds of the sum, those of the type if left out.
    isa, num_threads
        As in `luthier.kernels.unary`.

    Returns
    -------
    ndarray of the dtype of a

    Raises
    ------
    ArgumentError
        A dtype, shape, scale or zero point does not fit.

    Notes
    -----
    To the bit what ONNX Runtime computes on x86-64; see ADR 0005.

    Examples
    --------
    >>> qlinear_add(np.uint8([130, 200]), 0.5, 128, np.uint8([2, 2]), 0.25, 0, 0.5, 128)
    array([131, 201], dtype=uint8)
    """
    scales, zeros = (a_scale, b_scale, y_scale), (a_zero, b_zero, y_zero)
    return _qbinary("add", a, b, scales, zeros, low, high, isa, num_threads)


def qlinear_mul(
    a: np.ndarray,
    a_scale: float,
    a_zero: int,
    b: np.ndarray,
    b_scale: float,
    b_zero: int,
    y_scale: float,
    y_zero: int,
    *,
    low: int | None = None,
    high: int | None = None,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """The product of two quantised tensors: com.microsoft's QLinearMul, with NumPy's broadcasting.

    Parameters, result and errors are those of `qlinear_add`.

    Examples
    --------
    >>> qlinear_mul(np.uint8([130, 200]), 0.5, 128, np.uint8([2, 4]), 0.25, 0, 0.5, 128)
    array([129, 200], dtype=uint8)
    """
    scales, zeros = (a_scale, b_scale, y_scale), (a_zero, b_zero, y_zero)
    return _qbinary("mul", a, b, scales, zeros, low, high, isa, num_threads)


def _qbinary(op, a, b, scales, zeros, low, high, isa, num_threads) -> np.ndarray:
    a, b = byte_array("a", a), byte_array("b", b)
    if a.dtype != b.dtype:
        raise ArgumentError(f"{op}: expected two arrays of one type, got {a.dtype} and {b.dtype}")
    low, high = integer_bounds(low, high, a.dtype)
    shape = broadcast_shape(a.shape, b.shape)
    y = np.empty(shape, a.dtype)
    slots = {**broadcast_slots(shape, a=a.shape, b=b.shape), "a": a, "b": b, "y": y}
    slots |= {"op": BINARY_OPS.index(op), "type": dtype_number(a.dtype)}
    for name, scale, zero in zip("aby", scales, zeros, strict=True):
        slots[f"{name}_scale"] = positive_scale(f"{name}_scale", scale)
        slots[f"{name}_zero"] = byte_zero(f"{name}_zero", zero, a.dtype)
    slots |= {"y_min": low, "y_max": high}
    slots |= {"isa": isa_number(isa), "threads": check_threads(num_threads)}
    _kernels.call("qbinary", slots)
    return y


def lookup(
    x: np.ndarray, table: np.ndarray, *, isa: str | None = None, num_threads: int = 1
) -> np.ndarray:
    """``table[x]`` for each byte of x: any function of one quantised tensor.

    Parameters
    ----------
    x : ndarray of uint8 or int8
    table : ndarray of uint8 or int8, (256,)
        Indexed by the bits of x: entry 255 is that of int8's -1.
    isa, num_threads
        As in `luthier.kernels.unary`.

    Returns
    -------
    ndarray of the dtype of table, the shape of x

    Raises
    ------
    ArgumentError
        A dtype or shape does not fit.

    Examples
    --------
    >>> lookup(np.int8([-1, 0, 3]), np.arange(256).astype(np.uint8))
    array([255,   0,   3], dtype=uint8)
    """
    x, table = byte_array("x", x), byte_array("table", table, 1)
    if table.size != 256:
        raise ArgumentError(f"table: expected 256 bytes, got {table.size}")
    y = np.empty(x.shape, table.dtype)
    slots = {"x": x, "table": table, "y": y, "rows": 1, "cols": x.size}
    slots |= {"ldx": x.size, "ldy": x.size}
    slots |= {"isa": isa_number(isa), "threads": check_threads(num_threads)}
    _kernels.call("lookup", slots)
    return y


def qlinear_softmax(
    x: np.ndarray,
    x_scale: float,
    y_scale: float,
    y_zero: int,
    axis: int = -1,
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Softmax of a quantised tensor: com.microsoft's QLinearSoftmax.

    Parameters
    ----------
    x : ndarray of uint8 or int8
        Its zero point does not matter.
    x_scale, y_scale : float
    y_zero : int
    axis : int
    isa, num_threads
        As in `luthier.kernels.unary`.

    Returns
    -------
    ndarray of the dtype of x

    Raises
    ------
    ArgumentError
        A dtype, axis, scale or zero point does not fit.

    Notes
    -----
    To the bit what ONNX Runtime computes: exponentials from a table, a sum in float32 and
    ``floor(1 / y_scale)``. Values above the largest int8 saturate here and wrap around there.

    Examples
    --------
    >>> qlinear_softmax(np.uint8([[0, 0, 10]]), 0.1, 1 / 256, 0)
    array([[ 54,  54, 147]], dtype=uint8)
    """
    x = byte_array("x", x)
    axis = check_axis(axis, x.ndim)
    moved = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    count = moved.shape[-1]
    y = np.empty(moved.shape, x.dtype)
    slots = {"x": moved, "y": y, "outer": math.prod(moved.shape[:-1]), "count": count}
    slots |= {"exps": softmax_table(positive_scale("x_scale", x_scale), max(1, count))}
    inverse = np.float32(1) / np.float32(positive_scale("y_scale", y_scale))
    slots |= {"type": dtype_number(x.dtype), "factor": float(np.floor(inverse))}
    slots |= {"y_zero": byte_zero("y_zero", y_zero, x.dtype)}
    slots |= {"isa": isa_number(isa), "threads": check_threads(num_threads)}
    _kernels.call("qsoftmax", slots)
    return np.moveaxis(y, -1, axis)
