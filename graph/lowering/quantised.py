"""Quantised operators that work element by element, on rows or over windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.lowering.context import DTYPES, Context, nest, require
from luthier.graph.lowering.conv import emit_pool
from luthier.graph.lowering.elementwise import BINARY
from luthier.graph.lowering.quant_operands import constant_of, scale_of, zero_of
from luthier.graph.ops.quant import granularity
from luthier.graph.ops.quant_math import value_range
from luthier.kernels.loops import broadcast_strides, dense_strides
from luthier.kernels.qreference import softmax_table

__all__ = ["RULES"]

# -- quantisers ------------------------------------------------------------------------------------


def lower_quantize(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    require(x.dtype == np.float32 and not node.attrs.get("precision"), f"dtype {x.dtype}")
    _quantiser(ctx, node, "quantize", y.dtype)
    step = ctx.steps[-1]
    step.fields["y_min"], step.fields["y_max"] = value_range(y.dtype)


def lower_dequantize(ctx: Context, node: Node) -> None:
    require(node.output.dtype == np.float32, f"dtype {node.output.dtype}")
    _quantiser(ctx, node, "dequantize", node.inputs[0].dtype)


def _quantiser(ctx: Context, node: Node, op: str, dtype: np.dtype) -> None:
    x = node.inputs[0]
    require(dtype.name in ("uint8", "int8", "uint16", "int16", "int32"), f"dtype {dtype}")
    scale = constant_of(node.inputs[1], "a scale").astype(np.float32)
    zero = node.input(2)
    zeros = np.zeros(1) if zero is None else constant_of(zero, "a zero point")
    axis, block, shapes = granularity(node, x.shape)
    sizes = {"outer": 1, "count": 1, "inner": math.prod(x.shape), "block": block}
    if axis is not None:
        outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
        sizes |= {"outer": outer, "count": x.shape[axis], "inner": inner}
    shape = shapes[0] if shapes else (1,)
    scale, zeros = (
        np.broadcast_to(p.reshape(()) if p.size == 1 else p, shape) for p in (scale, zeros)
    )
    ctx.emit(
        node,
        op,
        dtype,
        x=ctx.dense(x),
        y=ctx.dense(node.output),
        scale=ctx.constant(scale),
        zero=ctx.constant(zeros.astype(np.int32)),
        type=DTYPES[dtype.name],
        **sizes,
    )


def lower_dynamic_quantize(ctx: Context, node: Node) -> None:
    y, scale, zero = node.outputs
    ends: dict[str, Any] = {"x": ctx.dense(node.inputs[0]), "y": ctx.dense(y)}
    ends |= {"scale": ctx.dense(scale), "zero": ctx.dense(zero)}
    size = math.prod(node.inputs[0].shape)
    ctx.emit(node, "dynamic_quantize", y.dtype, n=size, **ends)


# -- element by element ----------------------------------------------------------------------------


def lower_binary(ctx: Context, node: Node) -> None:
    a, b, y = node.inputs[0], node.inputs[3], node.output
    require(a.dtype == b.dtype == y.dtype and y.dtype.itemsize == 1, "operands of several types")
    shape = y.shape
    strides = {"a": broadcast_strides(a.shape, shape), "b": broadcast_strides(b.shape, shape)}
    # `y` is dense, so that joining axes must respect it as well; its strides are implied.
    loops = nest(shape, {**strides, "y": dense_strides(shape)})
    slots: dict[str, Any] = {k: v for k, v in loops.items() if k[0] != "y"}
    for name, i in (("a", 1), ("b", 4), ("y", 6)):
        slots[f"{name}_scale"] = float(scale_of(node.inputs[i]))
        slots[f"{name}_zero"] = zero_of(node.input(i + 1))
    slots["y_min"], slots["y_max"] = node.attrs.get("clamp") or value_range(y.dtype)
    slots |= {"a": ctx.dense(a), "b": ctx.dense(b), "y": ctx.dense(y)}
    op = BINARY[node.op.removeprefix("QLinear")]
    ctx.emit(node, "qbinary", y.dtype, op=op, type=DTYPES[y.dtype.name], **slots)


def lower_look_up(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    ends: dict[str, Any] = {"x": ctx.view(x), "y": ctx.view(y)}
    if ctx.view(x).ld or ctx.view(y).ld:
        ends |= {"cols": x.shape[-1], "rows": math.prod(x.shape[:-1])}
        ends |= {"ldx": ctx.ld(x), "ldy": ctx.ld(y)}
    else:
        size = math.prod(x.shape)
        ends |= {"rows": 1, "cols": size, "ldx": size, "ldy": size}
    ctx.emit(node, "lookup", x.dtype, table=ctx.constant(node.attrs["table"]), **ends)


def lower_softmax(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    axis = node.attrs.get("axis", -1) % len(x.shape)
    old = node.attrs["opset"] < 13
    count = math.prod(x.shape[axis:]) if old else x.shape[axis]
    require(old or math.prod(x.shape[axis + 1 :]) == 1, "the axis is not the innermost one")
    inverse = np.float32(1) / scale_of(node.inputs[3])
    ctx.emit(
        node,
        "qsoftmax",
        x.dtype,
        x=ctx.dense(x),
        y=ctx.dense(y),
        exps=ctx.constant(softmax_table(float(scale_of(node.inputs[1])), max(1, count))),
        outer=math.prod(x.shape) // max(1, count),
        count=count,
        type=DTYPES[x.dtype.name],
        factor=float(np.floor(inverse)),
        y_zero=zero_of(node.inputs[4]),
    )


# -- pools -----------------------------------------------------------------------------------------


def lower_average_pool(ctx: Context, node: Node) -> None:
    slots = {"x_scale": float(scale_of(node.inputs[1])), "x_zero": zero_of(node.input(2))}
    slots |= {"y_scale": float(scale_of(node.inputs[3])), "y_zero": zero_of(node.input(4))}
    emit_pool(ctx, node, **slots)


def lower_global_average_pool(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    last = node.attrs.get("layout") == "NHWC"
    count = math.prod(x.shape[1:-1] if last else x.shape[2:])
    with np.errstate(over="ignore", under="ignore"):
        scale = scale_of(node.inputs[1]) / (scale_of(node.inputs[3]) * np.float32(count))
    ctx.emit(
        node,
        "qmean",
        x.dtype,
        x=ctx.dense(x),
        y=ctx.dense(y),
        outer=x.shape[0] if last else x.shape[0] * x.shape[1],
        count=count,
        inner=x.shape[-1] if last else 1,
        type=DTYPES[x.dtype.name],
        scale=float(scale),
        x_zero=zero_of(node.input(2)),
        y_zero=zero_of(node.input(4)),
    )


RULES: dict[str, dict[str, Any]] = {
    "": {
        "DequantizeLinear": lower_dequantize,
        "DynamicQuantizeLinear": lower_dynamic_quantize,
        "QuantizeLinear": lower_quantize,
    },
    "com.microsoft": {
        "QLinearAdd": lower_binary,
        "QLinearAveragePool": lower_average_pool,
        "QLinearGlobalAveragePool": lower_global_average_pool,
        "QLinearMul": lower_binary,
        "QLinearSoftmax": lower_softmax,
    },
    "luthier": {"LookUp": lower_look_up},
}
"""Rules by domain and operator."""
