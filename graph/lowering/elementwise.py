"""Elementwise operators, softmax, normalisation and reductions."""

from __future__ import annotations

import math
from typing import Any

from luthier.graph.ir import Node
from luthier.graph.lowering.context import (
    DTYPES,
    Context,
    is_f32,
    nbytes,
    nest,
    require,
)
from luthier.graph.lowering.conv import epilogue
from luthier.graph.ops.reduce import reduce_axes
from luthier.kernels.elementwise import LRN_MAX_SIZE
from luthier.kernels.fields import epilogue_fields
from luthier.kernels.loops import broadcast_strides, dense_strides

__all__ = [
    "ACTIVATIONS",
    "BINARY",
    "REDUCE",
    "UNARY",
    "lower_activation",
    "lower_binary",
    "lower_cast",
    "lower_layer_norm",
    "lower_lrn",
    "lower_reduce",
    "lower_softmax",
    "lower_unary",
    "lower_where",
]

UNARY = {
    "Neg": 1,
    "Abs": 2,
    "Sqrt": 3,
    "Reciprocal": 4,
    "Exp": 5,
    "Log": 6,
    "Erf": 7,
    "Floor": 8,
    "Ceil": 9,
    "Round": 10,
    "Softplus": 11,
    "Sin": 12,
    "Cos": 13,
}
"""Operator -> ``enum lt_unary_op``."""

BINARY = {
    "Add": 0,
    "Sub": 1,
    "Mul": 2,
    "Div": 3,
    "Min": 4,
    "Max": 5,
    "Pow": 6,
    "Equal": 8,
    "Less": 9,
    "Greater": 10,
}
"""Operator -> ``enum lt_binary_op``."""

REDUCE = {
    "ReduceSum": 0,
    "ReduceMean": 1,
    "ReduceMax": 2,
    "ReduceMin": 3,
    "ReduceProd": 4,
    "ReduceL1": 5,
    "ReduceL2": 6,
    "ReduceSumSquare": 7,
}
"""Operator -> ``enum lt_reduce_op``."""

ACTIVATIONS = {
    "Relu": "relu",
    "Clip": "clip",
    "HardSigmoid": "hard_sigmoid",
    "HardSwish": "hard_swish",
    "Sigmoid": "sigmoid",
    "Silu": "silu",
    "Tanh": "tanh",
    "Gelu": "gelu",
    "LeakyRelu": "leaky_relu",
}


def lower_unary(ctx: Context, node: Node) -> None:
    require(is_f32(node.inputs[0]), f"dtype {node.inputs[0].dtype}")
    _unary(ctx, node, UNARY[node.op], "none", (0.0, 0.0))


def _unary(ctx: Context, node: Node, op: int, name: str, params: tuple[float, float]) -> None:
    x = node.inputs[0]
    ends: dict[str, Any] = {"x": ctx.dense(x), "y": ctx.dense(node.output), "n": math.prod(x.shape)}
    ctx.emit(node, "unary", op=op, **ends, **epilogue_fields(name, params))


def lower_activation(ctx: Context, node: Node) -> None:
    """An activation that was not fused into its producer."""
    require(is_f32(node.inputs[0]), f"dtype {node.inputs[0].dtype}")
    a = node.attrs
    params = (0.0, 0.0)
    if node.op == "Clip":
        params = (_bound(node, 1, -math.inf), _bound(node, 2, math.inf))
    elif node.op == "HardSigmoid":
        params = (a.get("alpha", 0.2), a.get("beta", 0.5))
    elif node.op == "LeakyRelu":
        params = (a.get("alpha", 0.01), 0.0)
    elif node.op == "Gelu":
        require(a.get("approximate", "none") == "none", "the tanh form")
    _unary(ctx, node, 0, ACTIVATIONS[node.op], params)


def _bound(node: Node, i: int, default: float) -> float:
    value = node.input(i)
    if value is None:
        return default
    require(value.is_const, "the bounds are not constant")
    return float(value.data)


def lower_binary(ctx: Context, node: Node) -> None:
    if len(node.inputs) == 1:  # Max or Min of one tensor
        ctx.alias(node.output, node.inputs[0])
        return
    a, b = node.inputs
    y = node.output
    require(is_f32(a, b), f"dtype {a.dtype}")
    shape = y.shape
    strides = {"a": broadcast_strides(a.shape, shape), "b": broadcast_strides(b.shape, shape)}
    ends: dict[str, Any] = {"a": ctx.dense(a), "b": ctx.dense(b), "y": ctx.dense(y)}
    # `y` is dense, so that joining axes must respect it as well; its strides are implied.
    slots = nest(shape, {**strides, "y": dense_strides(shape)})
    slots = {name: value for name, value in slots.items() if name[0] != "y"}
    ctx.emit(
        node, "binary", op=BINARY[node.op], **ends, **slots, **epilogue_fields(*epilogue(node))
    )


