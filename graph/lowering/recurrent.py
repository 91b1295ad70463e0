"""Recurrent operators."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Node, Value
from luthier.graph.lowering.context import Context, is_f32, require
from luthier.kernels import fields
from luthier.kernels.recurrent import recurrent_workload
from luthier.kernels.workload import Gemm

__all__ = ["lower_lstm"]

_DEFAULTS = ["Sigmoid", "Tanh", "Tanh"]


def lower_lstm(ctx: Context, node: Node) -> None:
    """For each direction a GEMM of the whole input, and the recurrence."""
    x, w, r = node.inputs[:3]
    bias, lengths, h0, c0, peepholes = (node.input(i) for i in range(3, 8))
    a = node.attrs
    steps, batch, features = x.shape
    directions, _, hidden = r.shape
    require(is_f32(x, w, r, bias, h0, c0), f"dtype {x.dtype}")
    require(all(v is None or v.is_const for v in (w, r, bias)), "weights are not constant")
    require(a.get("layout", 0) == 0, "the batch comes first")
    require(peepholes is None and not a.get("input_forget"), "peepholes, or coupled gates")
    require("clip" not in a, "clipping")
    require(a.get("activations", _DEFAULTS * directions) == _DEFAULTS * directions, "activations")
    whole = lengths is None or (lengths.is_const and bool(np.all(lengths.data == steps)))
    require(whole, "sequences of different lengths")
    require(len(node.outputs) > 0 and steps > 0, "nothing is computed")

    state = 4 * batch * hidden
    y = ctx.dense(node.outputs[0])
    lasts = [ctx.dense(v) for v in node.outputs[1:]]
    lasts += [ctx.temporary(directions * state) for _ in range(2 - len(lasts))]
    backward = [a.get("direction", "forward") == "reverse", True]
    for d in range(directions):
        weights = _weights(f"{node.name}.w{d}", w.data[d])
        projected = ctx.temporary(4 * steps * state)
        sums = None if bias is None else bias.data[d].reshape(2, -1).sum(0)
        given = Gemm(
            m=steps * batch,
            n=4 * hidden,
            k=features,
            bias=bias is not None,
            threads=ctx.num_threads,
        )
        ctx.emit_tuned(
            node,
            given,
            weights,
            a=ctx.dense(x),
            bias=None if sums is None else ctx.constant(sums),
            y=projected,
            **fields.epilogue_fields("none"),
        )
        product, config = recurrent_workload(batch, hidden, ctx.target)
        ctx.emit(
            node,
            "lstm",
            x=projected,
            w=ctx.pack(product, _weights(f"{node.name}.r{d}", r.data[d]), config),
            h0=h0 and ctx.dense(h0).at(d * state),
            c0=c0 and ctx.dense(c0).at(d * state),
            y=y.at(d * state),
            h=lasts[0].at(d * state),
            c=lasts[1].at(d * state),
            steps=steps,
            batch=batch,
            hidden=hidden,
            ldy=directions * batch * hidden,
            reverse=int(backward[d]),
            **fields.tile_fields(config),
        )


def _weights(name: str, rows: np.ndarray) -> Value:
    """The transpose of (4 hidden, k) weights, as GEMM wants them."""
    matrix = np.ascontiguousarray(rows.T)
    return Value(name, matrix.dtype, matrix.shape, matrix)
