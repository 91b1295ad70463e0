"""Products of bytes: convolutions and matrix products."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from luthier.graph.ir import Node, Value
from luthier.graph.lowering.context import DTYPES, SHORT, Context, content, require
from luthier.graph.lowering.matmul import left_shape, right_shape
from luthier.graph.lowering.precision import emit_product
from luthier.graph.lowering.quant_operands import constant_of, scale_of, zero_of
from luthier.graph.ops.qlinear import nbits_parts
from luthier.graph.ops.quant_math import value_range
from luthier.kernels.nbits import pack_nbits
from luthier.kernels.requant import centred, weight_type
from luthier.kernels.workload import QConv2d, QDepthwiseConv2d, QGemm

__all__ = ["RULES"]

# -- products --------------------------------------------------------------------------------------


def _bytes_slots(ctx: Context, node: Node, columns: int) -> dict[str, Any]:
    """From int32 sums to bytes: the slots of a QLinearConv or QLinearMatMul."""
    a = node.attrs
    y_scale, dtype = scale_of(node.inputs[6]), node.inputs[7].dtype
    w_scale = constant_of(node.inputs[4], "a scale").astype(np.float32)
    require(w_scale.size in (1, columns), "scales that are not one a column")
    with np.errstate(over="ignore"):
        scale = np.broadcast_to(scale_of(node.inputs[1]) * w_scale.reshape(-1) / y_scale, columns)
    require(bool(np.isfinite(scale).all()), "a scale is infinite")
    low, high = a.get("clamp") or value_range(dtype)
    slots: dict[str, Any] = {
        "scale": ctx.constant(scale),
        "a_zero": zero_of(node.inputs[2]),
        "y_zero": zero_of(node.inputs[7]),
        "y_min": low,
        "y_max": high,
    }
    bias = node.input(8)
    if bias is not None:
        slots["bias"] = ctx.constant(constant_of(bias, "the bias").reshape(columns))
    if a.get("residual"):
        slots |= _residual_slots(ctx, node, y_scale)
    if "table" in a:
        slots["table"] = ctx.constant(a["table"])
    return slots


def _residual_slots(ctx: Context, node: Node, y_scale: np.float32) -> dict[str, Any]:
    r, sum_scale, dtype = node.inputs[9], scale_of(node.inputs[12]), node.inputs[13].dtype
    require(r.dtype == dtype == node.inputs[7].dtype, "a residual of another type")
    low, high = node.attrs.get("sum_clamp") or value_range(dtype)
    return {
        "residual": ctx.view(r),
        "ldr": ctx.ld(r),
        "y_ratio": float(y_scale / sum_scale),
        "r_ratio": float(scale_of(node.inputs[10]) / sum_scale),
        "r_zero": zero_of(node.inputs[11]),
        "r_first": node.attrs.get("residual_first", 0),
        "sum_zero": zero_of(node.inputs[13]),
        "sum_min": low,
        "sum_max": high,
    }


def _float_slots(ctx: Context, node: Node, columns: int) -> dict[str, Any]:
    """From int32 sums to floats: the slots of a ...IntegerToFloat, whose left scale and zero point
    may be known at run time only."""
    scale = constant_of(node.inputs[3], "a scale").astype(np.float32)
    require(scale.size in (1, columns), "scales that are not one a column")
    require(node.output.dtype == np.float32, f"dtype {node.output.dtype}")
    slots: dict[str, Any] = dict(_left_zero(ctx, node.input(4)))
    left = node.inputs[2]
    require(math.prod(left.shape) == 1, "a scale a row")
    if left.is_const:
        with np.errstate(over="ignore"):
            scale = scale_of(left) * scale
    else:
        slots["a_scale"] = ctx.dense(left)
    scale = np.broadcast_to(scale.reshape(-1), columns)
    require(bool(np.isfinite(scale).all()), "a scale is infinite")
    slots["scale"] = ctx.constant(scale)
    bias = node.input(6)
    return slots | ({} if bias is None else {"fbias": ctx.dense(bias)})


def _left_zero(ctx: Context, zero: Value | None) -> dict[str, Any]:
    """The slot of a zero point of the left operand, which a graph may compute."""
    if zero is None or zero.is_const:
        return {"a_zero": zero_of(zero)}
    require(math.prod(zero.shape) == 1, "a zero point a row")
    return {"a_zero_at": ctx.dense(zero)}


def _weights(w: Value, zero: Value | None, axis: int) -> np.ndarray:
    """Constant weights less their zero points, columns along `axis`."""
    data = constant_of(w, "the weights")
    zeros = 0 if zero is None else constant_of(zero, "a zero point").reshape(-1)
    require(np.size(zeros) in (1, data.shape[axis]), "zero points that are not one a column")
    return centred(data, zeros, axis)


def _types(x: Value, weights: np.ndarray, y: str) -> dict[str, str]:
    return {"a": SHORT[x.dtype.name], "wt": weight_type(weights), "y": y}


def _flags(node: Node) -> dict[str, bool]:
    """What of the epilogue is there, for a workload of bytes."""
    return {
        "bias": node.input(8) is not None,
        "residual": bool(node.attrs.get("residual")),
        "table": "table" in node.attrs,
    }


def lower_qlinear_conv(ctx: Context, node: Node) -> None:
    w = node.inputs[3]
    slots = _bytes_slots(ctx, node, w.shape[0])
    y = SHORT[node.inputs[7].dtype.name]
    _conv(ctx, node, 3, _weights(w, node.inputs[5], 0), y, _flags(node), slots)


def lower_conv_integer(ctx: Context, node: Node) -> None:
    slots = _left_zero(ctx, node.input(2))
    _conv(ctx, node, 1, _weights(node.inputs[1], node.input(3), 0), "s32", {}, slots)


def lower_conv_integer_to_float(ctx: Context, node: Node) -> None:
    w = node.inputs[1]
    slots = _float_slots(ctx, node, w.shape[0])
    _conv(ctx, node, 1, _weights(w, node.input(5), 0), "f32", {}, slots)


def _conv(
    ctx: Context,
    node: Node,
    i: int,
    weights: np.ndarray,
    y: str,
    flags: dict[str, bool],
    slots: dict[str, Any],
) -> None:
    """A convolution whose weight is input `i`."""
    x, w, a = node.inputs[0], node.inputs[i], node.attrs
    require(a.get("layout") == "NHWC", "not in NHWC layout")
    n, h, width, c = x.shape
    oc, per_group, r, s = w.shape
    common: dict[str, Any] = {
        "n": n,
        "c": c,
        "h": h,
        "w": width,
        "r": r,
        "s": s,
        "strides": tuple(a["strides"]),
        "pads": tuple(a["pads"]),
        "dilations": tuple(a["dilations"]),
        **_types(x, weights, y),
        **flags,
        "threads": ctx.num_threads,
    }
    workload: Any
    if a["group"] == c == oc and per_group == 1 and c > 1 and y in ("u8", "s8"):
        workload = QDepthwiseConv2d(**common)
    else:
        workload = QConv2d(k=oc, groups=a["group"], **common)
    slots |= {"x": ctx.view(x), "ldx": ctx.ld(x)}
    slots |= {"y": ctx.view(node.output), "ldy": ctx.ld(node.output)}
    emit_product(ctx, node, workload, weights, **slots)


def lower_qlinear_matmul(ctx: Context, node: Node) -> None:
    w = node.inputs[3]
    slots = _bytes_slots(ctx, node, right_shape(w)[-1])
    y = SHORT[node.inputs[7].dtype.name]
    _matmul(ctx, node, w, node.inputs[5], y, _flags(node), slots)


def lower_matmul_integer(ctx: Context, node: Node) -> None:
    slots = _left_zero(ctx, node.input(2))
    _matmul(ctx, node, node.inputs[1], node.input(3), "s32", {}, slots)


def lower_matmul_to_float(ctx: Context, node: Node) -> None:
    w = node.inputs[1]
    slots = _float_slots(ctx, node, right_shape(w)[-1])
    _matmul(ctx, node, w, node.input(5), "f32", {}, slots)


def _matmul(
    ctx: Context,
    node: Node,
    w: Value,
    w_zero: Value | None,
    y: str,
    flags: dict[str, bool],
    slots: dict[str, Any],
) -> None:
    a = node.inputs[0]
    (m, k), n = left_shape(a)[-2:], right_shape(w)[-1]
    batches = left_shape(a)[:-2], right_shape(w)[:-2]
    left, right = map(math.prod, batches)
    slots |= {"a": ctx.dense(a), "y": ctx.dense(node.output)}
    slots.pop("ldr", None)
    if w.is_const and right == 1:
        weights = _weights(w, w_zero, -1).reshape(k, n)
        kind: Any = {**_types(a, weights, y), **flags}
        workload = QGemm(m=m * left, n=n, k=k, **kind, threads=ctx.num_threads)
        emit_product(ctx, node, workload, weights, **slots)
        return
    require(left == 1 or batches[0] == batches[1] or right == 1, "the batches are broadcast")
    zeros = np.zeros(1, w.dtype) if w_zero is None else constant_of(w_zero, "a zero point")
    require(zeros.size in (1, n), "zero points that are not one a column")
    signed = w.dtype == np.int8 and not zeros.any()
    if right == 1:
        m, right = m * left, 1
    elif left == 1:
        slots["stride_a"] = 0
    kind = {"a": SHORT[a.dtype.name], "wt": "s8m" if signed else "s16", "y": y, **flags}
    workload = QGemm(m=m, n=n, k=k, batch=right, packed=False, **kind, threads=ctx.num_threads)
    slots |= {"w": ctx.dense(w), "w_type": DTYPES[w.dtype.name]}
    slots |= {"w_zero": ctx.constant(zeros.reshape(-1)), "w_zero_ns": int(zeros.size > 1)}
    ctx.emit_tuned(node, workload, None, **slots)


def lower_matmul_nbits(ctx: Context, node: Node) -> None:
    (a, *rest), bias, y = node.inputs[:4], node.input(5), node.output
    bits, block = node.attrs.get("bits", 4), node.attrs["block_size"]
    require(bits <= 4 and y.dtype == np.float32, f"{bits} bits, {y.dtype}")
    arrays = [None if v is None else constant_of(v, f"input {v.name}") for v in rest]

    @cache
    def packed() -> list[np.ndarray]:
        q, scale, zero = nbits_parts(node, [None, *arrays])
        if zero is None and bits < 4:
            zero = np.full_like(scale, 1 << (bits - 1))
        return [v for v in pack_nbits(q, scale, zero, block) if v is not None]

    key = [content(np.ascontiguousarray(v)) for v in arrays if v is not None]
    parts = ("w", "scale") if bits == 4 and len(key) == 2 else ("w", "scale", "zero")
    slots: dict[str, Any] = {"a": ctx.dense(a), "y": ctx.dense(y), "bias": bias and ctx.dense(bias)}
    for i, part in enumerate(parts):
        slots[part] = ctx.keep((part, bits, block, *key), lambda i=i: packed()[i])  # type: ignore[misc]
    n, k = node.attrs["N"], node.attrs["K"]
    slots |= {"m": math.prod(a.shape[:-1]), "n": n, "k": k, "block": block, "lda": k, "ldy": n}
    ctx.emit(node, "gemm_nbits", **slots)


RULES: dict[str, dict[str, Any]] = {
    "": {
        "ConvInteger": lower_conv_integer,
        "MatMulInteger": lower_matmul_integer,
        "QLinearConv": lower_qlinear_conv,
        "QLinearMatMul": lower_qlinear_matmul,
    },
    "com.microsoft": {
        "MatMulIntegerToFloat": lower_matmul_to_float,
        "MatMulNBits": lower_matmul_nbits,
    },
    "luthier": {"ConvIntegerToFloat": lower_conv_integer_to_float},
}
"""Rules by domain and operator."""
