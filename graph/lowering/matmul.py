"""Gemm and MatMul."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from luthier.graph.ir import Node, Value
from luthier.graph.lowering.context import Context, is_f32, require
from luthier.graph.lowering.conv import epilogue, split_inputs
from luthier.kernels.fields import epilogue_fields
from luthier.kernels.workload import Gemm

__all__ = ["gemm_workload", "left_shape", "lower_matmul", "right_shape"]

MAX_CALLS = 256
"""Products that one MatMul may become; a plan has a step for each."""


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
    left, right = _one_call(a, w)
    if math.prod(right) == 1:
        return Gemm(m=m * math.prod(left), n=n, k=k, packed=w.is_const, **fused)
    return Gemm(m=m, n=n, k=k, batch=math.prod(right), packed=False, **fused)


def left_shape(a: Value) -> tuple[int, ...]:
    """Shape of the left operand; a vector is a row."""
    return a.shape if len(a.shape) > 1 else (1, *a.shape)


def right_shape(w: Value) -> tuple[int, ...]:
    """Shape of the right operand; a vector is a column."""
    return w.shape if len(w.shape) > 1 else (*w.shape, 1)


def _batches(a: Value, w: Value) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The batch dimensions of both operands, equally many."""
    left, right = left_shape(a)[:-2], right_shape(w)[:-2]
    rank = max(len(left), len(right))
    return (1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right


def _one_call(a: Value, w: Value) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The inner batch dimensions, which one product takes: as many as are equal, or 1 throughout on
    one side."""
    left, right = _batches(a, w)
    while left != right and math.prod(left) != 1 and math.prod(right) != 1:
        left, right = left[1:], right[1:]
    return left, right


def lower_matmul(ctx: Context, node: Node) -> None:
    """One product, or several where the batches are broadcast in part."""
    workload = gemm_workload(node, ctx.num_threads)
    (a, w, bias), residual = split_inputs(node, 3)
    left, right = _one_call(a, w)
    blocks = (
        np.arange(math.prod(outer)).reshape(outer)
        for outer in (batch[: len(batch) - len(left)] for batch in _batches(a, w))
    )
    calls = np.broadcast(*blocks)
    require(calls.size <= MAX_CALLS, f"broadcast batches take {calls.size} products")
    matrix = right_shape(w)[-2:]
    size = a.dtype.itemsize
    a_bytes = size * math.prod(left) * math.prod(left_shape(a)[-2:])
    w_bytes = size * math.prod(right) * math.prod(matrix)
    y_bytes = size * workload.batch * workload.m * workload.n
    for i, (from_a, from_w) in enumerate(calls):
        weights, plain = None, dict[str, Any]()
        if workload.packed:
            weights = Value(w.name, w.dtype, matrix, w.data.reshape(-1, *matrix)[from_w])
        else:
            plain["w"] = ctx.dense(w).at(int(from_w) * w_bytes)
            if math.prod(left) == 1:
                plain["stride_a"] = 0  # one matrix for the whole batch
        ctx.emit_tuned(
            node,
            workload,
            weights,
            a=ctx.dense(a).at(int(from_a) * a_bytes),
            bias=bias and ctx.dense(bias),
            residual=residual and ctx.dense(residual).at(i * y_bytes),
            y=ctx.dense(node.output).at(i * y_bytes),
            **plain,
            **epilogue_fields(*epilogue(node)),
        )
