"""Operators that move elements: joining, cutting, picking, padding, repeating."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    INT64,
    OpInfo,
    Shape,
    TensorType,
    const,
    const_ints,
    dtype_of,
    invalid,
    needed_ints,
    normal_axes,
    normal_axis,
    require,
    shape_of,
    split_map,
    typed,
)
from luthier.graph.ops.elementwise import same


def _concat(node: Node) -> list[TensorType]:
    types = [typed(node, i) for i in range(len(node.inputs))]
    require(bool(types), node, "has no inputs")
    dtype, first = types[0]
    axis = normal_axis(node, node.attrs["axis"], len(first))
    total = 0
    for other, shape in types:
        fits = len(shape) == len(first) and all(
            a == b for i, (a, b) in enumerate(zip(shape, first, strict=True)) if i != axis
        )
        require(fits, node, f"cannot join shapes {list(first)} and {list(shape)} along axis {axis}")
        require(other == dtype, node, f"inputs differ in type: {dtype} and {other}")
        total += shape[axis]
    return [(dtype, (*first[:axis], total, *first[axis + 1 :]))]


def _compute_concat(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    return [np.concatenate(arrays, axis=node.attrs["axis"])]


def split_sizes(node: Node) -> tuple[int, list[int]]:
    """The axis of a Split and the size of each part along it."""
    shape = shape_of(node, 0)
    axis = normal_axis(node, node.attrs.get("axis", 0), len(shape))
    size, parts = shape[axis], const_ints(node, 1)
    count = len(node.outputs)
    if parts is None:
        count = node.attrs.get("num_outputs", count)
        require(0 < count == len(node.outputs), node, f"num_outputs is {count}")
        chunk = -(-size // count)
        parts = [chunk] * (count - 1) + [size - chunk * (count - 1)]
    legal = len(parts) == count and sum(parts) == size and min(parts, default=0) >= 0
    require(legal, node, f"cannot split {size} elements into {parts} for {count} outputs")
    return axis, parts


def _split(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    axis, parts = split_sizes(node)
    return [(dtype, (*shape[:axis], part, *shape[axis + 1 :])) for part in parts]


def slice_ranges(node: Node) -> list[range]:
    """For each axis of a Slice's input the range of positions that it keeps."""
    shape = shape_of(node, 0)
    starts, ends = needed_ints(node, 1), needed_ints(node, 2)
    axes, steps = const_ints(node, 3), const_ints(node, 4)
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    require(
        len(starts) == len(ends) == len(axes) == len(steps),
        node,
        "starts, ends, axes and steps differ in length",
    )
    ranges = [range(dim) for dim in shape]
    axes = normal_axes(node, axes, len(shape))
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        require(step != 0, node, "a step is 0")
        ranges[axis] = range(*slice(start, end, step).indices(shape[axis]))
    return ranges


def _slice(node: Node) -> list[TensorType]:
    return [(dtype_of(node, 0), tuple(map(len, slice_ranges(node))))]


