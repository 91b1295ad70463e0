"""Recurrent operators."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.graph.ops.common import OpInfo, TensorType, require, shape_of, typed


def _recurrent(gates: int, outputs: int) -> OpInfo:
    def infer(node: Node) -> list[TensorType]:
        dtype, shape = typed(node, 0)
        weight, recurrence = shape_of(node, 1), shape_of(node, 2)
        for what, got in (("input", shape), ("W", weight), ("R", recurrence)):
            require(len(got) == 3, node, f"{what} must have 3 dimensions, not {list(got)}")
        batch_first = node.attrs.get("layout", 0) == 1
        steps, batch = (shape[1], shape[0]) if batch_first else shape[:2]
        directions = 2 if node.attrs.get("direction", "forward") == "bidirectional" else 1
        hidden = recurrence[2]
        require(
            weight == (directions, gates * hidden, shape[2])
            and recurrence == (directions, gates * hidden, hidden)
            and node.attrs.get("hidden_size", hidden) == hidden,
            node,
            f"W {list(weight)} and R {list(recurrence)} do not fit input {list(shape)}",
        )
        if batch_first:
            sequence = (batch, steps, directions, hidden)
            state = (batch, directions, hidden)
        else:
            sequence = (steps, directions, batch, hidden)
            state = (directions, batch, hidden)
        return [(dtype, sequence), *[(dtype, state)] * outputs][: len(node.outputs)]

    return OpInfo(infer, keep=True)


OPS: dict[str, OpInfo] = {
    "RNN": _recurrent(1, 1),
    "GRU": _recurrent(3, 1),
    "LSTM": _recurrent(4, 2),
}
