"""Gemm and MatMul."""

from __future__ import annotations

import math
from typing import Any

from luthier.graph.ir import Node, Value
from luthier.graph.lowering.context import Context, is_f32, require
from luthier.graph.lowering.conv import epilogue, split_inputs
from luthier.kernels.fields import epilogue_fields
from luthier.kernels.workload import Gemm

__all__ = ["gemm_workload", "left_shape", "lower_matmul", "right_shape"]


def gemm_workload(node: Node, threads: int) -> Gemm:
    """The workload of a Gemm or MatMul.

    Raises
    ------
    NotNative
        If no C kernel computes it.
    """
    (a, w, bias), residual = split_inputs(node, 3)
    require(is_f32(*node.inputs), f"dtype {a.dtype}")
    if node.op == "Gemm":
        plain = not node.attrs.get("transA") and not node.attrs.get("transB")
        scales = (node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0))
        require(plain and scales == (1.0, 1.0), "transposed or scaled operands")
    (m, k), n = left_shape(a)[-2:], right_shape(w)[-1]
    if bias is not None:
        require(math.prod(bias.shape) == n == bias.shape[-1], "the bias is not one value a column")
    fused: dict[str, Any] = {
        "bias": bias is not None,
        "residual": residual is not None,
        "activation": epilogue(node)[0],
        "threads": threads,
    }
    batches = left_shape(a)[:-2], right_shape(w)[:-2]
    left, right = map(math.prod, batches)
    if right == 1:
        return Gemm(m=m * left, n=n, k=k, packed=w.is_const, **fused)
    require(left == 1 or batches[0] == batches[1], "the batches are broadcast")
    return Gemm(m=m, n=n, k=k, batch=right, packed=False, **fused)


def left_shape(a: Value) -> tuple[int, ...]:
    """Shape of the left operand; a vector is a row."""
    return a.shape if len(a.shape) > 1 else (1, *a.shape)


def right_shape(w: Value) -> tuple[int, ...]:
    """Shape of the right operand; a vector is a column."""
    return w.shape if len(w.shape) > 1 else (*w.shape, 1)


def lower_matmul(ctx: Context, node: Node) -> None:
    workload = gemm_workload(node, ctx.num_threads)
    (a, w, bias), residual = split_inputs(node, 3)
    weights, plain = None, dict[str, Any]()
    if workload.packed:
        shape = right_shape(w)[-2:]
        weights = Value(w.name, w.dtype, shape, w.data.reshape(shape))
    else:
        plain["w"] = ctx.dense(w)
        if math.prod(left_shape(a)) == workload.m * workload.k:
            plain["stride_a"] = 0  # one matrix for the whole batch
    ctx.emit_tuned(
        node,
        workload,
        weights,
        a=ctx.dense(a),
        bias=bias and ctx.dense(bias),
        residual=residual and ctx.dense(residual),
        y=ctx.dense(node.output),
        **plain,
        **epilogue_fields(*epilogue(node)),
    )
