"""Spell the quantised operators of com.microsoft by fewer ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from luthier.graph import reference
from luthier.graph.ir import Graph, Node, Value
from luthier.graph.ops import quant_math
from luthier.graph.ops.qlinear import unpack_nbits
from luthier.graph.ops.quant import concat_parts
from luthier.graph.passes.quantised import MICROSOFT, look_up, per_tensor
from luthier.graph.passes.rewrite import Rewriter


def run(graph: Graph) -> bool:
    """Rewrite what has a simpler equivalent.

    - QGemm becomes QLinearMatMul, or MatMulIntegerToFloat if its result is float;
    - QLinearSigmoid and QLinearLeakyRelu become tables (LookUp);
    - QLinearConcat becomes Concat, of tables where quantisations differ;
    - QLinearSoftmax over an outer axis becomes Softmax between quantisers;
    - DynamicQuantizeMatMul becomes DynamicQuantizeLinear and MatMulIntegerToFloat;
    - MatMulNBits of more than four bits becomes a product with a float matrix;
    - QuantizeLinear and DequantizeLinear become those of ONNX;
    - `channels_last` of pools becomes the layout.
    """
    rw = Rewriter(graph)
    for node in rw.nodes(*_RULES, domain=MICROSOFT):
        _RULES[node.op](rw, node)
    return rw.finish()


def _gemm(rw: Rewriter, node: Node) -> None:
    a, w, bias = node.inputs[0], node.inputs[3], node.input(6)
    columns = node.output.shape[1]
    if bias is not None:
        if (
            bias.data is None
            or bias.data.size not in (1, columns)
            or bias.shape[-1:] == (1,) != (columns,)
        ):
            return
        data = np.broadcast_to(bias.data.reshape(-1), columns)
        bias = bias if bias.shape == (columns,) else rw.constant(bias.name, data)
    a_scale, alpha = node.inputs[1], node.attrs.get("alpha", 1.0)
    if alpha != 1:
        if a_scale.data is None:
            return
        a_scale = rw.constant(a_scale.name, np.float32(alpha) * a_scale.data)
    if node.attrs.get("transB"):
        if w.data is None:
            w = rw.emit("Transpose", [w], {"perm": [1, 0]}, shape=w.shape[::-1])
        else:
            w = rw.constant(w.name, np.ascontiguousarray(w.data.T))
    if node.attrs.get("transA"):
        a = rw.emit("Transpose", [a], {"perm": [1, 0]}, shape=a.shape[::-1])
    operands = [a, a_scale, node.inputs[2], w, *node.inputs[4:6]]
    if node.input(7) is not None:
        inputs = [*operands, *node.inputs[7:9], *([] if bias is None else [bias])]
        rw.emit("QLinearMatMul", inputs, into=node.output)
        return
    if bias is not None:
        scales = [a_scale.data, node.inputs[4].data]
        if any(s is None for s in scales):
            return
        bias = rw.constant(bias.name, bias.data.astype(np.float32) * (scales[0] * scales[1]))
    inputs = [a, w, a_scale, node.inputs[4], node.inputs[2], node.inputs[5]]
    rw.emit(
        "MatMulIntegerToFloat",
        [*inputs, *([] if bias is None else [bias])],
        into=node.output,
        domain=MICROSOFT,
    )


def _table(rw: Rewriter, node: Node) -> None:
    if any(v is not None and v.data is None for v in node.inputs[1:]):
        return
    values = quant_math.byte_values(node.inputs[0].dtype)
    every = Value("bytes", values.dtype, values.shape)
    result = Value("table", values.dtype, values.shape)
    of_bytes = Node(
        node.op, [every, *node.inputs[1:]], [result], node.attrs, node.name, node.domain
    )
    constants = [None if v is None else v.data for v in node.inputs[1:]]
    (table,) = reference.evaluate(of_bytes, [values, *constants])
    look_up(rw, node.inputs[0], table, node.output)


def _concat(rw: Rewriter, node: Node) -> None:
    target = per_tensor(rw, node.inputs[0], node.inputs[1], node.output.dtype)
    parts = concat_parts(node)
    sources = [
        per_tensor(rw, node.inputs[i + 1], node.inputs[i + 2], node.output.dtype) for i in parts
    ]
    if target is None or any(s is None for s in sources):
        return
    inputs = []
    for i, source in zip(parts, sources, strict=True):
        value = node.inputs[i]
        if source is not None and not source.same(target):
            everything = quant_math.byte_values(source.dtype)
            value = look_up(rw, value, target.quantize(source.dequantize(everything)))
        inputs.append(value)
    rw.emit("Concat", inputs, {"axis": node.attrs["axis"]}, into=node.output)


def _softmax(rw: Rewriter, node: Node) -> None:
    """Unless it is over what is innermost, which a kernel computes."""
    x, shape = node.inputs[0], node.output.shape
    axis = node.attrs.get("axis", -1) % len(shape)
    if node.attrs["opset"] < 13 or math.prod(shape[axis + 1 :]) == 1:
        return
    real = rw.emit("DequantizeLinear", node.inputs[:3], like=x, dtype=np.dtype(np.float32))
    real = rw.emit("Softmax", [real], {"axis": axis})
    rw.emit("QuantizeLinear", [real, *node.inputs[3:5]], into=node.output)


def _dynamic(rw: Rewriter, node: Node) -> None:
    a, w, w_scale, w_zero, bias = [*node.inputs, None, None][:5]
    q, scale, zero = quantize_dynamic(rw, a)
    inputs = [q, w, scale, w_scale, zero, w_zero, bias]
    while inputs[-1] is None:
        inputs.pop()
    rw.emit("MatMulIntegerToFloat", inputs, into=node.output, domain=MICROSOFT)


def quantize_dynamic(rw: Rewriter, x: Value) -> tuple[Value, Value, Value]:
    """Add a DynamicQuantizeLinear of `x`: bytes, scale, zero point."""
    byte = np.dtype(np.uint8)
    q = rw.emit("DynamicQuantizeLinear", [x], dtype=byte)
    node = q.producer
    for stem, dtype in (("scale", np.dtype(np.float32)), ("zero", byte)):
        node.outputs.append(Value(rw.name(stem), dtype, (), producer=node))
    return node.outputs[0], node.outputs[1], node.outputs[2]


def _nbits(rw: Rewriter, node: Node) -> None:
    if any(v is not None and v.data is None for v in node.inputs[1:]):
        return
    if node.output.dtype != np.float32 or node.attrs.get("bits", 4) <= 4:
        return
    weights = unpack_nbits(node, [None if v is None else v.data for v in node.inputs])
    matrix, bias = rw.constant(node.inputs[1].name, weights), node.input(5)
    if bias is None:
        rw.emit("MatMul", [node.inputs[0], matrix], into=node.output)
    else:
        product = rw.emit("MatMul", [node.inputs[0], matrix], like=node.output)
        rw.emit("Add", [product, bias], into=node.output)


def _quantiser(rw: Rewriter, node: Node) -> None:
    rw.emit(node.op, node.inputs, node.attrs, into=node.output)


def _pool(rw: Rewriter, node: Node) -> None:
    if "channels_last" in node.attrs:
        attrs = {k: v for k, v in node.attrs.items() if k != "channels_last"}
        if node.attrs["channels_last"]:
            attrs["layout"] = "NHWC"
        node.attrs = attrs
        rw.changed = True


_RULES: dict[str, Callable[[Rewriter, Node], None]] = {
    "DequantizeLinear": _quantiser,
    "DynamicQuantizeMatMul": _dynamic,
    "MatMulNBits": _nbits,
    "QGemm": _gemm,
    "QLinearAveragePool": _pool,
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _pool,
    "QLinearLeakyRelu": _table,
    "QLinearSigmoid": _table,
    "QLinearSoftmax": _softmax,
    "QuantizeLinear": _quantiser,
}
