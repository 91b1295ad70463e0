"""Small ONNX models for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from luthier.graph import Graph, bind, reference

FLOAT = TensorProto.FLOAT
INT64 = TensorProto.INT64


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str | None]] | None = None,
    outputs: Sequence[str] = ("y",),
    constants: dict[str, np.ndarray] | None = None,
    opset: int = 21,
    **extra: Any,
) -> onnx.ModelProto:
    """A model of float inputs (default: ``x`` of shape [1, 2, 4, 4]) and untyped outputs."""
    shapes = {"x": [1, 2, 4, 4]} if inputs is None else inputs
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(k, FLOAT, v) for k, v in shapes.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(v, k) for k, v in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *extra.pop("imports", [])]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **extra)


def node(op: str, inputs: str, outputs: str = "y", name: str = "n", **attrs: Any) -> onnx.NodeProto:
    """A node; names are separated by blanks, ``-`` is an input left out."""
    names = ["" if n == "-" else n for n in inputs.split()]
    return helper.make_node(op, names, outputs.split(), name=name, **attrs)


def run(graph: Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Bind `graph` to the feeds' shapes and evaluate it node by node with the reference backend.

    Checks that every result has the inferred type.
    """
    bound = bind(graph, {name: array.shape for name, array in feeds.items()})
    known = {v: feeds[v.name] for v in bound.inputs}

    def array(value: Any) -> Any:
        return None if value is None else known[value] if value.data is None else value.data

    for item in bound.nodes:
        results = reference.evaluate(item, [array(v) for v in item.inputs])
        for value, result in zip(item.outputs, results, strict=True):
            assert (result.dtype, result.shape) == (value.dtype, value.shape), item.name
            known[value] = result
    return [array(v) for v in bound.outputs]
