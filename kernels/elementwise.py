"""Elementwise functions, normalisations and reductions on NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels
from luthier.kernels.checks import (
    F32,
    SIGNATURES,
    check_axis,
    check_threads,
    float_array,
    isa_number,
    output_array,
    resolve_activation,
)
from luthier.kernels.fields import epilogue_fields
from luthier.kernels.loops import broadcast_strides, dense_strides, loop_slots

__all__ = [
    "BINARY_OPS",
    "CAST_DTYPES",
    "REDUCE_OPS",
    "UNARY_OPS",
    "binary",
    "broadcast_shape",
    "broadcast_slots",
    "cast",
    "layer_norm",
    "lrn",
    "reduce",
    "softmax",
    "unary",
    "where",
]

UNARY_OPS = (
    "identity",
    "neg",
    "abs",
    "sqrt",
    "reciprocal",
    "exp",
    "log",
    "erf",
    "floor",
    "ceil",
    "round",
    "softplus",
    "sin",
    "cos",
)
"""In the order of ``enum lt_unary_op``."""

BINARY_OPS = (
    "add",
    "sub",
    "mul",
    "div",
    "min",
    "max",
    "pow",
    "sqdiff",
    "equal",
    "less",
    "greater",
)
"""In the order of ``enum lt_binary_op``; the last three give bool."""

REDUCE_OPS = ("sum", "mean", "max", "min", "prod", "l1", "l2", "sum_square")
"""In the order of ``enum lt_reduce_op``."""

CAST_DTYPES = (
    "float32",
    "float16",
    "float64",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "int64",
    "bool",
)
"""In the order of ``enum lt_dtype``."""

LRN_MAX_SIZE = 64
"""Longest window of lrn: ``LT_LRN_MAX_WINDOW``."""


def unary(
    op: str,
    x: np.ndarray,
    *,
    activation: str | None = None,
    activation_params: Sequence[float] | None = None,
    out: np.ndarray | None = None,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """``activation(op(x))``, elementwise.

    Parameters
    ----------
    op : str
        One of `UNARY_OPS`; ``"identity"`` leaves only the activation.
    x : ndarray of float32
    activation : str, optional
        One of `luthier.kernels.ACTIVATIONS`.
    activation_params : sequence of two floats, optional
        ``clip``: low and high; ``hard_sigmoid``: slope and offset; ``leaky_relu``: slope and 0.
    out : ndarray of float32, the shape of x, optional
        Receives the result; may be x itself.
    isa : str, optional
        "scalar", "avx2", "avx512" or "neon"; the best of this CPU if left out.
    num_threads : int

    Returns
    -------
    ndarray of float32, the shape of x

    Raises
    ------
    ArgumentError
        An unknown name, or an array of another dtype or shape.

    Notes
    -----
    exp and log after Cephes (Moshier); erf after Abramowitz and Stegun, 7.1.26.

    Examples
    --------
    >>> unary("neg", np.float32([1, -2]), activation="relu")
    array([0., 2.], dtype=float32)
    """
    x = float_array("x", x)
    y = output_array(out, x.shape, F32)
    after = resolve_activation(activation, activation_params)
    _prepare_unary(op, x.size, after, isa, num_threads)(x, y)
    return y


@lru_cache(SIGNATURES)
def _prepare_unary(op, size, after, isa, threads) -> _kernels.Call:
    number = _index("op", op, UNARY_OPS)
    slots = {**_common(isa, threads), **epilogue_fields(*after), "op": number, "n": size}
    return _kernels.Call("unary", slots, ("x", "y"))


def binary(
    op: str,
    a: np.ndarray,
    b: np.ndarray,
    *,
    activation: str | None = None,
    activation_params: Sequence[float] | None = None,
    out: np.ndarray | None = None,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """``activation(op(a, b))``, elementwise, with NumPy's broadcasting.

    Parameters
    ----------
    op : str
        One of `BINARY_OPS`. ``min`` and ``max`` keep NaN; ``sqdiff`` is the squared difference.
    a, b : ndarray of float32
    out : ndarray, optional
        Receives the result; may be an operand of the result's shape unless `op` compares.
    activation, activation_params, isa, num_threads
        As in `unary`. Comparisons have no activation.

    Returns
    -------
    ndarray of float32, or of bool where `op` compares

    Raises
    ------
    ArgumentError
        An unknown name, another dtype, or shapes that do not broadcast.

    Examples
    --------
    >>> binary("add", np.ones((2, 2), np.float32), np.float32([1, 2]))
    array([[2., 3.],
           [2., 3.]], dtype=float32)
    """
    a, b = float_array("a", a), float_array("b", b)
    after = resolve_activation(activation, activation_params)
    call, shape, dtype = _prepare_binary(op, a.shape, b.shape, after, isa, num_threads)
    y = output_array(out, shape, dtype)
    call(a, b, y)
    return y


@lru_cache(SIGNATURES)
def _prepare_binary(op, a, b, after, isa, threads) -> tuple[_kernels.Call, Any, np.dtype]:
    number = _index("op", op, BINARY_OPS)
    compares = number >= BINARY_OPS.index("equal")
    if compares and after[0] != "none":
        raise ArgumentError(f"activation: {op!r} has none, got {after[0]!r}")
    shape = broadcast_shape(a, b)
    slots = {
        **_common(isa, threads),
        **epilogue_fields(*after),
        **broadcast_slots(shape, a=a, b=b),
        "op": number,
    }
    dtype = np.dtype(np.bool_) if compares else F32
    return _kernels.Call("binary", slots, ("a", "b", "y")), shape, dtype


def where(
    condition: np.ndarray, a: np.ndarray, b: np.ndarray, *, num_threads: int = 1
) -> np.ndarray:
    """`a` where `condition` holds and `b` elsewhere, with NumPy's broadcasting.

    Parameters
    ----------
    condition : ndarray of bool
    a, b : ndarray of one dtype of 1, 2, 4 or 8 bytes
    num_threads : int

    Returns
    -------
    ndarray of the dtype of a

    Raises
    ------
    ArgumentError
        A dtype or shape does not fit.

    Examples
    --------
    >>> where(np.array([True, False]), np.int64([1, 2]), np.int64([3]))
    array([1, 3])
    """
    c, a, b = (np.require(v, requirements=["C", "A"]) for v in (condition, a, b))
    if c.dtype != np.bool_ or a.dtype != b.dtype or a.dtype.itemsize not in (1, 2, 4, 8):
        raise ArgumentError(
            f"where: expected bool and two arrays of one dtype of 1, 2, 4 or 8 bytes, "
            f"got {c.dtype}, {a.dtype} and {b.dtype}"
        )
    shape = broadcast_shape(c.shape, a.shape, b.shape)
    y = np.empty(shape, a.dtype)
    slots = {
        **broadcast_slots(shape, c=c.shape, a=a.shape, b=b.shape),
        **{"c": c, "a": a, "b": b, "y": y, "size": a.itemsize},
        "threads": check_threads(num_threads),
    }
    _kernels.call("where", slots)
    return y


def cast(
    x: np.ndarray, dtype: np.dtype | type | str, *, isa: str | None = None, num_threads: int = 1
) -> np.ndarray:
    """`x` converted to another element type.

    Parameters
    ----------
    x : ndarray of one of `CAST_DTYPES`
    dtype : dtype
        One of `CAST_DTYPES`.
    isa, num_threads
        As in `unary`.

    Returns
    -------
    ndarray of `dtype`, the shape of x

    Raises
    ------
    ArgumentError
        Another dtype.

    Notes
    -----
    Integers wrap. A float is truncated to int32 (int64, if that is the target) and wraps from
    there; NaN and what does not fit give the smallest integer, as NumPy does on x86-64.

    Examples
    --------
    >>> cast(np.float32([1.7, -1.7]), np.int64)
    array([ 1, -1])
    """
    x = np.require(x, requirements=["C", "A"])
    source = _index("x", str(x.dtype), CAST_DTYPES)
    target = _index("dtype", str(np.dtype(dtype)), CAST_DTYPES)
    y = np.empty(x.shape, dtype)
    ends = {"x": x, "y": y, "n": x.size, "from": source, "to": target}
    _kernels.call("cast", {**_common(isa, num_threads), **ends})
    return y


def reduce(
    op: str,
    x: np.ndarray,
    axes: int | Sequence[int] | None = None,
    keepdims: bool = False,
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """`x` reduced over some axes.

    Parameters
    ----------
    op : str
        One of `REDUCE_OPS`.
    x : ndarray of float32
    axes : int or sequence of int, optional
        All axes if left out.
    keepdims : bool
        Whether reduced axes stay, with size 1.
    isa, num_threads
        As in `unary`.

    Returns
    -------
    ndarray of float32

    Raises
    ------
    ArgumentError
        An unknown name, another dtype, or an axis out of range or given twice.

    Notes
    -----
    Blocks are summed in float32 and the sums of blocks in float64. Over no elements, ``max`` gives
    -inf and ``min`` inf. NaN is kept.

    Examples
    --------
    >>> reduce("mean", np.float32([[1, 3], [5, 7]]), axes=1)
    array([2., 6.], dtype=float32)
    """
    x = float_array("x", x)
    given = range(x.ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    chosen = sorted(check_axis(axis, x.ndim) for axis in given)
    if len(set(chosen)) != len(chosen):
        raise ArgumentError(f"axes: expected each once, got {axes}")
    kept = [a for a in range(x.ndim) if a not in chosen]
    shape = tuple(1 if a in chosen else n for a, n in enumerate(x.shape))
    # Adjacent axes are reduced in place; others are brought together at the end.
    first, last = (chosen[0], chosen[-1] + 1) if chosen else (x.ndim, x.ndim)
    if chosen != list(range(first, last)):
        x = np.ascontiguousarray(x.transpose(kept + chosen))
        first, last = len(kept), x.ndim
    y = np.empty(shape if keepdims else tuple(shape[a] for a in kept), np.float32)
    sizes = {
        "outer": math.prod(x.shape[:first]),
        "count": math.prod(x.shape[first:last]),
        "inner": math.prod(x.shape[last:]),
    }
    number = _index("op", op, REDUCE_OPS)
    _kernels.call("reduce", {**_common(isa, num_threads), **sizes, "op": number, "x": x, "y": y})
    return y


def softmax(
    x: np.ndarray,
    axis: int = -1,
    *,
    log: bool = False,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Softmax along one axis, or its logarithm.

    Parameters
    ----------
    x : ndarray of float32, rank at least 1
    axis : int
    log : bool
    isa, num_threads
        As in `unary`.

    Returns
    -------
    ndarray of float32, the shape of x

    Raises
    ------
    ArgumentError
        Another dtype, or an axis out of range.

    Examples
    --------
    >>> softmax(np.zeros(4, np.float32))
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    x = float_array("x", x)
    y = np.empty_like(x)
    _prepare_softmax(x.shape, axis, bool(log), isa, num_threads)(x, y)
    return y


@lru_cache(SIGNATURES)
def _prepare_softmax(shape, axis, log, isa, threads) -> _kernels.Call:
    axis = check_axis(axis, len(shape))
    sizes = {
        "outer": math.prod(shape[:axis]),
        "count": shape[axis],
        "inner": math.prod(shape[axis + 1 :]),
    }
    slots = {**_common(isa, threads), **sizes, "log": int(log)}
    return _kernels.Call("softmax", slots, ("x", "y"))


def layer_norm(
    x: np.ndarray,
    scale: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    axis: int = -1,
    epsilon: float = 1e-5,
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Zero mean and unit variance over the axes from `axis` on, then ``scale`` and ``bias``.

    Parameters
    ----------
    x : ndarray of float32, rank at least 1
    scale, bias : ndarray of float32, x.shape[axis:], optional
    axis : int
    epsilon : float
        Added to the variance.
    isa, num_threads
        As in `unary`.

    Returns
    -------
    ndarray of float32, the shape of x

    Raises
    ------
    ArgumentError
        Another dtype or shape, or an axis out of range.

    Notes
    -----
    Ba, Kiros and Hinton, Layer Normalization (2016).

    Examples
    --------
    >>> layer_norm(np.float32([[1, 3]]), epsilon=0)
    array([[-1.,  1.]], dtype=float32)
    """
    x = float_array("x", x)
    axis = check_axis(axis, x.ndim)
    parameters = {}
    for name, value in (("scale", scale), ("bias", bias)):
        if value is not None:
            parameters[name] = float_array(name, value)
            if parameters[name].shape != x.shape[axis:]:
                raise ArgumentError(
                    f"{name}: expected {list(x.shape[axis:])}, got {list(parameters[name].shape)}"
                )
    y = np.empty_like(x)
    sizes = {"outer": math.prod(x.shape[:axis]), "count": math.prod(x.shape[axis:])}
    slots = {**_common(isa, num_threads), **sizes, **parameters, "epsilon": epsilon}
    _kernels.call("layer_norm", {**slots, "x": x, "y": y})
    return y


