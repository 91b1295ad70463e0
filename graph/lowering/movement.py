"""Operators that move elements and compute nothing."""

from __future__ import annotations

import math

import numpy as np

from luthier.graph.ir import Node, Value
from luthier.graph.lowering.context import (
    Context,
    View,
    dense_strides,
    is_f32,
    nest,
    require,
)
from luthier.graph.lowering.elementwise import broadcast_strides

__all__ = [
    "lower_alias",
    "lower_concat",
    "lower_expand",
    "lower_gather",
    "lower_pad",
    "lower_resize",
    "lower_slice",
    "lower_space_depth",
    "lower_split",
    "lower_transpose",
]


def lower_alias(ctx: Context, node: Node) -> None:
    """Reshape and its kin: the same bytes under another shape."""
    ctx.alias(node.output, node.inputs[0])


def _copy(
    ctx: Context,
    node: Node,
    size: int,
    shape: tuple[int, ...],
    x: tuple[View, tuple[int, ...]],
    y: tuple[View, tuple[int, ...]],
) -> None:
    slots = nest(shape, {"x": x[1], "y": y[1]})
    ctx.emit(node, "copy", x=x[0], y=y[0], size=size, **slots)


def lower_transpose(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    perm = node.attrs.get("perm") or list(range(len(x.shape)))[::-1]
    strides = dense_strides(x.shape)
    moved = tuple(strides[p] for p in perm)
    target = dense_strides(y.shape)
    _copy(ctx, node, x.dtype.itemsize, y.shape, (ctx.dense(x), moved), (ctx.dense(y), target))


def lower_concat(ctx: Context, node: Node) -> None:
    y = node.output
    axis = node.attrs["axis"] % len(y.shape)
    strides, size = dense_strides(y.shape), y.dtype.itemsize
    target, start = ctx.view(y), 0
    if target.ld:
        strides = _strided(y, target.ld)
    for value in node.inputs:
        where = target.at(start * strides[axis] * size)
        start += value.shape[axis]
        view = ctx.view(value)
        if view.storage is target.storage and view.offset == where.offset:
            continue  # its producer wrote it there
        own = _strided(value, view.ld) if view.ld else dense_strides(value.shape)
        if math.prod(value.shape):
            _copy(ctx, node, size, value.shape, (view, own), (where, strides))


def _strided(value: Value, ld: int) -> tuple[int, ...]:
    """Strides of a value whose rows are `ld` apart."""
    outer = dense_strides(value.shape[:-1])
    return (*(s * ld for s in outer), 1)


def lower_split(ctx: Context, node: Node) -> None:
    x = node.inputs[0]
    axis = node.attrs.get("axis", 0) % len(x.shape)
    strides, start = dense_strides(x.shape), 0
    size = x.dtype.itemsize
    for y in node.outputs:
        source = ctx.dense(x).at(start * strides[axis] * size)
        start += y.shape[axis]
        _copy(ctx, node, size, y.shape, (source, strides), (ctx.dense(y), dense_strides(y.shape)))


def lower_slice(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    require(all(v is None or v.is_const for v in node.inputs[1:]), "the bounds are not constant")
    starts, ends = (np.asarray(node.inputs[i].data).tolist() for i in (1, 2))
    axes, steps = node.input(3), node.input(4)
    at = list(range(len(starts))) if axes is None else np.asarray(axes.data).tolist()
    by = [1] * len(starts) if steps is None else np.asarray(steps.data).tolist()
    strides = list(dense_strides(x.shape))
    offset = 0
    for start, end, axis, step in zip(starts, ends, at, by, strict=True):
        axis %= len(x.shape)
        first = slice(start, end, step).indices(x.shape[axis])[0]
        offset += first * strides[axis]
        strides[axis] *= step
    if math.prod(y.shape) == 0:
        return
    size = x.dtype.itemsize
    source = ctx.dense(x).at(offset * size)
    _copy(
        ctx, node, size, y.shape, (source, tuple(strides)), (ctx.dense(y), dense_strides(y.shape))
    )


def lower_expand(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    strides = broadcast_strides(x, y.shape)
    target = (ctx.dense(y), dense_strides(y.shape))
    _copy(ctx, node, x.dtype.itemsize, y.shape, (ctx.dense(x), strides), target)


def lower_space_depth(ctx: Context, node: Node) -> None:
    """DepthToSpace and SpaceToDepth on NCHW."""
    x, y = node.inputs[0], node.output
    block = node.attrs["blocksize"]
    if node.op == "SpaceToDepth":
        n, c, h, w = x.shape
        split, perm = (n, c, h // block, block, w // block, block), (0, 3, 5, 1, 2, 4)
    else:
        n, c, h, w = x.shape
        c //= block * block
        if node.attrs.get("mode", "DCR") == "DCR":
            split, perm = (n, block, block, c, h, w), (0, 3, 4, 1, 5, 2)
        else:
            split, perm = (n, c, block, block, h, w), (0, 1, 4, 2, 5, 3)
    strides = dense_strides(split)
    shape = tuple(split[p] for p in perm)
    moved = tuple(strides[p] for p in perm)
    target = (ctx.dense(y), dense_strides(shape))
    _copy(ctx, node, x.dtype.itemsize, shape, (ctx.dense(x), moved), target)


# -- operators that pick along axes ---------------------------------------------------------------


def _takes(ctx: Context, node: Node, indices: dict[int, np.ndarray], fill: int = 0) -> None:
    """y = x with index lists applied to some axes, -1 standing for `fill`; one axis after another,
    those that shrink the tensor first."""
    x, y = node.inputs[0], node.output
    size = x.dtype.itemsize
    shape, here = list(x.shape), ctx.dense(x)
    order = sorted(indices, key=lambda a: len(indices[a]) / max(1, shape[a]))
    if not order:
        ctx.alias(y, x)
        return
    for axis in order:
        index = np.ascontiguousarray(indices[axis], np.int64)
        sizes = {
            "outer": math.prod(shape[:axis]),
            "x_count": shape[axis],
            "y_count": index.size,
            "inner": math.prod(shape[axis + 1 :]),
        }
        shape[axis] = index.size
        room = ctx.dense(y) if axis == order[-1] else ctx.temporary(size * math.prod(shape))
        ctx.emit(
            node, "take", x=here, index=ctx.constant(index), y=room, size=size, fill=fill, **sizes
        )
        here = room


def lower_gather(ctx: Context, node: Node) -> None:
    x, index = node.inputs
    require(index.is_const, "the indices are not constant")
    axis = node.attrs.get("axis", 0) % len(x.shape)
    chosen = np.asarray(index.data).reshape(-1)
    chosen = np.where(chosen < 0, chosen + x.shape[axis], chosen)
    require(bool(np.all((chosen >= 0) & (chosen < x.shape[axis]))), "an index is out of range")
    _takes(ctx, node, {axis: chosen})


def lower_pad(ctx: Context, node: Node) -> None:
    x = node.inputs[0]
    require(all(v is None or v.is_const for v in node.inputs[1:]), "the pads are not constant")
    rank = len(x.shape)
    pads = np.asarray(node.inputs[1].data).tolist()
    value, axes = node.input(2), node.input(3)
    at = list(range(rank)) if axes is None else [a % rank for a in np.asarray(axes.data).tolist()]
    mode = node.attrs.get("mode", "constant")
    indices = {}
    for i, axis in enumerate(at):
        before, after = pads[i], pads[i + len(at)]
        if before or after:
            indices[axis] = _pad_index(x.shape[axis], before, after, mode)
    fill = 0
    if value is not None and mode == "constant":
        raw = np.asarray(value.data, x.dtype).tobytes()
        fill = int.from_bytes(raw, "little", signed=len(raw) == 8)
    _takes(ctx, node, indices, fill)


def _pad_index(count: int, before: int, after: int, mode: str) -> np.ndarray:
    index = np.arange(-before, count + after)
    if mode == "constant":
        return np.where((index >= 0) & (index < count), index, -1)
    require(count > 0, "nothing to pad from")
    if mode == "edge":
        return np.clip(index, 0, count - 1)
    if mode == "wrap":
        return index % count
    require(mode == "reflect", f"mode {mode}")
    period = max(1, 2 * count - 2)
    index = index % period
    return np.where(index < count, index, period - index)


def lower_resize(ctx: Context, node: Node) -> None:
    x, y, a = node.inputs[0], node.output, node.attrs
    scales = _scales(node)
    transform = a.get("coordinate_transformation_mode", "half_pixel")
    mode = a.get("mode", "nearest")
    require(not a.get("antialias"), "antialiasing")
    require(transform in _TRANSFORMS, f"coordinate mode {transform}")
    places = {
        axis: _TRANSFORMS[transform](
            np.arange(y.shape[axis], dtype=np.float64), scale, size, y.shape[axis]
        )
        for axis, (scale, size) in enumerate(zip(scales, x.shape, strict=True))
        if y.shape[axis] != size or scale != 1
    }
    if mode == "nearest":
        rounding = _ROUNDINGS[a.get("nearest_mode", "round_prefer_floor")]
        indices = {
            axis: np.clip(rounding(place), 0, x.shape[axis] - 1).astype(np.int64)
            for axis, place in places.items()
        }
        _takes(ctx, node, indices)
        return
    require(mode == "linear" and is_f32(x), f"mode {mode}")
    require(a.get("layout") == "NHWC" and set(places) <= {1, 2}, "not two spatial axes of NHWC")
    tables = {}
    for axis, name in ((1, "h"), (2, "w")):
        place = places.get(axis, np.arange(y.shape[axis], dtype=np.float64))
        place = np.clip(place, 0, x.shape[axis] - 1)
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        weight = (place - low).astype(np.float32)
        tables["index_" + name] = ctx.constant(np.stack([low, high]))
        tables["weight_" + name] = ctx.constant(np.stack([1 - weight, weight]))
    n, ih, iw, c = x.shape
    sizes = {"n": n, "ih": ih, "iw": iw, "c": c, "oh": y.shape[1], "ow": y.shape[2]}
    ctx.emit(node, "resize_linear", x=ctx.dense(x), y=ctx.dense(y), **tables, **sizes)


def _scales(node: Node) -> list[float]:
    """The scale of every axis."""
    x, y = node.inputs[0], node.output
    scales, axes = node.input(2), node.attrs.get("axes")
    require(not node.attrs.get("keep_aspect_ratio_policy", "stretch") != "stretch", "aspect policy")
    result = [o / i if i else 1.0 for i, o in zip(x.shape, y.shape, strict=True)]
    if scales is not None and scales.is_const and scales.data.size:
        at = range(len(x.shape)) if axes is None else [a % len(x.shape) for a in axes]
        for axis, scale in zip(at, np.asarray(scales.data).tolist(), strict=True):
            result[axis] = scale
    return result


_TRANSFORMS = {
    "half_pixel": lambda i, scale, size, out: (i + 0.5) / scale - 0.5,
    "asymmetric": lambda i, scale, size, out: i / scale,
    "pytorch_half_pixel": lambda i, scale, size, out: (i + 0.5) / scale - 0.5 if out > 1 else i * 0,
    "align_corners": lambda i, scale, size, out: i * (size - 1) / max(1, out - 1),
}

_ROUNDINGS = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda p: np.ceil(p - 0.5),
    "round_prefer_ceil": lambda p: np.floor(p + 0.5),
}
