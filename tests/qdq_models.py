"""ONNX models in QDQ form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["Qdq"]


@dataclass
class Qdq:
    """Writes an ONNX model with pairs of QuantizeLinear and DequantizeLinear."""

    seed: int = 0
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def const(self, data: Any, dtype: Any = np.float32) -> str:
        name = self.name()
        self.constants.append(numpy_helper.from_array(np.asarray(data, dtype), name))
        return name

    def op(self, op: str, *inputs: str, **attrs: Any) -> str:
        result = self.name()
        self.nodes.append(helper.make_node(op, inputs, [result], name=result + op, **attrs))
        return result

    def pair(self, x: str, low: float, high: float, dtype: Any = np.uint8) -> str:
        """`x` through a QuantizeLinear and a DequantizeLinear for the range low to high."""
        scale = (high - low) / 255
        zero = round(np.iinfo(dtype).min - low / scale)
        by = self.const(scale), self.const(zero, dtype)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, *by), *by)

    def input(
        self, *shape: int, low: float = -2.0, high: float = 3.0, dtype: Any = np.uint8
    ) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = shape
        return self.pair(name, low, high, dtype)

    def weights(self, *shape: int, axis: int | None = 0) -> str:
        q = self.rng.integers(-127, 128, shape)
        count = 1 if axis is None else shape[axis]
        scale = self.rng.uniform(0.002, 0.004, count)
        scale, zero = (scale[0], 0) if axis is None else (scale, np.zeros(count))
        attrs = {} if axis is None else {"axis": axis}
        by = self.const(scale), self.const(zero, np.int8)
        return self.op("DequantizeLinear", self.const(q, np.int8), *by, **attrs)

    def bias(self, count: int) -> str:
        return self.const(self.rng.standard_normal(count))

    def model(self, *outputs: str) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "qdq",
            [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
                for n, s in self.inputs.items()
            ],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
            self.constants,
        )
        imports = [helper.make_opsetid("", 21)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()

    def feeds(self) -> dict[str, np.ndarray]:
        return {
            n: self.rng.uniform(-2.2, 3.2, s).astype(np.float32) for n, s in self.inputs.items()
        }