def lrn(
    x: np.ndarray,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    bias: float = 1.0,
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Local response normalisation over neighbouring channels, the last axis.

    Parameters
    ----------
    x : ndarray of float32, (..., channels)
    size : int
        Channels of a window, from 1 to 64.
    alpha, beta, bias : float
        ``x / (bias + alpha / size * (sum of squares in the window)) ** beta``.
    isa, num_threads
        As in `unary`.

    Returns
    -------
    ndarray of float32, the shape of x

    Raises
    ------
    ArgumentError
        Another dtype or rank, or a window out of range.

    Notes
    -----
    Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural
    Networks (2012).

    Examples
    --------
    >>> lrn(np.float32([[3, 0, 4]]), 1, alpha=1, beta=0.5, bias=0.0)
    array([[ 1., nan,  1.]], dtype=float32)
    """
    x = float_array("x", x)
    if x.ndim < 1 or not 1 <= size <= LRN_MAX_SIZE:
        raise ArgumentError(f"size: expected 1 to {LRN_MAX_SIZE} of a rank from 1, got {size}")
    y = np.empty_like(x)
    count = x.shape[-1]
    slots = {"rows": math.prod(x.shape[:-1]), "count": count, "ldx": count, "ldy": count}
    slots |= {"window": size, "alpha": alpha, "beta": beta, "bias": bias, "x": x, "y": y}
    _kernels.call("lrn", {**_common(isa, num_threads), **slots})
    return y


def _common(isa: str | None, num_threads: int) -> dict[str, int]:
    return {"isa": isa_number(isa), "threads": check_threads(num_threads)}


def _index(what: str, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise ArgumentError(f"{what}: expected one of {', '.join(names)}, got {name!r}")
    return names.index(name)


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that these broadcast to."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        listed = " and ".join(str(list(s)) for s in shapes)
        raise ArgumentError(f"the shapes {listed} do not broadcast") from None


def broadcast_slots(shape: tuple[int, ...], **operands: tuple[int, ...]) -> dict[str, int]:
    """Loops over a dense result y and its operands, whose shapes are given."""
    strides = {name: broadcast_strides(v, shape) for name, v in operands.items()}
    slots = loop_slots(shape, {**strides, "y": dense_strides(shape)})
    return {name: value for name, value in slots.items() if name[0] != "y"}
