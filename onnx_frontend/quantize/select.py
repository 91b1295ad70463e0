"""Which nodes become int8, and which tensors need a scale for it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto

from luthier.errors import ArgumentError
from luthier.onnx_frontend.quantize.editor import Editor, attribute, captured

__all__ = ["LINEAR", "PASSING", "Selection", "select"]

LINEAR = frozenset(("Conv", "Gemm", "MatMul"))
"""Operators with weights: where int8 begins."""

POINTWISE = frozenset(("Add", "Mul", "Concat"))
UNARY = frozenset(
    "AveragePool Clip GlobalAveragePool HardSigmoid HardSwish LeakyRelu Relu Sigmoid Tanh".split()
)
"""With a constant operand or none, these are tables or sums: int8 where their input is."""

PASSING = frozenset(
    "DepthToSpace Flatten Gather MaxPool Pad Reshape Resize Slice SpaceToDepth Split Squeeze"
    " Transpose Unsqueeze".split()
)
"""Operators that only move or choose numbers: the result has the scale of the first input."""

_CLAMPED = LINEAR | {"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool"}
"""A Relu or Clip behind these is the bounds of their quantised result."""


@dataclass
class Selection:
    """What is to be quantised.

    Attributes
    ----------
    nodes : dict of str to str
        Names of the nodes that become int8, in order, and the first float tensor that each
        stands for: its own output, or that of the clamp that it takes over.
    clamps : set of str
        Names of Relu and Clip nodes that go, because the bounds of the tensor do their work.
    tensors : dict of str to str
        Every tensor that is quantised, and the one whose scale it has.
    """

    nodes: dict[str, str] = field(default_factory=dict)
    clamps: set[str] = field(default_factory=set)
    tensors: dict[str, str] = field(default_factory=dict)

    def results(self, node: NodeProto) -> list[str]:
        """The float tensors that a selected node stands for."""
        if len(node.output) == 1:
            return [self.nodes[node.name]]
        return [name for name in node.output if name]

    def calibrated(self) -> list[str]:
        """The tensors whose ranges have to be found, without repetition."""
        return list(dict.fromkeys(self.tensors.values()))


def data_inputs(node: NodeProto) -> list[str]:
    """The inputs of a selected node that are quantised as activations."""
    return list(node.input) if node.op_type in POINTWISE else [node.input[0]]


def select(editor: Editor, exclude: Collection[str] = ()) -> Selection:
    """Choose the nodes to quantise.

    Convolutions, Gemms and MatMuls with constant float32 weights are chosen, and from there on
    every operator with an int8 form that reads a quantised tensor. A Relu or Clip that alone
    reads such a result is taken over by the bounds of the quantised tensor.

    Parameters
    ----------
    editor : Editor
        As `prepare` returns it.
    exclude : collection of str
        Names of nodes that stay float.

    Raises
    ------
    ArgumentError
        If `exclude` names no node.
    """
    names = {node.name for node in editor.nodes}
    for name in exclude:
        if name not in names:
            raise ArgumentError(f"no node {name!r} to exclude")
    readers, chosen = editor.readers(), Selection()
    made: set[str] = set()
    for node in editor.nodes:
        if node.name in chosen.clamps or node.name in exclude:
            continue
        if not _fits(editor, node, made):
            continue
        clamp, last = _clamp(editor, node, readers), node
        if clamp is not None and clamp.name not in exclude:
            chosen.clamps.add(clamp.name)
            last = clamp
        chosen.nodes[node.name] = next(name for name in last.output if name)
        results = chosen.results(node)
        for name in data_inputs(node):
            if name not in editor.constants:
                chosen.tensors.setdefault(name, name)
        source = chosen.tensors.get(node.input[0], node.input[0])
        for name in results:
            chosen.tensors[name] = source if node.op_type in PASSING else name
        made.update(results)
    return chosen


def _fits(editor: Editor, node: NodeProto, made: Collection[str]) -> bool:
    """Whether `node` has an int8 form, where `made` are the quantised results so far."""
    if node.domain or next(captured(node), None) is not None:
        return False
    op = node.op_type
    if op in LINEAR:
        return node.input[0] not in editor.constants and _has_weights(editor, node)
    if op in POINTWISE:
        constants = [editor.constants.get(name) for name in node.input]
        if any(c is not None and not (c.size and np.isfinite(c).all()) for c in constants):
            return False
        return any(name in made for name in node.input)
    if op not in UNARY | PASSING or node.input[0] not in made:
        return False
    if op == "Clip":
        return bounds(editor, node) is not None
    if op == "MaxPool":
        return len([name for name in node.output if name]) == 1
    if op == "Resize":
        return str(attribute(node, "mode", "nearest")) == "nearest"
    if op == "Pad":
        has_value = len(node.input) > 2 and bool(node.input[2])
        value = editor.constant(node, 2)
        return not has_value or (value is not None and value.size == 1 and not value.any())
    return True


def _has_weights(editor: Editor, node: NodeProto) -> bool:
    """Whether the right side and the bias of a linear operator are constants that fit."""
    weights, bias = editor.constant(node, 1), editor.constant(node, 2)
    if weights is None or weights.dtype != np.float32 or not np.isfinite(weights).all():
        return False
    if node.op_type == "MatMul":
        return weights.ndim == 2 and weights.size > 0
    if len(node.input) > 2 and node.input[2]:
        channels = weights.shape[weights_axis(node)]
        if bias is None or bias.size != channels or not np.isfinite(bias).all():
            return False
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    return weights.size > 0 and all(attribute(node, k, v) == v for k, v in plain.items())


def weights_axis(node: NodeProto) -> int:
    """The axis of output channels of a linear operator's weights."""
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1


def bounds(editor: Editor, node: NodeProto) -> tuple[float, float] | None:
    """The range that a Relu, or a Clip with constant bounds, leaves; None for anything else."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    if node.op_type != "Clip":
        return None
    limits = [-np.inf, np.inf]
    for i, name in enumerate(node.input[1:3]):
        if name:
            data = editor.constants.get(name)
            if data is None or data.size != 1 or np.isnan(data).any():
                return None
            limits[i] = float(data.reshape(()))
    return limits[0], limits[1]


def _clamp(
    editor: Editor, node: NodeProto, readers: dict[str, list[NodeProto]]
) -> NodeProto | None:
    """The Relu or Clip around zero that alone reads the result of `node`."""
    result = node.output[0]
    after = readers.get(result, [])
    if node.op_type not in _CLAMPED or len(after) != 1 or result in editor.outputs:
        return None
    if after[0].domain or after[0].input[0] != result:
        return None
    low, high = bounds(editor, after[0]) or (1.0, -1.0)
    return after[0] if low <= 0 <= high else None
