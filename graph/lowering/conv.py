"""Convolutions and pools: NHWC in, NHWC out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from luthier.graph.ir import Node, Value
from luthier.graph.lowering.context import DTYPES, Context, View, is_f32, nest, require
from luthier.kernels.fields import epilogue_fields
from luthier.kernels.loops import dense_strides
from luthier.kernels.workload import Conv2d, DepthwiseConv2d, Gemm, Workload

__all__ = [
    "conv_workload",
    "emit_pool",
    "lower_conv",
    "lower_conv_transpose",
    "lower_pool",
    "reads_pixels",
]

NONE = ("none", (0.0, 0.0))


def epilogue(node: Node) -> tuple[str, tuple[float, float]]:
    """The activation fused into `node`, and its parameters."""
    if "activation" not in node.attrs:
        return NONE
    alpha, beta = node.attrs["activation_params"]
    return node.attrs["activation"], (alpha, beta)


def split_inputs(node: Node, fixed: int) -> tuple[list[Any], Any]:
    """Inputs of a fused node: the first `fixed` of them (None where absent), and the residual."""
    inputs = list(node.inputs)
    residual = inputs.pop() if node.attrs.get("residual") else None
    return [*inputs, *[None] * fixed][:fixed], residual


def conv_workload(node: Node, threads: int) -> Workload:
    """The workload of a Conv in NHWC form.

    Raises
    ------
    NotNative
        If no C kernel computes it.
    """
    (x, w, bias), residual = split_inputs(node, 3)
    require(node.attrs.get("layout") == "NHWC", "not in NHWC layout")
    require(is_f32(*node.inputs), f"dtype {x.dtype}")
    require(w.is_const, "weights are not constant")
    n, h, width, c = x.shape
    oc, per_group, r, s = w.shape
    groups = node.attrs["group"]
    common = {
        "n": n,
        "c": c,
        "h": h,
        "w": width,
        "r": r,
        "s": s,
        "strides": tuple(node.attrs["strides"]),
        "pads": tuple(node.attrs["pads"]),
        "dilations": tuple(node.attrs["dilations"]),
        "bias": bias is not None,
        "residual": residual is not None,
        "activation": epilogue(node)[0],
        "threads": threads,
    }
    if groups == c == oc and per_group == 1 and c > 1:
        return DepthwiseConv2d(**common)
    return Conv2d(k=oc, groups=groups, **common)


def lower_conv(ctx: Context, node: Node) -> None:
    workload = conv_workload(node, ctx.num_threads)
    (x, w, bias), residual = split_inputs(node, 3)
    ctx.emit_tuned(
        node,
        workload,
        w,
        x=ctx.view(x),
        bias=bias and ctx.view(bias),
        residual=residual and ctx.view(residual),
        y=ctx.view(node.output),
        ldx=ctx.ld(x),
        ldy=ctx.ld(node.output),
        ldr=ctx.ld(residual) if residual else 0,
        **epilogue_fields(*epilogue(node)),
    )


def lower_conv_transpose(ctx: Context, node: Node) -> None:
    (x, w, bias), residual = split_inputs(node, 3)
    a = node.attrs
    require(a.get("layout") == "NHWC", "not in NHWC layout")
    require(is_f32(*node.inputs) and residual is None, f"dtype {x.dtype}")
    require(w.is_const and (bias is None or bias.is_const), "weights are not constant")
    kernel, strides, dilations = w.shape[2:], tuple(a["strides"]), tuple(a["dilations"])
    apart = kernel == strides and dilations == (1, 1) and not any(a["pads"]) and a["group"] == 1
    if apart and node.output.shape[1:3] == (x.shape[1] * kernel[0], x.shape[2] * kernel[1]):
        _tiles(ctx, node, x, w, bias)
    else:
        _upsampled(ctx, node, x, w, bias)


def _tiles(ctx: Context, node: Node, x: Value, w: Value, bias: Value | None) -> None:
    """Taps that do not overlap: one GEMM whose columns are (kh, kw, oc), then a copy that moves
    them to their pixels."""
    n, h, width, c = x.shape
    oc, kh, kw = w.shape[1:]
    columns = kh * kw * oc
    matrix = w.data.transpose(0, 2, 3, 1).reshape(c, columns)
    weights = Value(node.name + ".w", matrix.dtype, matrix.shape, np.ascontiguousarray(matrix))
    name, params = epilogue(node)
    workload = Gemm(
        m=n * h * width,
        n=columns,
        k=c,
        bias=bias is not None,
        activation=name,
        threads=ctx.num_threads,
    )
    room = ctx.temporary(4 * n * h * width * columns)
    repeated = None if bias is None else ctx.constant(np.tile(bias.data, kh * kw))
    fused = epilogue_fields(name, params)
    ctx.emit_tuned(
        node, workload, weights, a=ctx.view(x), lda=ctx.ld(x), bias=repeated, y=room, **fused
    )
    shape = (n, h, kh, width, kw, oc)
    source = dense_strides((n, h, width, kh, kw, oc))
    source = (source[0], source[1], source[3], source[2], source[4], source[5])
    ctx.emit(
        node,
        "copy",
        x=room,
        y=ctx.dense(node.output),
        size=4,
        **nest(shape, {"x": source, "y": dense_strides(shape)}),
    )


def _upsampled(ctx: Context, node: Node, x: Value, w: Value, bias: Value | None) -> None:
    """The general case: a convolution of the input spread out by zeros with the flipped kernel
    (Dumoulin and Visin, A guide to convolution arithmetic, 2016)."""
    a = node.attrs
    (sh, sw), (dh, dw), group = a["strides"], a["dilations"], a["group"]
    top, left, _, _ = a["pads"]
    n, h, width, c = x.shape
    _, per_group, kh, kw = w.shape
    _, oh, ow, oc = node.output.shape
    pt, pl = (kh - 1) * dh - top, (kw - 1) * dw - left
    require(pt >= 0 and pl >= 0, "padding is larger than the kernel")
    rows, cols = (h - 1) * sh + 1, (width - 1) * sw + 1
    spread = ctx.dense(x)
    for axis_outer, count, step, inner in ((n, h, sh, width * c), (n * rows, width, sw, c)):
        if step > 1:
            index = np.full((count - 1) * step + 1, -1, np.int64)
            index[::step] = np.arange(count)
            room = ctx.temporary(4 * axis_outer * index.size * inner)
            sizes = {"outer": axis_outer, "x_count": count, "y_count": index.size, "inner": inner}
            ctx.emit(node, "take", x=spread, index=ctx.constant(index), y=room, size=4, **sizes)
            spread = room
    flipped = w.data.reshape(group, c // group, per_group, kh, kw)[..., ::-1, ::-1]
    flipped = np.ascontiguousarray(flipped.transpose(0, 2, 1, 3, 4).reshape(oc, c // group, kh, kw))
    name, params = epilogue(node)
    workload = Conv2d(
        n=n,
        c=c,
        h=rows,
        w=cols,
        k=oc,
        r=kh,
        s=kw,
        pads=(
            pt,
            pl,
            oh - 1 + (kh - 1) * dh + 1 - rows - pt,
            ow - 1 + (kw - 1) * dw + 1 - cols - pl,
        ),
        dilations=(dh, dw),
        groups=group,
        bias=bias is not None,
        activation=name,
        threads=ctx.num_threads,
    )
    ctx.emit_tuned(
        node,
        workload,
        Value(node.name + ".w", flipped.dtype, flipped.shape, flipped),
        x=spread,
        bias=bias and ctx.view(bias),
        y=ctx.dense(node.output),
        **epilogue_fields(name, params),
    )


def lower_pool(ctx: Context, node: Node) -> None:
    x = node.inputs[0]
    require(is_f32(x) or (node.op == "MaxPool" and x.dtype.name in _BYTES), f"dtype {x.dtype}")
    require(len(node.outputs) == 1, "the indices are asked for")
    emit_pool(ctx, node)


def emit_pool(ctx: Context, node: Node, **slots: Any) -> None:
    """Append the call of a pool of floats or bytes, a maximum or an average; `slots` are those of a
    quantised average."""
    x, y, a = node.inputs[0], node.output, node.attrs
    require(a.get("layout") == "NHWC", "not in NHWC layout")
    mode = 0
    if node.op != "MaxPool":
        mode = 2 if a.get("count_include_pad") else 1
    n, ih, iw, c = x.shape
    (kh, kw), (sh, sw), (dh, dw) = a["kernel_shape"], a["strides"], a["dilations"]
    pt, pl, pb, pr = a["pads"]
    sizes = {"n": n, "ih": ih, "iw": iw, "c": c, "oh": y.shape[1], "ow": y.shape[2]}
    window = {"kh": kh, "kw": kw, "sh": sh, "sw": sw, "dh": dh, "dw": dw}
    pads = {"pt": pt, "pl": pl, "pb": pb, "pr": pr}
    ends: dict[str, Any] = {"x": ctx.view(x), "y": ctx.view(y), "ldx": ctx.ld(x), "ldy": ctx.ld(y)}
    sizes |= {"mode": mode, "type": DTYPES[x.dtype.name]}
    ctx.emit(node, "pool2d", x.dtype, **ends, **sizes, **window, **pads, **slots)


def place_concat_inputs(
    ctx: Context, node: Node, users: dict[Value, list[Node]], outputs: set[Value]
) -> None:
    """Let the producers of a concatenation's inputs write straight into its output.

    That is possible along the last axis for operators that take a distance between pixels, and
    along an axis before which every size is 1 for all.
    """
    y = node.output
    axis = node.attrs["axis"] % len(y.shape)
    target = ctx.view(y)
    outermost = all(d == 1 for d in y.shape[:axis])
    last = axis == len(y.shape) - 1
    if target.ld or not (outermost or last):
        return
    inner = math.prod(y.shape[axis + 1 :]) * y.dtype.itemsize
    start = 0
    for value in node.inputs:
        where = target.at(start * inner)
        start += value.shape[axis]
        producer = value.producer
        if producer is None or value in ctx.views or value in outputs or len(users[value]) != 1:
            continue
        if node.inputs.count(value) > 1:
            continue
        if outermost:
            ctx.views[value] = where
        elif _writes_pixels(producer) or _gathers_pixels(producer):
            ctx.views[value] = View(where.storage, where.offset, y.shape[-1])


def _gathers_pixels(node: Node) -> bool:
    """Whether `node` is a Gather with constant indices along the last axis."""
    if node.op != "Gather" or node.domain or not node.inputs[1].is_const:
        return False
    rank = len(node.inputs[0].shape)
    return node.attrs.get("axis", 0) % rank == rank - 1 and len(node.inputs[1].shape) == 1


def reads_pixels(node: Node) -> bool:
    """Whether a kernel computes `node` that can read float maps with room between pixels."""
    return not node.domain and is_f32(node.inputs[0]) and _writes_pixels(node)


def _writes_pixels(node: Node) -> bool:
    """Whether a kernel computes `node` that can leave room between pixels."""
    if (node.domain, node.op) in _QUANTISED:
        return node.op == "LookUp" or node.attrs.get("layout") == "NHWC"
    if node.domain or node.op not in ("Conv", "MaxPool", "AveragePool"):
        return False
    floats = all(v is None or is_f32(v) for v in node.inputs)
    bytes_ = node.op == "MaxPool" and node.inputs[0].dtype.name in _BYTES
    constant = node.op != "Conv" or node.inputs[1].is_const
    nhwc = node.attrs.get("layout") == "NHWC"
    return (floats or bytes_) and constant and nhwc and len(node.outputs) == 1


_BYTES = ("uint8", "int8")
_QUANTISED = {("", "QLinearConv"), ("com.microsoft", "QLinearAveragePool"), ("luthier", "LookUp")}