def lower_where(ctx: Context, node: Node) -> None:
    c, a, b = node.inputs
    y = node.output
    strides = {
        letter: broadcast_strides(v.shape, y.shape)
        for letter, v in zip("cab", node.inputs, strict=True)
    }
    slots = nest(y.shape, {**strides, "y": dense_strides(y.shape)})
    slots = {name: value for name, value in slots.items() if name[0] != "y"}
    ends: dict[str, Any] = {
        "c": ctx.dense(c),
        "a": ctx.dense(a),
        "b": ctx.dense(b),
        "y": ctx.dense(y),
    }
    ctx.emit(node, "where", size=a.dtype.itemsize, **ends, **slots)


def lower_cast(ctx: Context, node: Node) -> None:
    x, y = node.inputs[0], node.output
    for value in (x, y):
        require(str(value.dtype) in DTYPES, f"dtype {value.dtype}")
    kinds = {"from": DTYPES[str(x.dtype)], "to": DTYPES[str(y.dtype)]}
    ctx.emit(node, "cast", x=ctx.dense(x), y=ctx.dense(y), n=math.prod(x.shape), **kinds)


def lower_softmax(ctx: Context, node: Node) -> None:
    x = node.inputs[0]
    require(is_f32(x), f"dtype {x.dtype}")
    axis = node.attrs.get("axis", -1) % len(x.shape)
    sizes = {
        "outer": math.prod(x.shape[:axis]),
        "count": x.shape[axis],
        "inner": math.prod(x.shape[axis + 1 :]),
    }
    log = int(node.op == "LogSoftmax")
    ctx.emit(node, "softmax", x=ctx.dense(x), y=ctx.dense(node.output), log=log, **sizes)


def lower_layer_norm(ctx: Context, node: Node) -> None:
    x, scale = node.inputs[:2]
    bias = node.input(2)
    require(is_f32(*node.inputs), f"dtype {x.dtype}")
    require(len(node.outputs) == 1, "mean or deviation are asked for")
    axis = node.attrs.get("axis", -1) % len(x.shape)
    count = math.prod(x.shape[axis:])
    for value in (scale, bias):
        require(value is None or math.prod(value.shape) == count, "scale or bias are broadcast")
    ctx.emit(
        node,
        "layer_norm",
        x=ctx.dense(x),
        scale=ctx.dense(scale),
        bias=bias and ctx.dense(bias),
        y=ctx.dense(node.output),
        outer=math.prod(x.shape[:axis]),
        count=count,
        epsilon=node.attrs.get("epsilon", 1e-5),
    )


def lower_lrn(ctx: Context, node: Node) -> None:
    x, a = node.inputs[0], node.attrs
    require(a.get("layout") == "NHWC", "not in NHWC layout")
    require(is_f32(x), f"dtype {x.dtype}")
    require(1 <= a["size"] <= LRN_MAX_SIZE, f"a window of {a['size']} channels")
    ctx.emit(
        node,
        "lrn",
        x=ctx.view(x),
        y=ctx.view(node.output),
        rows=math.prod(x.shape[:-1]),
        count=x.shape[-1],
        ldx=ctx.ld(x),
        ldy=ctx.ld(node.output),
        window=a["size"],
        alpha=a.get("alpha", 1e-4),
        beta=a.get("beta", 0.75),
        bias=a.get("bias", 1.0),
    )


def lower_reduce(ctx: Context, node: Node) -> None:
    x = node.inputs[0]
    require(is_f32(x), f"dtype {x.dtype}")
    rank = len(x.shape)
    axes = reduce_axes(node)
    if node.op in _PLAIN and math.prod(x.shape[a] for a in axes) == 1:
        ctx.alias(node.output, x)
        return
    require(bool(axes), "nothing is reduced")
    outer, inner = math.prod(x.shape[: axes[0]]), math.prod(x.shape[axes[-1] + 1 :])
    kept = [a for a in range(axes[0], axes[-1]) if a not in axes]
    source, count = ctx.dense(x), math.prod(x.shape[a] for a in axes)
    if any(x.shape[a] > 1 for a in kept):
        # Bring the reduced axes together in front of the last kept ones.
        order = [*range(axes[0]), *kept, *axes, *range(axes[-1] + 1, rank)]
        strides = dense_strides(x.shape)
        shape = tuple(x.shape[a] for a in order)
        room = ctx.temporary(nbytes(x))
        slots = nest(shape, {"x": tuple(strides[a] for a in order), "y": dense_strides(shape)})
        ctx.emit(node, "copy", x=source, y=room, size=4, **slots)
        source = room
        outer *= math.prod(x.shape[a] for a in kept)
    sizes = {"outer": outer, "count": count, "inner": inner}
    ctx.emit(node, "reduce", x=source, y=ctx.dense(node.output), op=REDUCE[node.op], **sizes)


_PLAIN = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")
