"""Fold per-channel factors and addends into the weights and bias of what reads their result."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.fold_batch_norm import Affine, affine_of, is_plain_linear
from luthier.graph.passes.rewrite import Rewriter, fits_float, is_float


def run(graph: Graph) -> bool:
    """Fold Mul and Add by constants in front of Conv, ConvTranspose, Gemm and MatMul.

    All readers must be such operators with constant weights. Padding adds zeros behind a factor
    but not behind an addend, so that only convolutions without padding take in an Add; in front
    of others ``x * a + b`` becomes ``(x + b / a) * a`` and its factor is folded.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("Add"):
        _add_first(rw, node)
    for node in reversed(list(rw.nodes("Mul", "Add"))):
        _absorb(rw, node)
    return rw.finish()


def _operand(node: Node, axis: int) -> tuple[Value, Affine] | None:
    """The variable operand of a Mul or Add, and what happens to it along `axis`."""
    for x in node.inputs:
        affine = None if x.is_const or "activation" in node.attrs else affine_of(node, x, axis)
        if affine is not None:
            return x, affine
    return None


def _linear_readers(rw: Rewriter, value: Value) -> list[Node]:
    """The readers of `value` if all can take in a map of it, else nothing."""
    readers = rw.readers(value)
    fit = all(
        is_plain_linear(reader)
        and reader.inputs[1].is_const
        and reader.inputs[0] is value
        and reader.inputs.count(value) == 1
        and is_float(reader.output)
        for reader in readers
    )
    return readers if fit and not rw.is_output(value) else []


def _axis(reader: Node) -> int:
    """The axis of the input along which the weights of `reader` differ."""
    return 1 if reader.op.startswith("Conv") else len(reader.inputs[0].shape) - 1


def _takes_addend(reader: Node) -> bool:
    return reader.op in ("Gemm", "MatMul") or (
        reader.op == "Conv" and not any(reader.attrs.get("pads", [1]))
    )


def _add_first(rw: Rewriter, add: Node) -> None:
    readers = _linear_readers(rw, add.output)
    if not readers or all(_takes_addend(r) for r in readers):
        return
    axes = {_axis(r) for r in readers}
    outer: Any = _operand(add, axes.pop()) if len(axes) == 1 else None
    mul = None if outer is None else outer[0].producer
    if mul is None or mul.op != "Mul" or mul.domain or rw.only_reader(outer[0]) is not add:
        return
    inner = _operand(mul, _axis(readers[0]))
    if inner is None or not inner[1].scale.all():
        return
    x, factor = inner[0], inner[1].scale
    addend = outer[1].shift / factor
    if not fits_float(addend):
        return
    shape = [1] * len(x.shape)
    shape[_axis(readers[0])] = -1
    first = rw.emit("Add", [x, rw.constant("addend", addend.reshape(shape), np.float32)])
    second = rw.constant("factor", factor.reshape(shape), np.float32)
    rw.emit("Mul", [first, second], into=add.output)


def _absorb(rw: Rewriter, node: Node) -> None:
    folded = []
    for reader in _linear_readers(rw, node.output):
        operand = _operand(node, _axis(reader))
        if operand is None or (node.op == "Add" and not _takes_addend(reader)):
            return
        parameters = _parameters(reader, operand[1])
        if not all(map(fits_float, parameters)):
            return
        folded.append((reader, operand[0], *parameters))
    for reader, x, weights, bias in folded:
        inputs = [x, rw.constant(reader.inputs[1].name, weights, np.float32)]
        if reader.input(2) is not None or node.op == "Add":
            stem = (
                reader.output.name + "_bias" if reader.input(2) is None else reader.inputs[2].name
            )
            inputs.append(rw.constant(stem, bias, np.float32))
        rw.set_inputs(reader, inputs)
        if reader.op == "MatMul" and len(inputs) == 3:
            reader.attrs = {**reader.attrs, "bias": 1}


def _parameters(reader: Node, affine: Affine) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias of `reader` with `affine` in front, in float64."""
    weights = reader.inputs[1].data.astype(np.float64)
    bias = reader.inputs[2].data.astype(np.float64) if reader.input(2) is not None else 0.0
    if reader.op == "Conv":
        groups = reader.attrs.get("group", 1)
        shape = (weights.shape[0], -1, *[1] * (weights.ndim - 2))
        scale, shift = (
            np.repeat(part.reshape(groups, -1), weights.shape[0] // groups, axis=0).reshape(shape)
            for part in (affine.scale, affine.shift)
        )
        return weights * scale, bias + (weights * shift).sum(tuple(range(1, weights.ndim)))
    if reader.op == "ConvTranspose":
        return weights * affine.scale.reshape(-1, *[1] * (weights.ndim - 1)), np.asarray(bias)
    return weights * affine.scale[:, np.newaxis], bias + affine.shift @ weights
