"""Quantisation, and the integer operators of com.microsoft that quantised models use."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    FLOAT32,
    OpInfo,
    TensorType,
    broadcast,
    dtype_of,
    invalid,
    shape_of,
    split_map,
    typed,
)
from luthier.graph.ops.dtypes import numpy_dtype
from luthier.graph.ops.gemm import gemm_shape

_UINT8 = np.dtype(np.uint8)


def _declared(node: Node, default: np.dtype) -> np.dtype:
    elem_type = node.attrs.get("output_dtype", 0)
    dtype = numpy_dtype(elem_type) if elem_type else default
    if dtype is None:
        raise invalid(node, f"unknown element type {elem_type}")
    return dtype


def _quantize(node: Node) -> list[TensorType]:
    default: np.dtype = _UINT8 if node.input(2) is None else dtype_of(node, 2)
    return [(_declared(node, default), shape_of(node, 0))]


def _dequantize(node: Node) -> list[TensorType]:
    return [(_declared(node, dtype_of(node, 1)), shape_of(node, 0))]


def _dynamic_quantize(node: Node) -> list[TensorType]:
    scalars: list[TensorType] = [(FLOAT32, ()), (_UINT8, ())]
    return [(_UINT8, shape_of(node, 0)), *scalars]


def _qlinear_binary(node: Node) -> list[TensorType]:
    return [(dtype_of(node, 0), broadcast(node, shape_of(node, 0), shape_of(node, 3)))]


def _qlinear_unary(node: Node) -> list[TensorType]:
    return [typed(node, 0)]


def _qlinear_global_pool(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    if node.attrs.get("channels_last", 0):
        return [(dtype, (shape[0], *(1 for _ in shape[1:-1]), shape[-1]))]
    n, c, spatial = split_map(node, shape)
    return [(dtype, (n, c, *(1 for _ in spatial)))]


def _qgemm(node: Node) -> list[TensorType]:
    dtype: np.dtype = FLOAT32 if node.input(8) is None else dtype_of(node, 8)
    return [(dtype, gemm_shape(node, shape_of(node, 0), shape_of(node, 3)))]


OPS: dict[str, OpInfo] = {
    "QuantizeLinear": OpInfo(_quantize),
    "DequantizeLinear": OpInfo(_dequantize, keep=True),
    "DynamicQuantizeLinear": OpInfo(_dynamic_quantize),
}

MICROSOFT: dict[str, OpInfo] = {
    "QLinearAdd": OpInfo(_qlinear_binary),
    "QLinearMul": OpInfo(_qlinear_binary),
    "QLinearSigmoid": OpInfo(_qlinear_unary),
    "QLinearLeakyRelu": OpInfo(_qlinear_unary),
    "QLinearGlobalAveragePool": OpInfo(_qlinear_global_pool),
    "QGemm": OpInfo(_qgemm, keep=True),
    "QuantizeLinear": OpInfo(_quantize),
    "DequantizeLinear": OpInfo(_dequantize, keep=True),
}
