"""The float model as a standard ONNX graph that is good to quantise.

Names of nodes and tensors stay, so that every scale in the result can be traced to the model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, version_converter
from onnx.reference import ReferenceEvaluator

from luthier import limits
from luthier.errors import UnsupportedError
from luthier.onnx_frontend.importer import load, parse
from luthier.onnx_frontend.quantize.editor import Editor, attribute, captured
from luthier.onnx_frontend.tensors import TensorReader, to_proto

__all__ = ["prepare"]

OPSET = 14
"""Older models are converted to this opset: it has per-axis scales and HardSwish."""

MAX_BYTES = (1 << 31) - (64 << 20)
"""A protobuf file ends at 2 GiB; some of it is left for what is not weights."""

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger")
_NOT_FOLDED = frozenset(
    "Bernoulli DequantizeLinear Dropout Multinomial RandomNormal RandomNormalLike RandomUniform"
    " RandomUniformLike".split()
)


def prepare(source: str | os.PathLike[str] | bytes) -> Editor:
    """Read a float model and simplify it.

    Constants are folded, identities and dropouts dropped, batch norms and other per-channel
    factors and addends folded into the weights of what computed their input, and hard swish
    that is spelled out is named.

    Raises
    ------
    ArgumentError, InvalidModelError, UnsupportedError
        As `luthier.onnx_frontend.load`; also if the model is quantised already, holds more than
        2 GB, or cannot be brought to opset 14.
    """
    load(source)
    name = "model" if isinstance(source, bytes) else Path(source).name
    model, tensors = parse(source)
    try:
        editor = Editor(*_modern(model, tensors))
    except UnsupportedError as error:
        raise UnsupportedError(f"{name}: {error}") from None
    for step in (_drop_identities, _fold_constants, _fold_affine, _name_hard_swish):
        step(editor)
        editor.prune()
    return editor


def _modern(model: onnx.ModelProto, tensors: TensorReader) -> tuple[onnx.ModelProto, TensorReader]:
    """The model at opset 14 or later, with all of its data inside."""
    for node in model.graph.node:
        if node.op_type in _QUANTIZED:
            raise UnsupportedError(f"node {node.name!r} ({node.op_type}): quantised already")
    total = 0
    for tensor in model.graph.initializer:
        data = tensors.read(tensor, tensor.name)
        total += data.nbytes
        if total > MAX_BYTES:
            raise UnsupportedError("weights of more than 2 GB cannot be quantised")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.CopyFrom(to_proto(data, tensor.name))
    version = next((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), OPSET)
    if version < OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except Exception as error:  # the C++ converter raises whatever its checks raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason"
            raise UnsupportedError(
                f"opset {version} cannot be converted to {OPSET}: {reason}"
            ) from None
    return model, TensorReader(None)


def _drop_identities(editor: Editor) -> None:
    """Drop Identity, and Dropout as it is in inference, unless a name would be lost."""
    bodies = {name for node in editor.nodes for name in captured(node)}
    gone = []
    for node in editor.nodes:
        if node.domain or node.op_type not in ("Identity", "Dropout"):
            continue
        if node.op_type == "Dropout" and (
            len([n for n in node.output if n]) > 1 or (len(node.input) > 2 and node.input[2])
        ):
            continue
        old = node.output[0]
        if old not in bodies and old not in editor.outputs:
            editor.rename_uses(old, node.input[0])
            gone.append(node)
    editor.remove(gone)


def _fold_constants(editor: Editor) -> None:
    """Compute nodes all of whose inputs are constant."""
    gone = []
    for node in editor.nodes:
        names = [name for name in node.input if name]
        if (
            node.domain
            or not names
            or node.op_type in _NOT_FOLDED
            or any(name not in editor.constants for name in names)
            or any(attr.type == onnx.AttributeProto.GRAPH for attr in node.attribute)
            or set(node.output) & set(editor.outputs)
        ):
            continue
        results = _evaluate(editor, node, names)
        if results is not None:
            editor.constants.update(zip(node.output, results, strict=True))
            gone.append(node)
    editor.remove(gone)


def _evaluate(editor: Editor, node: NodeProto, names: list[str]) -> list[np.ndarray] | None:
    """The results of one node, or None if it cannot be computed or would grow too large."""
    feeds = {name: editor.constants[name] for name in names}
    grows = node.op_type in ("ConstantOfShape", "Expand", "Tile", "Range", "Resize", "Pad")
    if grows or sum(a.nbytes for a in feeds.values()) > limits.FOLD_BYTES:
        return None
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    model = helper.make_model(
        helper.make_graph([node], "node", inputs, outputs),
        opset_imports=[helper.make_opsetid("", editor.opset)],
    )
    try:
        with np.errstate(all="ignore"):
            results = [np.asarray(r) for r in ReferenceEvaluator(model).run(None, feeds)]
    except Exception:  # onnx raises bare exceptions of many classes; the node simply stays
        return None
    return results if all(r.dtype.kind in "fiub" for r in results) else None


# -- factors and addends ---------------------------------------------------------------------


def _fold_affine(editor: Editor) -> None:
    """Fold BatchNormalization, Mul and Add by constants into Conv, ConvTranspose and Gemm."""
    _plain_gemms(editor)
    changed = True
    while changed:
        changed = False
        producers, readers = editor.producers(), editor.readers()
        for node in list(editor.nodes):
            for name in list(node.input[:2]):
                linear = producers.get(name)
                if linear is None or len(readers[name]) > 1 or name in editor.outputs:
                    continue
                channels = _channels(editor, linear)
                affine = None if channels is None else _affine(editor, node, name, linear, channels)
                if affine is not None and _absorb(editor, linear, *affine):
                    linear.output[0] = node.output[0]
                    editor.remove([node])
                    producers[node.output[0]] = linear
                    changed = True
                    break


def _plain_gemms(editor: Editor) -> None:
    """Put alpha and beta of a Gemm with constant operands into them."""
    for node in editor.nodes:
        if node.op_type != "Gemm" or node.domain:
            continue
        alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
        has_bias = len(node.input) > 2 and bool(node.input[2])
        weights, bias = editor.constant(node, 1), editor.constant(node, 2)
        if (alpha, beta) == (1.0, 1.0) or weights is None or (has_bias and bias is None):
            continue
        node.input[1] = editor.add_constant(
            f"{node.input[1]}_scaled", (weights * np.float64(alpha)).astype(weights.dtype)
        )
        if bias is not None:
            scaled = (bias * np.float64(beta)).astype(bias.dtype)
            node.input[2] = editor.add_constant(f"{node.input[2]}_scaled", scaled)
        kept = [a for a in node.attribute if a.name not in ("alpha", "beta")]
        del node.attribute[:]
        node.attribute.extend(kept)


def _channels(editor: Editor, linear: NodeProto) -> int | None:
    """How many output channels a float32 operator with constant weights has, or None."""
    weights, bias = editor.constant(linear, 1), editor.constant(linear, 2)
    has_bias = len(linear.input) > 2 and bool(linear.input[2])
    if (
        linear.domain
        or linear.op_type not in ("Conv", "ConvTranspose", "Gemm")
        or weights is None
        or weights.dtype != np.float32
        or (has_bias and bias is None)
    ):
        return None
    if linear.op_type == "ConvTranspose":
        count = weights.shape[1] * attribute(linear, "group", 1)
    elif linear.op_type == "Gemm":
        count = weights.shape[0 if attribute(linear, "transB", 0) else 1]
    else:
        count = weights.shape[0]
    return count if bias is None or bias.size == count else None


def _affine(
    editor: Editor, node: NodeProto, name: str, linear: NodeProto, channels: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Factor and addend, in float64 and one a channel, of what `node` does to `name`."""
    if node.domain:
        return None
    ones = np.ones(channels)
    if node.op_type == "BatchNormalization" and node.input[0] == name:
        parameters: list[Any] = [editor.constant(node, i) for i in range(1, 5)]
        if any(p is None or p.size != channels for p in parameters):
            return None
        if attribute(node, "training_mode", 0) or len([n for n in node.output if n]) > 1:
            return None
        scale, bias, mean, variance = (p.astype(np.float64) for p in parameters)
        spread = variance + attribute(node, "epsilon", 1e-5)
        if not (spread > 0).all():
            return None
        factor = scale / np.sqrt(spread)
        return factor, bias - mean * factor
    if node.op_type not in ("Mul", "Add") or node.input[0] == node.input[1]:
        return None
    other = editor.constants.get(node.input[1 if node.input[0] == name else 0])
    rank = 2 if linear.op_type == "Gemm" else editor.constants[linear.input[1]].ndim
    if other is None or other.dtype != np.float32 or other.ndim > rank:
        return None
    shape = (1,) * (rank - other.ndim) + other.shape
    if any(d != 1 for i, d in enumerate(shape) if i != 1) or shape[1] not in (1, channels):
        return None
    number = np.broadcast_to(other.reshape(-1).astype(np.float64), channels)
    return (number, 0 * ones) if node.op_type == "Mul" else (ones, number)


