"""Evaluates single nodes with `onnx.reference`, and infers their types with `onnx`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from luthier.errors import UnsupportedError
from luthier.graph.ir import Graph, Node, Value
from luthier.graph.ops.common import TensorType, describe, dynamic, invalid
from luthier.graph.ops.dtypes import numpy_dtype, onnx_elem_type
from luthier.graph.reference import Arrays, Kernel
from luthier.onnx_frontend.ops import OPSET
from luthier.onnx_frontend.tensors import to_proto

_SMALL = 1 << 12
"""Constants up to this many bytes are shown to ONNX's inference; shapes are never larger."""


def prepare(node: Node) -> Kernel:
    """A function that computes `node` with `onnx.reference`; see `graph.reference.prepare`.

    Raises
    ------
    UnsupportedError
        If `onnx.reference` does not implement the operator.
    """
    # Imported here because it takes long, and most models never need it.
    from onnx.reference import ReferenceEvaluator

    used = [i for i, v in enumerate(node.inputs) if v is not None]
    try:
        evaluator = ReferenceEvaluator(_model(node, {}))
    except Exception as error:  # onnx raises bare exceptions of many classes
        raise UnsupportedError(f"{describe(node)}: {_line(error)}") from None

    def run(arrays: Arrays) -> list[np.ndarray]:
        feeds = {f"i{i}": arrays[i] for i in used}
        try:
            with np.errstate(all="ignore"):
                results = evaluator.run(None, feeds)
        except NotImplementedError as error:
            raise UnsupportedError(f"{describe(node)}: {_line(error)}") from None
        except Exception as error:  # numpy refuses operands in many ways
            raise invalid(node, f"cannot be evaluated: {_line(error)}") from None
        return [_array(node, result) for result in results]

    return run


def infer(node: Node) -> list[TensorType]:
    """Output types of `node` by ONNX's own inference; see `graph.reference.infer`."""
    small = {
        f"i{i}": v.data
        for i, v in enumerate(node.inputs)
        if v is not None and v.data is not None and v.data.nbytes <= _SMALL
    }
    try:
        inferred = shape_inference.infer_shapes(
            _model(node, small), strict_mode=True, data_prop=True
        )
    except Exception as error:  # onnx raises bare exceptions of many classes
        raise invalid(node, f"shapes do not fit: {_line(error)}") from None
    types = []
    for info in inferred.graph.output:
        tensor = info.type.tensor_type
        dtype = numpy_dtype(tensor.elem_type)
        dims = tensor.shape.dim
        known = tensor.HasField("shape") and all(d.HasField("dim_value") for d in dims)
        if dtype is None or not known:
            raise dynamic(node, "the output shape is not known before it runs")
        types.append((dtype, tuple(d.dim_value for d in dims)))
    return types


def _line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def _array(node: Node, result: object) -> np.ndarray:
    if isinstance(result, list | tuple) or result is None:
        raise UnsupportedError(f"{describe(node)}: the result is no tensor")
    array = np.asarray(result)
    return array.astype(object) if array.dtype.kind in "US" else array


def _model(node: Node, constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A model of one node: inputs i0, i1, ..., outputs o0, o1, ..."""
    writer = _Writer()
    inputs = []
    for i, value in enumerate(node.inputs):
        if value is not None:
            inputs.append(_info(f"i{i}", value))
    outputs = [helper.make_empty_tensor_value_info(f"o{i}") for i in range(len(node.outputs))]
    names = [None if v is None else f"i{i}" for i, v in enumerate(node.inputs)]
    proto = writer.node(node, names, [o.name for o in outputs])
    tensors = [to_proto(array, name) for name, array in constants.items()]
    graph = helper.make_graph([proto], "node", inputs, outputs, tensors)
    opsets = {node.domain: node.opset, "": OPSET if node.domain else node.opset}
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    version = helper.find_min_ir_version_for(imports, ignore_unknown=True)
    return helper.make_model(graph, opset_imports=imports, ir_version=max(version, 8))


def _info(name: str, value: Value) -> onnx.ValueInfoProto:
    if value.dtype is None:
        return helper.make_empty_tensor_value_info(name)
    return helper.make_tensor_value_info(name, onnx_elem_type(value.dtype), value.shape)


class _Writer:
    """Writes nodes and bodies as ONNX; inner values get names b0, b1, ... of their own."""

    def __init__(self) -> None:
        self._count = 0

    def fresh(self) -> str:
        self._count += 1
        return f"b{self._count}"

    def node(
        self, node: Node, inputs: Sequence[str | None], outputs: Sequence[str]
    ) -> onnx.NodeProto:
        count = node.attrs.get("captures", 0)
        captured = list(inputs[len(inputs) - count :])
        proto = onnx.NodeProto(op_type=node.op, domain=node.domain, name="node")
        proto.input.extend(name or "" for name in inputs[: len(inputs) - count])
        proto.output.extend(outputs)
        for key, value in node.attrs.items():
            if key == "captures":
                continue
            if isinstance(value, Graph):
                value = self.body(value, captured)
            elif isinstance(value, np.ndarray):
                value = to_proto(value, "")
            elif value == []:
                continue
            proto.attribute.append(helper.make_attribute(key, value))
        return proto

    def body(self, graph: Graph, captured: Sequence[str | None]) -> onnx.GraphProto:
        own = len(graph.inputs) - len(captured)
        names: dict[Value, str] = {}
        for value, name in zip(graph.inputs[own:], captured, strict=True):
            names[value] = name or ""
        inputs = []
        for value in graph.inputs[:own]:
            names[value] = self.fresh()
            inputs.append(_info(names[value], value))
        tensors: list[TensorProto] = []

        def name_of(value: Value) -> str:
            if value not in names:
                names[value] = self.fresh()
                if value.data is not None:
                    tensors.append(to_proto(value.data, names[value]))
            return names[value]

        nodes = []
        for node in graph.nodes:
            operands = [None if v is None else name_of(v) for v in node.inputs]
            nodes.append(self.node(node, operands, [name_of(v) for v in node.outputs]))
        outputs = []
        for value in graph.outputs:
            source = name_of(value)
            result = self.fresh()
            nodes.append(helper.make_node("Identity", [source], [result]))
            outputs.append(_info(result, value))
        return helper.make_graph(nodes, "body", inputs, outputs, tensors)
