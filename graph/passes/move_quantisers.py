"""Move QuantizeLinear up and DequantizeLinear down over operators that only move elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.ops.reduce import reduce_axes
from luthier.graph.passes.quantised import Quantisation, quantisation_of, quantizer_behind
from luthier.graph.passes.rewrite import Rewriter, scalar_of

_MOVES = frozenset(
    "DepthToSpace Expand Gather Identity MaxPool Pad Reshape Resize Slice SpaceToDepth Tile "
    "Transpose ReduceMax".split()
)


def run(graph: Graph) -> bool:
    """Let operators that pick, move or compare elements work on bytes.

    They give the same numbers, because a quantisation of whole tensors keeps order and treats all
    elements alike. A Pad needs a padding that bytes can say; a global maximum becomes a MaxPool.
    Concat and Split follow where all quantisations are the same.
    """
    rw = Rewriter(graph)
    for node in rw.nodes(*_MOVES, "Split", "Concat"):
        if len(node.outputs) != (len(node.outputs) if node.op == "Split" else 1):
            continue
        if any(v.dtype != np.float32 for v in node.outputs):
            continue
        if node.op == "Concat":
            _sink_concat(rw, node)
            continue
        source = quantisation_of(rw, node.inputs[0])
        if source is not None:
            _sink(rw, node, *source)
        elif node.op != "Split":
            target = quantizer_behind(rw, node.output)
            if target is not None and node.inputs[0].data is None:
                _raise(rw, node, *target)
    return rw.finish()


def _sink(rw: Rewriter, node: Node, q: Value, by: Quantisation) -> None:
    """The operator on bytes, then the DequantizeLinear."""
    changed = _on_bytes(rw, node, q, by)
    if changed is None:
        return
    op, inputs, attrs = changed
    if node.op == "Split":
        results = [Value(rw.name(v.name), q.dtype, v.shape) for v in node.outputs]
        first = rw.emit(op, inputs, attrs, like=node.output, dtype=q.dtype)
        split = first.producer
        for value in results[1:]:
            value.producer = split
        split.outputs = [first, *results[1:]]
        for old, new in zip(list(node.outputs), split.outputs, strict=True):
            rw.emit("DequantizeLinear", [new, by.scale, by.zero], into=old)
        return
    moved = rw.emit(op, inputs, attrs, like=node.output, dtype=q.dtype)
    rw.emit("DequantizeLinear", [moved, by.scale, by.zero], into=node.output)


def _sink_concat(rw: Rewriter, node: Node) -> None:
    sources = [quantisation_of(rw, v) for v in node.inputs]
    first = sources[0]
    if first is None or any(s is None or not s[1].same(first[1]) for s in sources):
        return
    parts = [s[0] for s in sources if s is not None]
    joined = rw.emit("Concat", parts, node.attrs, like=node.output, dtype=first[1].dtype)
    rw.emit("DequantizeLinear", [joined, first[1].scale, first[1].zero], into=node.output)


def _raise(rw: Rewriter, node: Node, quantizer: Node, by: Quantisation) -> None:
    """The QuantizeLinear, then the operator on bytes."""
    x = node.inputs[0]
    trial = _on_bytes(rw, node, x, by)
    if trial is None:
        return
    op, inputs, attrs = trial
    q = rw.emit("QuantizeLinear", [x, by.scale, by.zero], dtype=by.dtype)
    rw.emit(op, [q, *inputs[1:]], attrs, into=quantizer.output)


def _on_bytes(
    rw: Rewriter, node: Node, q: Value, by: Quantisation
) -> tuple[str, list[Any], dict[str, Any]] | None:
    """Operator, operands and attributes of `node` on the bytes `q`; None where it cannot be."""
    inputs, attrs = [q, *node.inputs[1:]], dict(node.attrs)
    if node.op == "Resize" and attrs.get("mode", "nearest") != "nearest":
        return None
    if node.op == "Resize" and attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return None
    if node.op == "Pad" and attrs.get("mode", "constant") == "constant":
        value = node.input(2)
        number = 0.0 if value is None else scalar_of(value)
        if number is None:
            return None
        byte = by.quantize(np.float32(number))
        if by.dequantize(byte) != np.float32(number):
            return None
        inputs = [*inputs, None, None][:4]
        inputs[2] = rw.constant("padding", byte)
        return "Pad", inputs[:3] if inputs[3] is None else inputs, attrs
    if node.op == "ReduceMax":
        return _global_max(node, q)
    return node.op, inputs, attrs


def _global_max(node: Node, q: Value) -> tuple[str, list[Any], dict[str, Any]] | None:
    shape = node.inputs[0].shape
    if len(shape) != 4 or reduce_axes(node) != [2, 3] or not node.attrs.get("keepdims", 1):
        return None
    return "MaxPool", [q], {"kernel_shape": list(shape[2:])}
