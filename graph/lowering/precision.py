"""Products of bytes that are computed in float32 where that is faster.

A model that has float products between DequantizeLinear and QuantizeLinear (`qdq`) says what is
rounded, not how products are made. Roundings between layers stay, so each is decided on its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.graph.ir import Node, Value
from luthier.graph.lowering.context import Context, View
from luthier.kernels.precision import PRECISIONS, float_operands, float_steps
from luthier.kernels.precision_spaces import estimates, is_open
from luthier.kernels.requant import DTYPES
from luthier.kernels.workload import Precision, Workload

__all__ = ["emit_product"]


def emit_product(
    ctx: Context, node: Node, integer: Workload, weights: np.ndarray, **slots: Any
) -> None:
    """Append the product of bytes, or in its place that of floats between conversions.

    `weights` are less their zero points. Both workloads are tunable, and so is the choice.
    """
    choice = _choice(ctx, node, integer, slots)
    if choice is None:
        ctx.emit_tuned(node, integer, _packable(node, weights), **slots)
        return
    config, _ = ctx.configure(node.name, choice)
    chosen, first = config["precision"], len(ctx.steps)
    if chosen == "int8":
        ctx.emit_tuned(node, integer, _packable(node, weights), **slots)
        ctx.tunable.append((node.name, choice.real))
    else:
        ctx.tunable.append((node.name, integer))
        _emit_float(ctx, node, choice, weights, slots)
    for step in ctx.steps[first:]:
        step.tasks = (choice.key, *step.tasks)
    ctx.steps[first].reason = _reason(ctx, choice, chosen)


def _choice(ctx: Context, node: Node, integer: Any, slots: dict[str, Any]) -> Precision | None:
    """What there is to choose from; the conversions want dense maps and numbers at hand."""
    dense = not any(isinstance(v, View) and v.ld for v in slots.values())
    bias = slots.get("fbias")
    known = not {"a_scale", "a_zero_at"} & slots.keys() and (
        bias is None or bias.storage.array is not None
    )
    if not (node.attrs.get("qdq") and dense and known and integer.y != "s32"):
        return None
    choice = Precision(integer)
    return choice if is_open(choice, ctx.target) else None


def _emit_float(
    ctx: Context, node: Node, choice: Precision, weights: np.ndarray, slots: dict[str, Any]
) -> None:
    before, ends, after = float_steps(choice.integer, slots, ctx.temporary)
    scale = slots["scale"].constant().view(np.float32)
    bias, kind = (slots.get("bias"), np.int32) if after else (slots.get("fbias"), np.float32)
    numbers = None if bias is None else bias.constant().view(kind)
    w, bias = float_operands(choice.integer, weights, scale, numbers)
    for op, conversion in before:
        _emit(ctx, node, op, choice.integer.a, conversion)
    ctx.emit_tuned(node, choice.real, _packable(node, w), bias=ctx.constant(bias), **ends)
    for op, step in after:
        _emit(ctx, node, op, choice.integer.y, step)


def _emit(ctx: Context, node: Node, op: str, dtype: str, slots: dict[str, Any]) -> None:
    arrays = {k: ctx.constant(v) for k, v in slots.items() if isinstance(v, np.ndarray)}
    ctx.emit(node, op, np.dtype(DTYPES[dtype]), **slots | arrays)


def _packable(node: Node, weights: np.ndarray) -> Value:
    return Value(node.name + ".w", weights.dtype, weights.shape, weights)


def _reason(ctx: Context, choice: Precision, chosen: str) -> str:
    """Why the other precision is not used, by recorded times or else by the cost model."""
    other = next(p for p in PRECISIONS if p != chosen)
    losing, winning = (ctx.seconds(choice, {"precision": p}) for p in (other, chosen))
    if losing and winning:
        times = f"{losing * 1e6:.4g} us against {winning * 1e6:.4g} us"
        if losing > winning:
            return f"{other} slower here: {times}"
        return f"{other} not faster in the model, if alone: {times}"
    cycles = estimates(choice, ctx.target, ctx.max_error)
    if cycles is None or cycles[other] < cycles[chosen]:
        return ""
    times = f"{cycles[other] / 1e3:.4g} against {cycles[chosen] / 1e3:.4g} thousand cycles"
    return f"{other} estimated to be slower: {times}"