def _absorb(editor: Editor, linear: NodeProto, factor: np.ndarray, addend: np.ndarray) -> bool:
    """Put ``y * factor + addend`` into weights and bias; False if they would overflow."""
    old = editor.constant(linear, 1)
    assert old is not None
    weights, bias = old.astype(np.float64), editor.constant(linear, 2)
    if linear.op_type == "ConvTranspose":
        grouped = weights.reshape(attribute(linear, "group", 1), -1, *weights.shape[1:])
        spread = factor.reshape(grouped.shape[0], 1, -1, *[1] * (weights.ndim - 2))
        weights = (grouped * spread).reshape(weights.shape)
    elif linear.op_type == "Gemm" and not attribute(linear, "transB", 0):
        weights = weights * factor
    else:
        weights = weights * factor.reshape(-1, *[1] * (weights.ndim - 1))
    shift = addend if bias is None else bias.reshape(-1).astype(np.float64) * factor + addend
    with np.errstate(over="ignore"):
        results = weights.astype(np.float32), shift.astype(np.float32)
    if not all(np.isfinite(r).all() for r in results):
        return False
    operands = [
        linear.input[0],
        editor.add_constant(f"{linear.input[1]}_folded", results[0]),
        editor.add_constant(f"{linear.output[0]}_bias", results[1]),
    ]
    del linear.input[:]
    linear.input.extend(operands)
    return True


