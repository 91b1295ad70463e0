"""Quantised models: the chosen nodes between QuantizeLinear and DequantizeLinear, or as QLinear*.

Both forms are made in one walk. A quantised tensor has two names at most: the stored one (8-bit)
and the real one (float), each made when something first reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, helper

from luthier.onnx_frontend.quantize.editor import Editor, attribute, captured
from luthier.onnx_frontend.quantize.params import (
    INT32_MAX,
    QParams,
    activation_params,
    quantize_bias,
    weight_scales,
)
from luthier.onnx_frontend.quantize.select import (
    LINEAR,
    PASSING,
    POINTWISE,
    Selection,
    weights_axis,
)

__all__ = ["FORMATS", "LinearWeights", "Quantized", "linear_weights", "quantize_alone", "write"]

FORMATS = ("qdq", "qoperator")

_MICROSOFT = "com.microsoft"
_QLINEAR = {
    "Conv": ("QLinearConv", ""),
    "MatMul": ("QLinearMatMul", ""),
    "Gemm": ("QGemm", _MICROSOFT),
    "Add": ("QLinearAdd", _MICROSOFT),
    "Mul": ("QLinearMul", _MICROSOFT),
    "Concat": ("QLinearConcat", _MICROSOFT),
    "AveragePool": ("QLinearAveragePool", _MICROSOFT),
    "GlobalAveragePool": ("QLinearGlobalAveragePool", _MICROSOFT),
    "Sigmoid": ("QLinearSigmoid", _MICROSOFT),
    "LeakyRelu": ("QLinearLeakyRelu", _MICROSOFT),
}
"""Operators with a quantised form of their own, and its name and domain."""


@dataclass(frozen=True)
class LinearWeights:
    """The quantised constants of one Conv, Gemm or MatMul.

    Attributes
    ----------
    stored : numpy.ndarray
        int8, in the shape of the weights.
    scales : numpy.ndarray
        float32 of shape () or (channels,).
    axis : int
        Of the channels.
    """

    stored: np.ndarray
    scales: np.ndarray
    axis: int

    def real(self) -> np.ndarray:
        """What the stored numbers mean, in float64."""
        return self.stored * self._along_axis()

    def _along_axis(self) -> np.ndarray:
        if not self.scales.ndim:
            return self.scales.astype(np.float64)
        shape = [1] * self.stored.ndim
        shape[self.axis] = -1
        return self.scales.astype(np.float64).reshape(shape)

    @classmethod
    def of(cls, weights: np.ndarray, scales: np.ndarray, axis: int) -> LinearWeights:
        """Round `weights` to multiples of `scales`."""
        empty = cls(np.zeros(weights.shape, np.int8), scales, axis)
        stored = np.clip(np.rint(weights / empty._along_axis()), -127, 127)
        return cls(stored.astype(np.int8), scales, axis)


def linear_weights(editor: Editor, node: NodeProto, x: QParams, per_channel: bool) -> LinearWeights:
    """Quantise the weights of `node`, whose input has the parameters `x`.

    A scale is at least so large that the bias fits int32 in units of it times that of the input.
    """
    weights, bias = editor.constant(node, 1), editor.constant(node, 2)
    assert weights is not None
    axis = weights_axis(node)
    scales = weight_scales(weights, axis if per_channel else None)
    if bias is not None:
        needed = np.abs(bias.reshape(-1).astype(np.float64)) / (INT32_MAX * float(x.scale))
        least = needed if per_channel else needed.max(initial=0)
        scales = np.maximum(scales, least).astype(np.float32)
    return LinearWeights.of(weights, scales, axis)


@dataclass(frozen=True)
class Quantized:
    """A quantised model.

    Attributes
    ----------
    editor : Editor
        To be written.
    real : dict of str to str
        For each quantised tensor of the float model, the float tensor of this one that stands
        for it, where there is one.
    """

    editor: Editor
    real: dict[str, str]


def write(
    editor: Editor,
    selection: Selection,
    params: Mapping[str, QParams],
    *,
    per_channel: bool = True,
    form: str = "qdq",
) -> Quantized:
    """Make the quantised model.

    Parameters
    ----------
    editor : Editor
        The float model; not changed.
    selection : Selection
    params : mapping of str to QParams
        For each of ``selection.calibrated()``; all of one type.
    per_channel : bool
        Whether weights have a scale for each output channel.
    form : str
        ``"qdq"``: standard operators between DequantizeLinear and QuantizeLinear.
        ``"qoperator"``: QLinearConv and its like, of ONNX and of ONNX Runtime; operators that
        have none stay between DequantizeLinear and QuantizeLinear.
    """
    writer = _Writer(editor, selection, params, per_channel, form)
    for node in editor.nodes:
        if node.name in selection.nodes:
            writer.quantized(node)
        elif node.name not in selection.clamps:
            writer.float(node)
    return writer.finish()


def quantize_alone(
    editor: Editor,
    selection: Selection,
    params: Mapping[str, QParams],
    *,
    per_channel: bool = True,
) -> Quantized:
    """The float model with a twin beside each chosen node that is quantised, on float inputs.

    So the twins show the noise of each layer by itself. Parameters are those of `write`; ``real``
    of the result holds the twins' tensors. Nodes that only move numbers have no twin.
    """
    writer = _Writer(editor, selection, params, per_channel, "qdq")
    twins = {}
    for node in editor.nodes:
        writer.float(node)
        if node.name in selection.nodes and node.op_type not in PASSING:
            result = selection.nodes[node.name]
            twins[result] = writer.alone(node, result)
    return Quantized(writer.out, twins)


class _Writer:
    def __init__(
        self,
        editor: Editor,
        selection: Selection,
        params: Mapping[str, QParams],
        per_channel: bool,
        form: str,
    ) -> None:
        self.source = editor
        self.out = editor.copy()
        self.out.nodes = []
        self.selection = selection
        self.params = dict(params)
        self.per_channel = per_channel
        self.form = form
        self.dtype = next(iter(params.values())).zero_point.dtype
        self.kept = set(editor.outputs).union(*(captured(n) for n in editor.nodes))
        """Names that must go on to mean the float tensor."""
        self.made: set[str] = set()
        """Tensors that come out of quantised nodes."""
        self.stored: dict[str, str] = {}
        self.real: dict[str, str] = {}
        self.shared: dict[tuple[str, bytes], list[str]] = {}
        """Names of constants by the one that they were made from, and how."""

    def finish(self) -> Quantized:
        for name in self.source.outputs:
            if name in self.made:
                self.real_name(name)
        self.out.prune()
        return Quantized(self.out, self.real)

    def emit(self, node: NodeProto) -> None:
        self.out.nodes.append(node)

    # -- nodes -------------------------------------------------------------------------------

    def float(self, node: NodeProto) -> None:
        """A node that stays as it is, but for where its inputs come from."""
        twin = NodeProto()
        twin.CopyFrom(node)
        for i, name in enumerate(node.input):
            if name in self.made:
                twin.input[i] = self.real_name(name)
        for name in captured(node):
            if name in self.made:
                self.real_name(name)
        self.emit(twin)

    def quantized(self, node: NodeProto) -> None:
        results = self.selection.results(node)
        dilated = attribute(node, "dilations") is not None and node.op_type == "AveragePool"
        if self.form == "qdq" or (
            (node.op_type not in _QLINEAR or dilated) and node.op_type not in PASSING
        ):
            self.between(node, results)
        else:
            for name in results:
                self.stored[name] = self.out.fresh(f"{name}_quantized")
            if node.op_type in PASSING:
                self.passing(node, results)
            else:
                self.qlinear(node, results[0])
        self.made.update(results)

    def between(self, node: NodeProto, results: list[str]) -> None:
        """DequantizeLinear, the node itself, QuantizeLinear."""
        twin = self.on_real_inputs(node)
        for i, name in enumerate(node.output):
            if name in self.kept:
                twin.output[i] = self.out.fresh(f"{name}_raw")
        self.emit(twin)
        for raw, name in zip((n for n in twin.output if n), results, strict=True):
            self.quantize(raw, name)

    def alone(self, node: NodeProto, result: str) -> str:
        """A twin of `node` that stands for `result`; returns the name of its real tensor."""
        twin = self.on_real_inputs(node)
        twin.name = twin.output[0] = self.out.fresh(f"{result}_alone")
        self.emit(twin)
        names = [self.out.fresh(f"{twin.name}_{end}") for end in ("quantized", "dequantized")]
        params = self.params_of(result)
        for op, x, y in zip(
            ("QuantizeLinear", "DequantizeLinear"), (twin.name, names[0]), names, strict=True
        ):
            self.emit(helper.make_node(op, [x, *params], [y], y))
        return names[1]

    def on_real_inputs(self, node: NodeProto) -> NodeProto:
        """A copy of `node` whose inputs have been through DequantizeLinear."""
        twin = NodeProto()
        twin.CopyFrom(node)
        if node.op_type in LINEAR:
            twin.input[0] = self.real_name(node.input[0])
            self.real_weights(node, twin)
        else:
            for i in range(len(node.input) if node.op_type in POINTWISE else 1):
                twin.input[i] = self.real_name(node.input[i])
        return twin

    def passing(self, node: NodeProto, results: list[str]) -> None:
        """The same operator on stored numbers."""
        twin = NodeProto()
        twin.CopyFrom(node)
        twin.input[0] = self.stored_name(node.input[0])
        if node.op_type == "Pad":
            rest = list(node.input[3:])
            del twin.input[2:]
            twin.input.extend([self.params_of(node.input[0])[1], *rest])
        names = iter(results)
        for i, name in enumerate(node.output):
            if name:
                twin.output[i] = self.stored[next(names)]
        self.emit(twin)

    def qlinear(self, node: NodeProto, result: str) -> None:
        """The quantised form of the operator."""
        op, domain = _QLINEAR[node.op_type]
        out = self.params_of(result)
        operands: list[str] = []
        if node.op_type == "Concat":
            operands += out
        for name in node.input if node.op_type in POINTWISE else node.input[:1]:
            operands += [self.stored_name(name), *self.params_of(name)]
        if node.op_type in LINEAR:
            weights, bias = self.linear(node)
            operands += weights
            operands += {"Conv": [*out, *bias[:1]], "MatMul": out}.get(
                node.op_type, [*(bias[:1] or [""]), *out]
            )
        elif node.op_type != "Concat":
            operands += out
        twin = helper.make_node(op, operands, [self.stored[result]], node.name, domain=domain)
        dropped = ("beta",) if op == "QGemm" else ()
        twin.attribute.extend(a for a in node.attribute if a.name not in dropped)
        self.emit(twin)

    # -- tensors -----------------------------------------------------------------------------

    def params_of(self, name: str) -> list[str]:
        """The names of scale and zero point of a tensor."""
        root = self.selection.tensors.get(name, name)
        key = (root, b"params")
        if key not in self.shared:
            params = self.params[root]
            self.shared[key] = [
                self.out.add_constant(f"{root}_scale", np.asarray(params.scale)),
                self.out.add_constant(f"{root}_zero_point", np.asarray(params.zero_point)),
            ]
        return self.shared[key]

    def stored_name(self, name: str) -> str:
        """The 8-bit form of a tensor of the float model."""
        if name not in self.stored:
            data = self.source.constants.get(name)
            if data is None:
                self.quantize(name, name)
            else:
                self.params[name] = activation_params(data.min(), data.max(), self.dtype)
                self.stored[name] = self.out.add_constant(
                    f"{name}_quantized", self.params[name].quantize(data)
                )
        return self.stored[name]

    def quantize(self, raw: str, name: str) -> None:
        """Let `raw`, quantised, be the stored form of the tensor `name`."""
        self.stored[name] = self.out.fresh(f"{name}_quantized")
        operands = [raw, *self.params_of(name)]
        label = self.out.fresh(f"{name}_QuantizeLinear")
        self.emit(helper.make_node("QuantizeLinear", operands, [self.stored[name]], label))

    def real_name(self, name: str) -> str:
        """The float form of a quantised tensor."""
        if name not in self.real:
            stored = self.stored_name(name)
            keeps = name in self.kept and name in self.made
            self.real[name] = name if keeps else self.out.fresh(f"{name}_dequantized")
            operands = [stored, *self.params_of(name)]
            label = self.out.fresh(f"{name}_DequantizeLinear")
            self.emit(helper.make_node("DequantizeLinear", operands, [self.real[name]], label))
        return self.real[name]

    # -- weights -----------------------------------------------------------------------------

    def linear(self, node: NodeProto) -> tuple[list[str], list[str]]:
        """The names of weights, scale and zero point; and of bias, scale and zero point if any."""
        x = self.params[self.selection.tensors[node.input[0]]]
        made = linear_weights(self.source, node, x, self.per_channel)
        stem = node.input[1]
        key = (stem, bytes([made.axis]) + made.scales.tobytes())
        if key not in self.shared:
            self.shared[key] = [
                self.out.add_constant(f"{stem}_quantized", made.stored),
                self.out.add_constant(f"{stem}_scale", made.scales),
                self.out.add_constant(f"{stem}_zero_point", np.zeros(made.scales.shape, np.int8)),
            ]
        bias = self.source.constant(node, 2)
        if bias is None:
            return self.shared[key], []
        scales = np.asarray(x.scale * made.scales, np.float32)
        stem = node.input[2]
        return self.shared[key], [
            self.out.add_constant(f"{stem}_quantized", quantize_bias(bias.reshape(-1), scales)),
            self.out.add_constant(f"{stem}_scale", scales),
            self.out.add_constant(f"{stem}_zero_point", np.zeros(scales.shape, np.int32)),
        ]

    def real_weights(self, node: NodeProto, twin: NodeProto) -> None:
        """Give `twin` its weights and bias through DequantizeLinear."""
        for i, names in enumerate(self.linear(node), 1):
            if not names:
                continue
            real = self.out.fresh(f"{node.input[i]}_dequantized")
            dequantize = helper.make_node("DequantizeLinear", names, [real], real)
            if self.per_channel:
                axis = weights_axis(node) if i == 1 else 0
                dequantize.attribute.append(helper.make_attribute("axis", axis))
            self.emit(dequantize)
            twin.input[i] = real
