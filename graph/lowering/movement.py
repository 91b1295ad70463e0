"""Operators that move elements and compute nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.lowering.context import (
    Context,
    View,
    is_f32,
    nest,
    require,
)
from luthier.graph.ops.index import pad_sources, pad_widths, slice_ranges, split_sizes
from luthier.graph.ops.resize import resize_scales
from luthier.graph.ops.shape import permutation
from luthier.kernels.loops import broadcast_strides, dense_strides

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
    if math.prod(shape):
        slots = nest(shape, {"x": x[1], "y": y[1]})
        ctx.emit(node, "copy", x=x[0], y=y[0], size=size, **slots)


def lower_transpose(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    perm = permutation(node, len(x.shape))
    strides = dense_strides(x.shape)
    moved = tuple(strides[p] for p in perm)
    target = dense_strides(y.shape)
    _copy(ctx, node, x.dtype.itemsize, y.shape, (ctx.dense(x), moved), (ctx.dense(y), target))


def lower_concat(ctx: Context, node: Node) -> None:
    y = node.output
    axis = node.attrs["axis"] % len(y.shape)
    target, start = ctx.view(y), 0
    strides = target.strides(y.shape)
    for value in node.inputs:
        where = target.at(start * strides[axis] * y.dtype.itemsize)
        start += value.shape[axis]
        view = ctx.view(value)
        if view.storage is target.storage and view.offset == where.offset:
            continue  # its producer wrote it there
        own = (view, view.strides(value.shape))
        _copy(ctx, node, y.dtype.itemsize, value.shape, own, (where, strides))


def lower_split(ctx: Context, node: Node) -> None:
    x = node.inputs[0]
    axis, sizes = split_sizes(node)
    strides, start = dense_strides(x.shape), 0
    for y, size in zip(node.outputs, sizes, strict=True):
        source = ctx.dense(x).at(start * strides[axis] * x.dtype.itemsize)
        start += size
        target = (ctx.dense(y), dense_strides(y.shape))
        _copy(ctx, node, x.dtype.itemsize, y.shape, (source, strides), target)


def lower_slice(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    own, kept = dense_strides(x.shape), slice_ranges(node)
    if y in ctx.sliceable and y not in ctx.views and _cuts_rows(x.shape, kept):
        start = ctx.dense(x).at(kept[-1].start * x.dtype.itemsize)
        ctx.views[y] = View(start.storage, start.offset, x.shape[-1])
        return
    strides = tuple(s * r.step for s, r in zip(own, kept, strict=True))
    offset = sum(s * r.start for s, r in zip(own, kept, strict=True))
    source = ctx.dense(x).at(offset * x.dtype.itemsize)
    target = (ctx.dense(y), dense_strides(y.shape))
    _copy(ctx, node, x.dtype.itemsize, y.shape, (source, strides), target)


def _cuts_rows(shape: tuple[int, ...], kept: list[range]) -> bool:
    """Whether all that a Slice does is to take neighbours from each row."""
    whole = all(r == range(n) for r, n in zip(kept[:-1], shape[:-1], strict=True))
    return whole and kept[-1].step == 1


def lower_expand(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    strides = broadcast_strides(x.shape, y.shape)
    target = (ctx.dense(y), dense_strides(y.shape))
    _copy(ctx, node, x.dtype.itemsize, y.shape, (ctx.dense(x), strides), target)


def lower_space_depth(ctx: Context, node: Node) -> None:
    """DepthToSpace and SpaceToDepth on NCHW."""
    x, y = node.inputs[0], node.output
    block, dcr = node.attrs["blocksize"], node.attrs.get("mode", "DCR") == "DCR"
    if node.op == "SpaceToDepth":
        n, c, h, w = x.shape
        split = (n, c, h // block, block, w // block, block)
        perm = (0, 3, 5, 1, 2, 4) if dcr else (0, 1, 3, 5, 2, 4)
    else:
        n, c, h, w = x.shape
        c //= block * block
        if dcr:
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
        room = ctx.view(y) if axis == order[-1] else ctx.temporary(size * math.prod(shape))
        require(not room.ld or axis == len(shape) - 1, f"{y.name} is not dense")
        slots = {**sizes, "y_step": room.ld, "fill": fill}
        ctx.emit(node, "take", x=here, index=ctx.constant(index), y=room, size=size, **slots)
        here = room


def lower_gather(ctx: Context, node: Node) -> None:
    x, index = node.inputs
    axis = node.attrs.get("axis", 0) % len(x.shape)
    if not index.is_const:
        ctx.emit(
            node,
            "gather",
            x.dtype,
            x=ctx.dense(x),
            index=ctx.dense(index),
            y=ctx.dense(node.output),
            size=x.dtype.itemsize,
            index_size=index.dtype.itemsize,
            outer=math.prod(x.shape[:axis]),
            x_count=x.shape[axis],
            y_count=math.prod(index.shape),
            inner=math.prod(x.shape[axis + 1 :]),
        )
        return
    chosen = np.asarray(index.data).reshape(-1)
    chosen = np.where(chosen < 0, chosen + x.shape[axis], chosen)
    require(bool(np.all((chosen >= 0) & (chosen < x.shape[axis]))), "an index is out of range")
    _takes(ctx, node, {axis: chosen})


def lower_pad(ctx: Context, node: Node) -> None:
    x, value = node.inputs[0], node.input(2)
    constant = node.attrs.get("mode", "constant") == "constant"
    fill = 0
    if value is not None and constant:
        require(value.is_const, "the padding value is not constant")
        raw = np.asarray(value.data, x.dtype).tobytes()
        fill = int.from_bytes(raw[:8], "little", signed=len(raw) >= 8)
    found = enumerate(zip(pad_sources(node), pad_widths(node), strict=True))
    _takes(ctx, node, {axis: index for axis, (index, width) in found if any(width)}, fill)


def lower_resize(ctx: Context, node: Node) -> None:
    x, y, a = node.inputs[0], node.output, node.attrs
    scales, _ = resize_scales(node)
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
    tables: dict[str, Any] = {}
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


_TRANSFORMS: dict[str, Any] = {
    "half_pixel": lambda i, scale, size, out: (i + 0.5) / scale - 0.5,
    "half_pixel_symmetric": lambda i, scale, size, out: (
        size / 2 * (1 - out / (scale * size)) + (i + 0.5) / scale - 0.5
    ),
    "asymmetric": lambda i, scale, size, out: i / scale,
    "pytorch_half_pixel": lambda i, scale, size, out: (i + 0.5) / scale - 0.5 if out > 1 else i * 0,
    "align_corners": lambda i, scale, size, out: (
        i * (size - 1) / (scale * size - 1) if scale * size != 1 else i * 0
    ),
}

_ROUNDINGS: dict[str, Any] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda p: np.ceil(p - 0.5),
    "round_prefer_ceil": lambda p: np.floor(p + 0.5),
}
