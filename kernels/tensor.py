"""Functions that move elements of NumPy arrays, and linear resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels
from luthier.kernels.checks import check_axis, check_threads, feature_map, isa_number
from luthier.kernels.loops import loop_slots

__all__ = ["concat", "pad", "resize_linear", "take", "transpose"]


def transpose(
    x: np.ndarray,
    perm: Sequence[int] | None = None,
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """A dense copy of `x` with its axes permuted.

    Parameters
    ----------
    x : ndarray of a dtype of 1, 2, 4 or 8 bytes
        Any strides, negative ones included.
    perm : sequence of int, optional
        Axis `i` of the result is axis ``perm[i]`` of x; reversed order if left out.
    isa : str, optional
        "scalar", "avx2", "avx512" or "neon"; the best of this CPU if left out.
    num_threads : int

    Returns
    -------
    ndarray of the dtype of x

    Raises
    ------
    ArgumentError
        A dtype or permutation does not fit.

    Examples
    --------
    >>> transpose(np.arange(6).reshape(2, 3)).tolist()
    [[0, 3], [1, 4], [2, 5]]
    """
    x = _elements("x", x)
    order = list(range(x.ndim))[::-1] if perm is None else list(perm)
    if sorted(order) != list(range(x.ndim)):
        raise ArgumentError(f"perm: expected a permutation of {x.ndim} axes, got {perm}")
    view = x.transpose(order)
    y = np.empty(view.shape, x.dtype)
    _copy(view, y, isa, num_threads)
    return y


def concat(
    arrays: Sequence[np.ndarray], axis: int = 0, *, isa: str | None = None, num_threads: int = 1
) -> np.ndarray:
    """The arrays one behind the other along `axis`.

    Parameters
    ----------
    arrays : sequence of ndarray, at least one
        Of one dtype, and of one shape apart from `axis`.
    axis : int
    isa, num_threads
        As in `transpose`.

    Returns
    -------
    ndarray

    Raises
    ------
    ArgumentError
        Dtypes or shapes do not fit.

    Examples
    --------
    >>> concat([np.zeros((2, 1)), np.ones((2, 2))], axis=1).tolist()
    [[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """
    if not arrays:
        raise ArgumentError("concat: expected at least one array, got none")
    parts = [_elements(f"arrays[{i}]", a) for i, a in enumerate(arrays)]
    first = parts[0]
    axis = check_axis(axis, first.ndim)
    rest = first.shape[:axis] + first.shape[axis + 1 :]
    for i, part in enumerate(parts):
        same_rank = part.ndim == first.ndim
        if part.dtype != first.dtype or not same_rank or _without(part.shape, axis) != rest:
            raise ArgumentError(
                f"arrays[{i}]: expected {first.dtype} {list(first.shape)} apart from axis {axis}, "
                f"got {part.dtype} {list(part.shape)}"
            )
    sizes = [part.shape[axis] for part in parts]
    y = np.empty((*first.shape[:axis], sum(sizes), *first.shape[axis + 1 :]), first.dtype)
    ends = np.cumsum(sizes).tolist()
    for part, size, end in zip(parts, sizes, ends, strict=True):
        slot = y[(slice(None),) * axis + (slice(end - size, end),)]
        _copy(part, slot, isa, num_threads)
    return y


def take(
    x: np.ndarray,
    index: np.ndarray,
    axis: int = 0,
    fill: float = 0,
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Slices of `x` along `axis`, chosen by a list of indices.

    Parameters
    ----------
    x : ndarray of a dtype of 1, 2, 4 or 8 bytes, rank at least 1
    index : ndarray of int64, 1-d
        A negative one stands for a slice of `fill`.
    axis : int
    fill : scalar of the dtype of x
    isa, num_threads
        As in `transpose`.

    Returns
    -------
    ndarray of the dtype of x
        The shape of x with ``len(index)`` at `axis`.

    Raises
    ------
    ArgumentError
        A dtype does not fit, or an index is too large.

    Examples
    --------
    >>> take(np.array([5, 6, 7]), np.array([2, -1, 0]), fill=9)
    array([7, 9, 5])
    """
    x = np.require(_elements("x", x), requirements=["C", "A"])
    axis = check_axis(axis, x.ndim)
    index = np.require(index, requirements=["C", "A"])
    if index.dtype != np.int64 or index.ndim != 1:
        raise ArgumentError(f"index: expected int64 of rank 1, got {index.dtype} of {index.ndim}")
    if index.size and index.max() >= x.shape[axis]:
        raise ArgumentError(f"index: expected less than {x.shape[axis]}, got {index.max()}")
    y = np.empty((*x.shape[:axis], index.size, *x.shape[axis + 1 :]), x.dtype)
    bits = np.asarray(fill, x.dtype).tobytes()
    slots = {
        "outer": math.prod(x.shape[:axis]),
        "x_count": x.shape[axis],
        "y_count": index.size,
        "inner": math.prod(x.shape[axis + 1 :]),
        "fill": int.from_bytes(bits, "little", signed=True),
        "size": x.itemsize,
        "isa": isa_number(isa),
        "threads": check_threads(num_threads),
    }
    _kernels.call("take", {**slots, "x": x, "index": index, "y": y})
    return y


def pad(
    x: np.ndarray,
    pads: Sequence[tuple[int, int]],
    mode: str = "constant",
    fill: float = 0,
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """`x` with elements added around it, or cut off where a number is negative.

    Parameters
    ----------
    x : ndarray of a dtype of 1, 2, 4 or 8 bytes
    pads : sequence of pairs of int
        For each axis, how many before and after.
    mode : str
        "constant", "edge", "reflect" or "wrap", as NumPy and ONNX name them.
    fill : scalar of the dtype of x
        For "constant".
    isa, num_threads
        As in `transpose`.

    Returns
    -------
    ndarray of the dtype of x

    Raises
    ------
    ArgumentError
        The pads or the mode do not fit.

    Examples
    --------
    >>> pad(np.array([1, 2, 3]), [(2, 1)], mode="reflect")
    array([3, 2, 1, 2, 3, 2])
    """
    x = _elements("x", x)
    if len(pads) != x.ndim:
        raise ArgumentError(f"pads: expected {x.ndim} pairs, got {len(pads)}")
    y = x
    for axis, (before, after) in enumerate(pads):
        if before or after:
            index = _pad_index(x.shape[axis], before, after, mode)
            y = take(y, index, axis, fill, isa=isa, num_threads=num_threads)
    return y if y is not x else x.copy()


def resize_linear(
    x: np.ndarray,
    size: Sequence[int],
    coordinates: str = "half_pixel",
    layout: str = "NCHW",
    *,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Bilinear resizing.

    Parameters
    ----------
    x : ndarray of float32, (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``
    size : two ints
        Height and width of the result.
    coordinates : str
        "half_pixel", "asymmetric" or "align_corners", as ONNX's Resize names them.
    layout, isa, num_threads
        As in `luthier.kernels.max_pool2d`.

    Returns
    -------
    ndarray of float32

    Raises
    ------
    ArgumentError
        A shape, dtype or name does not fit.

    Examples
    --------
    >>> x = np.float32([0, 1]).reshape(1, 1, 1, 2)
    >>> resize_linear(x, (1, 3), "align_corners")[0, 0, 0]
    array([0. , 0.5, 1. ], dtype=float32)
    """
    x = feature_map("x", x, layout)
    n, ih, iw, c = x.shape
    if len(size) != 2 or min(size) < 1 or min(ih, iw) < 1:
        raise ArgumentError(f"size: expected 2 ints of at least 1, got {size} from {ih} x {iw}")
    oh, ow = size
    tables = {}
    for name, source, target in (("h", ih, oh), ("w", iw, ow)):
        tables[f"index_{name}"], tables[f"weight_{name}"] = _neighbours(source, target, coordinates)
    y = np.empty((n, oh, ow, c), np.float32)
    slots = {"n": n, "ih": ih, "iw": iw, "c": c, "oh": oh, "ow": ow, "x": x, "y": y}
    slots |= {"isa": isa_number(isa), "threads": check_threads(num_threads)}
    _kernels.call("resize_linear", {**slots, **tables})
    return y if layout == "NHWC" else transpose(y, (0, 3, 1, 2), isa=isa, num_threads=num_threads)


def _elements(name: str, x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.hasobject or x.itemsize not in (1, 2, 4, 8):
        raise ArgumentError(f"{name}: expected elements of 1, 2, 4 or 8 bytes, got {x.dtype}")
    return x


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _copy(x: np.ndarray, y: np.ndarray, isa: str | None, num_threads: int) -> None:
    """Copy strided x to strided y of the same shape and dtype."""
    size = x.itemsize
    if any(s % size for s in x.strides) or not x.flags.aligned:
        x = np.ascontiguousarray(x)
    strides = {"x": _element_strides(x), "y": _element_strides(y)}
    slots = loop_slots(x.shape, strides) if x.size else {"d0": 0}
    common = {"size": size, "isa": isa_number(isa), "threads": check_threads(num_threads)}
    _kernels.call("copy", {**slots, **common, "x": x, "y": y})


def _element_strides(x: np.ndarray) -> tuple[int, ...]:
    return tuple(s // x.itemsize for s in x.strides)


def _pad_index(size: int, before: int, after: int, mode: str) -> np.ndarray:
    """The source index of every element along a padded axis; -1 is the fill."""
    index = np.arange(-before, size + after, dtype=np.int64)
    if mode == "constant":
        return np.where((index >= 0) & (index < size), index, -1)
    if mode not in ("edge", "reflect", "wrap"):
        raise ArgumentError(f"mode: expected constant, edge, reflect or wrap, got {mode!r}")
    if size == 0:
        raise ArgumentError(f"mode: {mode!r} has nothing to pad from along an empty axis")
    if mode == "edge":
        return np.clip(index, 0, size - 1)
    if mode == "wrap":
        return index % size
    period = max(1, 2 * size - 2)
    index %= period
    return np.where(index < size, index, period - index)


def _neighbours(source: int, target: int, coordinates: str) -> tuple[np.ndarray, np.ndarray]:
    """For each of `target` places: two source indices and their weights, each (2, target)."""
    i = np.arange(target, dtype=np.float64)
    if coordinates == "half_pixel":
        place = (i + 0.5) * source / target - 0.5
    elif coordinates == "asymmetric":
        place = i * source / target
    elif coordinates == "align_corners":
        place = i * (source - 1) / max(1, target - 1)
    else:
        raise ArgumentError(
            f"coordinates: expected half_pixel, asymmetric or align_corners, got {coordinates!r}"
        )
    place = np.clip(place, 0, source - 1)
    low = np.floor(place).astype(np.int64)
    weight = (place - low).astype(np.float32)
    return np.stack([low, np.minimum(low + 1, source - 1)]), np.stack([1 - weight, weight])
