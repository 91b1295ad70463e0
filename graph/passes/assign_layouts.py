"""Choose between NCHW and NHWC for every four-dimensional value.

Convolutions, pools and Resize work on NHWC (docs/adr/0001-channels-last.md). One walk in
topological order keeps, for each logical NCHW value, its physical NHWC twin where there is one:

- layout-bound operators ask for the twins of their inputs and give a twin;
- layout-agnostic operators do so if one of their inputs has a twin, with axes and constant
  operands permuted;
- a Transpose to NCHW in the model is not computed: its input is the twin;
- a Transpose of a value with a twin is composed with the permutation between the two;
- everything else gets the NCHW value, through a Transpose made at its first use.

Transposes that leave the order of elements are left to `cancel_transposes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.quantised import MICROSOFT
from luthier.graph.passes.rewrite import Rewriter, ints_of
from luthier.graph.passes.widen_conv1d import WINDOWED

TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)
_PHYSICAL = TO_NCHW  # where each axis of NCHW lies in NHWC

_WHOLE = {"": ("LRN",), MICROSOFT: ("QLinearGlobalAveragePool",)}
_BOUND = {domain: (*ops, *_WHOLE.get(domain, ())) for domain, ops in WINDOWED.items()}
_OWN = ("LookUp", "Silu")
_UNARY = frozenset(
    "Abs Cast Ceil Clip Cos Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity LeakyRelu Log "
    "Neg Not Reciprocal Relu Round Selu Sigmoid Sign Silu Sin Softplus Softsign Sqrt Tanh "
    "ThresholdedRelu".split()
)
_BROADCAST = frozenset(
    "Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mod Mul Or PRelu Pow Sub "
    "Where Xor".split()
)
_REDUCE = frozenset(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare".split()
)


def run(graph: Graph) -> bool:
    """Assign layouts; graph inputs and outputs keep theirs.

    Bound nodes carry the attribute ``layout = "NHWC"`` afterwards; a graph where they all do is
    left alone.
    """
    if not any(_is_bound(n) and "layout" not in n.attrs for n in graph.nodes):
        return False
    return _Walk(graph).run()


def _is_bound(node: Node) -> bool:
    if len(node.outputs) != 1 or len(node.output.shape) != 4:
        return False
    if node.op == "Resize" and not node.domain:
        return node.attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize"
    resolved = "pads" in node.attrs or node.op in _WHOLE.get(node.domain, ())
    return node.op in _BOUND.get(node.domain, ()) and resolved


class _Walk:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rw = Rewriter(graph)
        self.twins: dict[Value, Value] = {}
        self.waiting: set[Value] = set()  # values of which only the twin exists so far

    def run(self) -> bool:
        for node in list(self.graph.nodes):
            if not self._follows(node):
                for value in node.inputs:
                    self._to_nchw(value)
        for value in self.graph.outputs:
            self._to_nchw(value)
        return self.rw.finish()

    def _follows(self, node: Node) -> bool:
        """Let `node` compute the twin of its result, if that is possible and wanted."""
        if node.op == "Transpose" and not node.domain:
            return self._transpose(node)
        if _is_bound(node) and "layout" not in node.attrs:
            return (self._resize if node.op == "Resize" else self._bound)(node)
        if not any(v in self.twins for v in node.inputs if v is not None):
            return False
        if (node.domain == "luthier" and node.op in _OWN) or (
            not node.domain and node.op in _UNARY
        ):
            return self._unary(node)
        if node.domain == MICROSOFT and node.op in ("QLinearAdd", "QLinearMul"):
            return self._quantised_binary(node)
        rule = None if node.domain else _FOLLOWERS.get(node.op)
        return rule is not None and rule(self, node)

    # -- both forms of a value ---------------------------------------------------------------

    def _to_nhwc(self, value: Value) -> Value:
        """The physical NHWC form of a four-dimensional value."""
        if value.data is not None:
            data = np.ascontiguousarray(value.data.transpose(TO_NHWC))
            return self.rw.constant(value.name, data)
        if value not in self.twins:
            self.twins[value] = self._transposed(value, TO_NHWC)
        return self.twins[value]

    def _to_nchw(self, value: Value | None) -> None:
        """Let `value` be computed in its logical form too."""
        if value in self.waiting:
            self.waiting.remove(value)
            attrs = {"perm": list(TO_NCHW)}
            self.rw.emit("Transpose", [self.twins[value]], attrs, into=value)

    def _transposed(self, value: Value, perm: Sequence[int]) -> Value:
        shape = [value.shape[p] for p in perm]
        return self.rw.emit("Transpose", [value], {"perm": list(perm)}, shape=shape)

    def _give(self, node: Node, inputs: Sequence[Value | None], attrs: dict[str, Any]) -> bool:
        """Let `node`, with these inputs and attributes, compute twins of its results."""
        self.rw.set_inputs(node, inputs)
        node.attrs = attrs
        twins = []
        for value in node.outputs:
            if len(value.shape) != 4:  # scale and zero point of a DynamicQuantizeLinear
                twins.append(value)
                continue
            shape = tuple(value.shape[p] for p in TO_NHWC)
            twin = Value(self.rw.name(value.name + ".nhwc"), value.dtype, shape, producer=node)
            self.twins[value] = twin
            self.waiting.add(value)
            value.producer = None
            twins.append(twin)
        node.outputs = twins
        return True

    # -- operators ---------------------------------------------------------------------------

    def _bound(self, node: Node) -> bool:
        inputs: list[Value | None] = [self._to_nhwc(node.inputs[0]), *node.inputs[1:]]
        if node.attrs.get("residual"):
            at = 9 if node.op == "QLinearConv" else len(inputs) - 1
            inputs[at] = self._to_nhwc(node.inputs[at])
        for value in inputs[1:9]:
            self._to_nchw(value)
        return self._give(node, inputs, {**node.attrs, "layout": "NHWC"})

    def _resize(self, node: Node) -> bool:
        """Scales and sizes count physical axes, as the shapes do."""
        rank = list(range(4))
        axes = [a % 4 for a in node.attrs.get("axes") or rank]
        inputs: list[Value | None] = [self._to_nhwc(node.inputs[0]), None]
        for value in node.inputs[2:]:
            if value is None or not value.is_const or value.data.size == 0:
                inputs.append(None)
                continue
            at = {_PHYSICAL[a]: value.data[i] for i, a in enumerate(axes)}
            inputs.append(self.rw.constant(value.name, [at[a] for a in sorted(at)], value.dtype))
        attrs = {**node.attrs, "layout": "NHWC"}
        if axes != rank:
            attrs["axes"] = sorted(_PHYSICAL[a] for a in axes)
        return self._give(node, inputs, attrs)

    def _unary(self, node: Node) -> bool:
        if len(node.outputs) != 1:
            return False
        return self._give(node, [self._to_nhwc(node.inputs[0]), *node.inputs[1:]], node.attrs)

    def _broadcast(self, node: Node) -> bool:
        if len(node.output.shape) != 4 or None in node.inputs:
            return False
        return self._give(node, [self._operand(v) for v in node.inputs], node.attrs)

    def _quantised_binary(self, node: Node) -> bool:
        """The tensors are inputs 0 and 3; what is with them is for whole tensors."""
        if len(node.output.shape) != 4:
            return False
        inputs: list[Value | None] = list(node.inputs)
        for i in (0, 3):
            inputs[i] = self._operand(node.inputs[i])
        return self._give(node, inputs, node.attrs)

    def _operand(self, value: Value) -> Value:
        """An operand of a broadcasting operator whose result is four-dimensional."""
        rank = len(value.shape)
        if all(d == 1 for d in value.shape) and rank < 4:
            return value
        shape = (*[1] * (4 - rank), *value.shape)
        if value.data is not None:
            data = np.ascontiguousarray(value.data.reshape(shape).transpose(TO_NHWC))
            return self.rw.constant(value.name, data)
        if rank < 4:
            return self._transposed(self.rw.reshape(value, shape), TO_NHWC)
        return self._to_nhwc(value)

    def _concat(self, node: Node) -> bool:
        axis = _PHYSICAL[node.attrs["axis"] % 4]
        inputs = [self._to_nhwc(v) for v in node.inputs]
        return self._give(node, inputs, {**node.attrs, "axis": axis})

    def _one_axis(self, node: Node) -> bool:
        """Softmax, LogSoftmax, Split."""
        default = 0 if node.op == "Split" else -1
        axis = _PHYSICAL[node.attrs.get("axis", default) % 4]
        inputs = [self._to_nhwc(node.inputs[0]), *node.inputs[1:]]
        return self._give(node, inputs, {**node.attrs, "axis": axis})

    def _quantise(self, node: Node) -> bool:
        """QuantizeLinear, DequantizeLinear: one scale, or one a slice along an axis."""
        if node.attrs.get("block_size") or len(node.output.shape) != 4:
            return False
        axis = _PHYSICAL[node.attrs.get("axis", 1) % 4]
        inputs = [self._to_nhwc(node.inputs[0]), *node.inputs[1:]]
        return self._give(node, inputs, {**node.attrs, "axis": axis})

    def _quantise_dynamic(self, node: Node) -> bool:
        return len(node.inputs[0].shape) == 4 and self._give(
            node, [self._to_nhwc(node.inputs[0])], node.attrs
        )

    def _gather(self, node: Node) -> bool:
        """With a list of indices, so that the result has the axes of the map."""
        x, index = node.inputs
        if len(x.shape) != 4 or not index.is_const or len(index.shape) != 1:
            return False
        axis = _PHYSICAL[node.attrs.get("axis", 0) % 4]
        return self._give(node, [self._to_nhwc(x), index], {**node.attrs, "axis": axis})

    def _slice(self, node: Node) -> bool:
        starts = ints_of(node.inputs[1])
        if starts is None or any(v is not None and not v.is_const for v in node.inputs[2:]):
            return False
        axes: Any = range(len(starts)) if node.input(3) is None else ints_of(node.input(3))
        physical = self.rw.constant("axes", [_PHYSICAL[a % 4] for a in axes], np.int64)
        inputs = [self._to_nhwc(node.inputs[0]), *node.inputs[1:3], physical, *node.inputs[4:]]
        return self._give(node, inputs, node.attrs)

    def _pad(self, node: Node) -> bool:
        amounts = ints_of(node.inputs[1])
        axes = list(range(4)) if node.input(3) is None else ints_of(node.input(3))
        if amounts is None or axes is None:
            return False
        pads = [0] * 8
        for i, axis in enumerate(axes):
            pads[_PHYSICAL[axis % 4]] = amounts[i]
            pads[4 + _PHYSICAL[axis % 4]] = amounts[len(axes) + i]
        x = self._to_nhwc(node.inputs[0])
        inputs = [x, self.rw.constant("pads", pads, np.int64), node.input(2)]
        return self._give(node, inputs, node.attrs)

    def _reduce(self, node: Node) -> bool:
        """Without kept dimensions, where those left stand in the same order in both layouts."""
        axes = ints_of(node.input(1))
        if not axes or not all(v.is_const for v in node.inputs[1:] if v is not None):
            return False
        reduced = sorted(_PHYSICAL[a % 4] for a in axes)
        inputs = [self._to_nhwc(node.inputs[0]), self.rw.constant("axes", reduced, np.int64)]
        if node.attrs.get("keepdims", 1):
            return self._give(node, inputs, node.attrs)
        left = [a for a in TO_NHWC if _PHYSICAL[a] not in reduced]
        if left != sorted(left):
            return False
        self.rw.set_inputs(node, inputs)
        return True

    def _transpose(self, node: Node) -> bool:
        x = node.inputs[0]
        if len(x.shape) != 4:
            return False
        perm = list(node.attrs.get("perm", (3, 2, 1, 0)))
        if x in self.twins:
            composed = [_PHYSICAL[p] for p in perm]
            self.rw.set_inputs(node, [self.twins[x]])
            node.attrs = {"perm": composed}
            return True
        if perm == list(TO_NCHW):
            self.twins[node.output] = x
            self.waiting.add(node.output)
            self.rw.drop(node)
            return True
        return False


_FOLLOWERS: dict[str, Callable[[_Walk, Node], bool]] = {
    "Concat": _Walk._concat,
    "DequantizeLinear": _Walk._quantise,
    "DynamicQuantizeLinear": _Walk._quantise_dynamic,
    "Gather": _Walk._gather,
    "LogSoftmax": _Walk._one_axis,
    "Pad": _Walk._pad,
    "QuantizeLinear": _Walk._quantise,
    "Slice": _Walk._slice,
    "Softmax": _Walk._one_axis,
    "Split": _Walk._one_axis,
    **dict.fromkeys(_BROADCAST, _Walk._broadcast),
    **dict.fromkeys(_REDUCE, _Walk._reduce),
}
