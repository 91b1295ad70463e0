"""Gemm and MatMul."""

from __future__ import annotations

import math

from luthier.graph.ir import Node
from luthier.graph.lowering.context import Context, is_f32, require
from luthier.graph.lowering.conv import epilogue, split_inputs
from luthier.kernels.fields import epilogue_fields
from luthier.kernels.workload import Gemm

__all__ = ["gemm_workload", "lower_matmul"]


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
    y = node.output
    require(len(a.shape) >= 2 and len(w.shape) >= 2, "an operand is a vector")
    (m, k), n = a.shape[-2:], w.shape[-1]
    if bias is not None:
        require(math.prod(bias.shape) == n == bias.shape[-1], "the bias is not one value a column")
    fused = {
        "bias": bias is not None,
        "residual": residual is not None,
        "activation": epilogue(node)[0],
        "threads": threads,
    }
    batch = math.prod(y.shape[:-2])
    if math.prod(w.shape[:-2]) == 1:
        return Gemm(m=m * batch, n=n, k=k, packed=w.is_const, **fused)
    require(a.shape[:-2] == w.shape[:-2], "the batches are broadcast")
    return Gemm(m=m, n=n, k=k, batch=batch, packed=False, **fused)


def lower_matmul(ctx: Context, node: Node) -> None:
    workload = gemm_workload(node, ctx.num_threads)
    (a, w, bias), residual = split_inputs(node, 3)
    if workload.packed:
        weights = type(w)(w.name, w.dtype, w.shape[-2:], w.data.reshape(w.shape[-2:]))
        right = {}
    else:
        weights, right = None, {"w": ctx.dense(w)}
    ctx.emit_tuned(
        node,
        workload,
        weights,
        a=ctx.dense(a),
        bias=bias and ctx.dense(bias),
        residual=residual and ctx.dense(residual),
        y=ctx.dense(node.output),
        **right,
        **epilogue_fields(*epilogue(node)),
    )