def _compute_slice(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    index = tuple(
        slice(r.start, r.stop if r.stop >= 0 else None, r.step) if r else slice(0, 0)
        for r in slice_ranges(node)
    )
    return [arrays[0][index]]


def _gather(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    axis = normal_axis(node, node.attrs.get("axis", 0), len(shape))
    return [(dtype, (*shape[:axis], *shape_of(node, 1), *shape[axis + 1 :]))]


def _checked_axis(node: Node, data: np.ndarray, indices: np.ndarray) -> int:
    """The axis that a Gather operator picks from, after a check of the indices."""
    axis = normal_axis(node, node.attrs.get("axis", 0), data.ndim)
    size = data.shape[axis]
    inside = not indices.size or (-size <= int(indices.min()) and int(indices.max()) < size)
    require(inside, node, f"an index is out of range for {size} elements")
    return axis


def _compute_gather(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    data, indices = arrays
    axis = _checked_axis(node, data, indices)
    return [np.asarray(np.take(data, indices, axis=axis))]


def _gather_elements(node: Node) -> list[TensorType]:
    return [(dtype_of(node, 0), shape_of(node, 1))]


def _compute_gather_elements(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    data, indices = arrays
    axis = _checked_axis(node, data, indices)
    others = (i for i in range(data.ndim) if i != axis)
    fits = data.ndim == indices.ndim and all(indices.shape[i] <= data.shape[i] for i in others)
    require(fits, node, f"indices {list(indices.shape)} do not fit {list(data.shape)}")
    positions = list(np.ogrid[tuple(map(slice, indices.shape))])
    positions[axis] = indices
    return [data[tuple(positions)]]


def _gather_nd(node: Node) -> list[TensorType]:
    (dtype, shape), indices = typed(node, 0), shape_of(node, 1)
    batch = node.attrs.get("batch_dims", 0)
    require(0 <= batch < min(len(shape), len(indices)), node, f"batch_dims {batch} is out of range")
    depth = batch + indices[-1]
    require(depth <= len(shape), node, f"indices of {indices[-1]} numbers are too many")
    return [(dtype, (*indices[:-1], *shape[depth:]))]


def _tile(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    repeats = needed_ints(node, 1)
    legal = len(repeats) == len(shape) and min(repeats, default=0) >= 0
    require(legal, node, f"repeats {repeats} do not fit shape {list(shape)}")
    return [(dtype, tuple(d * r for d, r in zip(shape, repeats, strict=True)))]


def pad_widths(node: Node) -> list[tuple[int, int]]:
    """For each axis of a Pad's input the elements added before and after; negative ones cut."""
    rank = len(shape_of(node, 0))
    pads, given = needed_ints(node, 1), const_ints(node, 3)
    axes = list(range(rank)) if given is None else normal_axes(node, given, rank)
    require(len(pads) == 2 * len(axes), node, f"{len(pads)} pads do not fit {len(axes)} dimensions")
    widths = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        widths[axis] = (pads[i], pads[i + len(axes)])
    return widths


def _pad(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    widths = pad_widths(node)
    result = tuple(d + before + after for d, (before, after) in zip(shape, widths, strict=True))
    require(min(result, default=0) >= 0, node, f"pads {widths} cut more than {list(shape)}")
    if node.attrs.get("mode", "constant") != "constant":
        grows = any(max(w) > 0 for w, d in zip(widths, shape, strict=True) if d == 0)
        require(not grows, node, f"cannot pad the empty shape {list(shape)} from its own content")
    return [(dtype, result)]


def pad_sources(node: Node) -> list[np.ndarray]:
    """For each axis of a Pad the input position of every output position; -1 is the constant."""
    mode = node.attrs.get("mode", "constant")
    sources = []
    for dim, (before, after) in zip(shape_of(node, 0), pad_widths(node), strict=True):
        position = np.arange(dim + before + after, dtype=np.int64) - before
        if mode == "edge":
            position = position.clip(0, dim - 1)
        elif mode == "wrap":
            position %= dim
        elif mode == "reflect":
            position = np.abs((position + dim - 1) % max(1, 2 * dim - 2) - (dim - 1))
        elif mode == "constant":
            position[(position < 0) | (position >= dim)] = -1
        else:
            raise invalid(node, f"mode {mode!r} is unknown")
        sources.append(position)
    return sources


def _compute_pad(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    data, fill = arrays[0], arrays[2] if len(arrays) > 2 else None
    value = np.zeros(1, data.dtype) if fill is None else fill.reshape(-1)
    require(value.size == 1, node, "the constant value must be one number")
    sources = pad_sources(node)
    inside = [np.flatnonzero(s >= 0) for s in sources]
    result = np.full([len(s) for s in sources], value[0], data.dtype)
    kept = [s[i] for s, i in zip(sources, inside, strict=True)]
    result[np.ix_(*inside)] = data[np.ix_(*kept)]
    return [result]


def _block(node: Node) -> tuple[np.dtype, int, int, Shape, int]:
    dtype, shape = typed(node, 0)
    require(len(shape) == 4, node, f"input must have 4 dimensions, not {list(shape)}")
    block = node.attrs["blocksize"]
    require(block > 0, node, f"blocksize {block} is not positive")
    n, c, spatial = split_map(node, shape)
    return dtype, n, c, spatial, block


def _depth_to_space(node: Node) -> list[TensorType]:
    dtype, n, c, (h, w), b = _block(node)
    require(c % (b * b) == 0, node, f"{c} channels do not divide into blocks of {b}")
    return [(dtype, (n, c // (b * b), h * b, w * b))]


def _space_to_depth(node: Node) -> list[TensorType]:
    dtype, n, c, (h, w), b = _block(node)
    require(h % b == 0 and w % b == 0, node, f"{h} x {w} does not divide into blocks of {b}")
    return [(dtype, (n, c * b * b, h // b, w // b))]


def _top_k(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    axis = normal_axis(node, node.attrs.get("axis", -1), len(shape))
    k = needed_ints(node, 1)
    require(len(k) == 1 and 0 <= k[0] <= shape[axis], node, f"K {k} is out of range")
    result = (*shape[:axis], k[0], *shape[axis + 1 :])
    return [(dtype, result), (INT64, result)]


def _non_zero(node: Node) -> list[TensorType]:
    data = const(node, 0)
    require(data is not None and data.ndim > 0, node, "input must have at least one dimension")
    return [(INT64, (len(shape_of(node, 0)), int(np.count_nonzero(data))))]  # type: ignore[arg-type]


def _compute_non_zero(node: Node, arrays: list[Any]) -> list[np.ndarray]:
    return [np.array(np.nonzero(arrays[0]), np.int64)]


def _trilu(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    if len(shape) < 2:
        raise invalid(node, f"input must have at least 2 dimensions, not {list(shape)}")
    return [(dtype, shape)]


OPS: dict[str, OpInfo] = {
    "Concat": OpInfo(_concat, _compute_concat),
    "Split": OpInfo(_split),
    "Slice": OpInfo(_slice, _compute_slice),
    "Gather": OpInfo(_gather, _compute_gather),
    "GatherElements": OpInfo(_gather_elements, _compute_gather_elements),
    "GatherND": OpInfo(_gather_nd),
    "ScatterElements": OpInfo(same),
    "ScatterND": OpInfo(same),
    "ReverseSequence": OpInfo(same),
    "Trilu": OpInfo(_trilu),
    "CumSum": OpInfo(same),
    "Tile": OpInfo(_tile),
    "Pad": OpInfo(_pad, _compute_pad),
    "DepthToSpace": OpInfo(_depth_to_space),
    "SpaceToDepth": OpInfo(_space_to_depth),
    "TopK": OpInfo(_top_k),
    "NonZero": OpInfo(_non_zero, _compute_non_zero),
}
