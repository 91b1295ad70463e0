"""What the passes over quantised graphs share: quantised values, and functions of a byte."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luthier.errors import LuthierError
from luthier.graph import fallback
from luthier.graph.ir import Node, Value
from luthier.graph.ops import quant_math
from luthier.graph.passes.rewrite import Rewriter
from luthier.kernels.qreference import dequantize

__all__ = [
    "MICROSOFT",
    "Quantisation",
    "dequantizer",
    "look_up",
    "per_tensor",
    "quantisation_by",
    "quantisation_of",
    "quantizer_behind",
    "table_of",
]

MICROSOFT = "com.microsoft"
_BYTES = (np.dtype(np.uint8), np.dtype(np.int8))


@dataclass(frozen=True, slots=True)
class Quantisation:
    """A scale and a zero point for a whole tensor of bytes, as the values that nodes read."""

    scale: Value
    zero: Value

    @property
    def dtype(self) -> np.dtype:
        return self.zero.dtype

    @property
    def numbers(self) -> tuple[np.float32, np.ndarray]:
        return np.float32(self.scale.data.reshape(())), self.zero.data.reshape(())

    def same(self, other: Quantisation) -> bool:
        """Whether bytes mean the same numbers under both."""
        return self.dtype == other.dtype and self.numbers == other.numbers

    def quantize(self, x: np.ndarray) -> np.ndarray:
        scale, zero = map(np.asarray, self.numbers)
        return quant_math.quantize(np.asarray(x, np.float32), scale, zero, self.dtype)

    def dequantize(self, q: np.ndarray) -> np.ndarray:
        scale, zero = map(np.asarray, self.numbers)
        return dequantize(q, scale, zero)


def per_tensor(
    rw: Rewriter, scale: Value, zero: Value | None, dtype: np.dtype
) -> Quantisation | None:
    """The quantisation that two operands describe, if it is constant and for whole tensors."""
    if zero is None:
        zero = rw.constant("zero", 0, dtype)
    if scale.data is None or zero.data is None or dtype not in _BYTES or zero.dtype != dtype:
        return None
    return Quantisation(scale, zero) if scale.data.size == zero.data.size == 1 else None


def dequantizer(value: Value | None) -> Node | None:
    """The DequantizeLinear to float32 that computes `value`, or None."""
    node: Node | None = None if value is None else value.producer
    if node is None or node.domain or node.op != "DequantizeLinear":
        return None
    return node if node.output.dtype == np.float32 else None


def quantisation_of(rw: Rewriter, value: Value | None) -> tuple[Value, Quantisation] | None:
    """For the result of a DequantizeLinear of bytes: its bytes and their quantisation."""
    node = dequantizer(value)
    if node is None or node.attrs.get("block_size"):
        return None
    q = node.inputs[0]
    found = per_tensor(rw, node.inputs[1], node.input(2), q.dtype)
    return None if found is None else (q, found)


def quantisation_by(rw: Rewriter, quantizer: Node) -> Quantisation | None:
    """The quantisation of the bytes that a QuantizeLinear makes of float32."""
    if quantizer.inputs[0].dtype != np.float32 or quantizer.attrs.get("block_size"):
        return None
    scale, zero = quantizer.inputs[1], quantizer.input(2)
    return per_tensor(rw, scale, zero, quantizer.output.dtype)


def quantizer_behind(rw: Rewriter, value: Value) -> tuple[Node, Quantisation] | None:
    """The QuantizeLinear to bytes that alone reads `value`, and its quantisation."""
    node = rw.only_reader(value)
    if node is None or node.domain or node.op != "QuantizeLinear" or node.inputs[0] is not value:
        return None
    found = quantisation_by(rw, node)
    return None if found is None else (node, found)


def table_of(chain: list[Node], source: Quantisation, target: Quantisation) -> np.ndarray | None:
    """What elementwise nodes of one float operand, one after another, make of each byte.

    None if the reference backend does not know one of them.
    """
    x = source.dequantize(quant_math.byte_values(source.dtype))
    for node in chain:
        try:
            (x,) = _evaluate(node, x)
        except LuthierError:
            return None
    return target.quantize(x)


def _evaluate(node: Node, x: np.ndarray) -> list[np.ndarray]:
    """`node` with `x` as its one operand that is not constant."""
    arrays, inputs = list[np.ndarray | None](), list[Value | None]()
    for value in node.inputs:
        array = x if value is not None and value.data is None else None
        if value is not None and value.data is not None:
            array = value.data.reshape(-1)[:1].reshape(())
        arrays.append(array)
        inputs.append(None if array is None else Value(value.name, array.dtype, array.shape))
    result = Value(node.output.name, node.output.dtype, x.shape)
    plain = Node(node.op, inputs, [result], node.attrs, node.name, node.domain, node.opset)
    return fallback.prepare(plain)(arrays)


def look_up(rw: Rewriter, x: Value, table: np.ndarray, into: Value | None = None) -> Value:
    """Add a LookUp of `table`."""
    return rw.emit(
        "LookUp", [x], {"table": table}, dtype=table.dtype, like=x, into=into, domain="luthier"
    )