# -- hard swish ------------------------------------------------------------------------------


def _name_hard_swish(editor: Editor) -> None:
    """Replace ``x * clip(x + 3, 0, 6) / 6`` and ``x * hard_sigmoid(x)`` by HardSwish."""
    producers, readers = editor.producers(), editor.readers()

    def maker(name: str, *ops: str) -> NodeProto | None:
        """The node that computes `name` for one reader only, if it is one of `ops`."""
        node = producers.get(name)
        single = len(readers.get(name, ())) == 1 and name not in editor.outputs
        return node if node is not None and single and node.op_type in ops else None

    def factor(node: NodeProto) -> tuple[str, float] | None:
        """The operand and the number of a product or quotient with a constant."""
        for i in (0, 1):
            number = _scalar(editor, node.input[1 - i])
            if number is not None and (node.op_type == "Mul" or i == 0) and number != 0:
                return node.input[i], number if node.op_type == "Mul" else 1 / number
        return None

    def gate(name: str) -> tuple[str, float] | None:
        """``(x, s)`` if `name` is ``s * hard_sigmoid(x)`` of slope 1/6."""
        node = maker(name, "HardSigmoid", "Clip", "Mul", "Div")
        if node is None:
            return None
        if node.op_type == "HardSigmoid":
            alpha, beta = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
            fits = abs(alpha - 1 / 6) < 1e-5 and beta == 0.5
            return (node.input[0], 1.0) if fits else None
        if node.op_type == "Clip":
            bounds = [_scalar(editor, n) for n in node.input[1:3]]
            line = maker(node.input[0], "Add")
            if bounds != [0.0, 6.0] or line is None:
                return None
            for i in (0, 1):
                if _scalar(editor, line.input[1 - i]) == 3.0:
                    return line.input[i], 6.0
            return None
        scaled = factor(node)
        inner = None if scaled is None else gate(scaled[0])
        return None if scaled is None or inner is None else (inner[0], inner[1] * scaled[1])

    def product(node: NodeProto) -> tuple[str, float] | None:
        """``(x, s)`` if `node` is ``s * hard_swish(x)``."""
        if node.op_type not in ("Mul", "Div"):
            return None
        for i in (0, 1) if node.op_type == "Mul" else ():
            found = gate(node.input[i])
            if found is not None and found[0] == node.input[1 - i]:
                return found
        scaled = factor(node)
        below = None if scaled is None else maker(scaled[0], "Mul")
        inner = None if below is None else product(below)
        return None if scaled is None or inner is None else (inner[0], inner[1] * scaled[1])

    for index, node in enumerate(editor.nodes):
        found = None if node.domain else product(node)
        if found is not None and abs(found[1] - 1) < 1e-5:
            editor.nodes[index] = helper.make_node(
                "HardSwish", [found[0]], [node.output[0]], node.name
            )


def _scalar(editor: Editor, name: str) -> float | None:
    data = editor.constants.get(name)
    return float(data.reshape(())) if data is not None and data.size == 1 else None
