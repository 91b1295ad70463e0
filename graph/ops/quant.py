"""Quantisation, and quantised operators that work element by element or over windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.ops import quant_math
from luthier.graph.ops.common import (
    FLOAT32,
    OpInfo,
    Shape,
    TensorType,
    broadcast,
    dtype_of,
    invalid,
    join_map,
    normal_axis,
    require,
    shape_of,
    split_map,
    typed,
)
from luthier.graph.ops.dtypes import numpy_dtype
from luthier.graph.ops.quant_params import check_pair, check_scale, check_zero, pair
from luthier.graph.ops.window import Window, resolve_window

__all__ = ["MICROSOFT", "OPS", "OWN", "concat_parts", "is_integer", "quantised_pool_window"]

Arrays = list[Any]

_UINT8 = np.dtype(np.uint8)


def is_integer(dtype: np.dtype) -> bool:
    """Whether a tensor of `dtype` is quantised to integers, as opposed to small floats."""
    return dtype.kind in "iu" or (dtype.kind == "V" and "int" in dtype.name)


# -- QuantizeLinear and DequantizeLinear -----------------------------------------------------------


def _declared(node: Node, default: np.dtype) -> np.dtype:
    elem_type = node.attrs.get("output_dtype", 0)
    dtype = numpy_dtype(elem_type) if elem_type else default
    if dtype is None:
        raise invalid(node, f"unknown element type {elem_type}")
    return dtype


def _granularity(node: Node, shape: Shape) -> tuple[int, int, list[Shape] | None]:
    """Axis, block and the shapes that scale and zero point may have besides one number."""
    block = node.attrs.get("block_size", 0)
    require(block >= 0, node, f"block_size {block} is negative")
    rank = len(shape)
    per_axis = len(shape_of(node, 1)) == 1 and shape_of(node, 1) != (1,)
    if not block and not per_axis:
        return 0, 0, []
    axis = node.attrs.get("axis", 1)
    if not block and rank == 1:
        axis = 0  # a vector has no other
    axis = normal_axis(node, axis, rank)
    if not block:
        return axis, 0, [(shape[axis],)]
    count = -(-shape[axis] // block)
    blocked = tuple(count if i == axis else d for i, d in enumerate(shape))
    return axis, block, [blocked]


def _quantize(node: Node) -> list[TensorType]:
    default: np.dtype = _UINT8 if node.input(2) is None else dtype_of(node, 2)
    shape, dtype = shape_of(node, 0), _declared(node, default)
    _, _, shapes = _granularity(node, shape)
    check_scale(node, 1, shapes)
    check_zero(node, 2, dtype, shapes)
    return [(dtype, shape)]


def _dequantize(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    _, _, shapes = _granularity(node, shape)
    check_scale(node, 1, shapes)
    check_zero(node, 2, dtype, shapes)
    return [(_declared(node, dtype_of(node, 1)), shape)]


def _aligned(node: Node, arrays: Arrays, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    axis, block, _ = _granularity(node, arrays[0].shape)
    zero = arrays[2] if len(arrays) > 2 and arrays[2] is not None else np.zeros((), dtype)
    scale, zero = (
        quant_math.align(np.asarray(p), arrays[0].shape, axis, block) for p in (arrays[1], zero)
    )
    return scale, zero


def _compute_quantize(node: Node, arrays: Arrays) -> list[np.ndarray] | None:
    dtype = node.output.dtype
    if not is_integer(dtype) or node.attrs.get("precision"):
        return None
    scale, zero = _aligned(node, arrays, dtype)
    return [quant_math.quantize(arrays[0], scale, zero, dtype)]


def _compute_dequantize(node: Node, arrays: Arrays) -> list[np.ndarray] | None:
    x = arrays[0]
    if not is_integer(x.dtype):
        return None
    scale, zero = _aligned(node, arrays, x.dtype)
    return [quant_math.dequantize(x, scale, zero).astype(node.output.dtype)]


def _dynamic_quantize(node: Node) -> list[TensorType]:
    scalars: list[TensorType] = [(FLOAT32, ()), (_UINT8, ())]
    return [(_UINT8, shape_of(node, 0)), *scalars]


def _compute_dynamic_quantize(node: Node, arrays: Arrays) -> list[np.ndarray]:
    return list(quant_math.quantize_dynamic(arrays[0]))


# -- elementwise -----------------------------------------------------------------------------------


def _binary(node: Node) -> list[TensorType]:
    dtype = dtype_of(node, 0)
    for i in (1, 4):
        check_pair(node, i, dtype)
    check_pair(node, 6, dtype)
    return [(dtype, broadcast(node, shape_of(node, 0), shape_of(node, 3)))]


def _compute_binary(node: Node, arrays: Arrays) -> list[np.ndarray]:
    a, b = arrays[0], arrays[3]
    a_scale, a_zero = pair(arrays, 1, a.dtype)
    b_scale, b_zero = pair(arrays, 4, a.dtype)
    scale, zero = pair(arrays, 6, a.dtype)
    clamp = node.attrs.get("clamp")
    if node.op == "QLinearMul":
        ratio = a_scale * b_scale / scale
        return [quant_math.multiply(a, a_zero, b, b_zero, ratio, zero, clamp)]
    first, second = (a, a_zero, a_scale / scale), (b, b_zero, b_scale / scale)
    if _stays(a.shape, b.shape):
        first, second = second, first
    return [quant_math.add(*first, *second, zero, clamp)]


def _stays(shape: Shape, other: Shape) -> bool:
    """Whether a tensor of `shape` is broadcast along the innermost axis that is longer than 1."""
    rank = max(len(shape), len(other))
    pairs = zip((*[1] * rank, *shape)[-rank:], (*[1] * rank, *other)[-rank:], strict=True)
    mine, its = next((p for p in reversed(list(pairs)) if p != (1, 1)), (1, 1))
    return mine < its


def _unary(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    check_pair(node, 1, dtype)
    check_pair(node, 3, dtype)
    return [(dtype, shape)]


def _compute_unary(node: Node, arrays: Arrays) -> list[np.ndarray]:
    """Both are functions of a byte, computed once for every byte."""
    x = arrays[0]
    values = quant_math.byte_values(x.dtype)
    with np.errstate(over="ignore"):
        real = quant_math.dequantize(values, *pair(arrays, 1, x.dtype))
        if node.op == "QLinearSigmoid":
            real = np.float32(1) / (np.float32(1) + np.exp(-real))
        else:
            slope = np.float32(node.attrs.get("alpha", 0.01))
            real = np.where(real < 0, slope * real, real)
    table = quant_math.quantize(real, *pair(arrays, 3, x.dtype), x.dtype)
    return [quant_math.look_up(x, table)]


def _softmax(node: Node) -> list[TensorType]:
    types = _unary(node)
    normal_axis(node, node.attrs.get("axis", -1), len(types[0][1]))
    return types


def _compute_softmax(node: Node, arrays: Arrays) -> list[np.ndarray]:
    x = arrays[0]
    real = quant_math.dequantize(x, *pair(arrays, 1, x.dtype))
    axis = node.attrs.get("axis", -1) % x.ndim
    if node.attrs.get("opset", 13) < 13:
        rows = int(np.prod(x.shape[:axis]))
        real, axis = real.reshape(rows, -1), 1
    powers = np.exp(real - real.max(axis, keepdims=True, initial=-np.inf))
    real = (powers / powers.sum(axis, keepdims=True)).reshape(x.shape)
    return [quant_math.quantize(real, *pair(arrays, 3, x.dtype), x.dtype)]


def _look_up(node: Node) -> list[TensorType]:
    return [(node.attrs["table"].dtype, shape_of(node, 0))]


def _compute_look_up(node: Node, arrays: Arrays) -> list[np.ndarray]:
    return [quant_math.look_up(arrays[0], node.attrs["table"])]


# -- concatenation ---------------------------------------------------------------------------------


def concat_parts(node: Node) -> list[int]:
    """The places of the tensors among the inputs of a QLinearConcat; scale and zero follow each."""
    return list(range(2, len(node.inputs), 3))


def _concat(node: Node) -> list[TensorType]:
    parts = concat_parts(node)
    require((len(node.inputs) - 2) % 3 == 0 and bool(parts), node, "inputs are no triples")
    dtype, first = dtype_of(node, 1), shape_of(node, parts[0])
    check_pair(node, 0, dtype)
    axis = normal_axis(node, node.attrs["axis"], len(first))
    total = 0
    for i in parts:
        check_pair(node, i + 1, dtype)
        got, shape = typed(node, i)
        fits = got == dtype and shape[:axis] + shape[axis + 1 :] == first[:axis] + first[axis + 1 :]
        require(fits, node, f"input {i} of {got}{list(shape)} does not fit {dtype}{list(first)}")
        total += shape[axis]
    return [(dtype, (*first[:axis], total, *first[axis + 1 :]))]


def _compute_concat(node: Node, arrays: Arrays) -> list[np.ndarray]:
    scale, zero = pair(arrays, 0, arrays[1].dtype)
    parts = []
    for i in concat_parts(node):
        x, own = arrays[i], pair(arrays, i + 1, zero.dtype)
        if own != (scale, zero):
            x = quant_math.quantize(quant_math.dequantize(x, *own), scale, zero, zero.dtype)
        parts.append(x)
    return [np.concatenate(parts, node.attrs["axis"])]


# -- pools -----------------------------------------------------------------------------------------


def quantised_pool_window(node: Node) -> Window:
    """The window of a QLinearAveragePool or QLinearGlobalAveragePool."""
    _, _, spatial = _map(node, shape_of(node, 0))
    if node.op == "QLinearGlobalAveragePool":
        rank = len(spatial)
        return Window(spatial, (1,) * rank, (1,) * rank, (0,) * (2 * rank), (1,) * rank)
    return resolve_window(node, spatial, node.attrs["kernel_shape"])


def _map(node: Node, shape: Shape) -> tuple[int, int, Shape]:
    require(len(shape) >= 3, node, f"input must have at least 3 dimensions, not {list(shape)}")
    if node.attrs.get("channels_last"):
        return shape[0], shape[-1], shape[1:-1]
    return split_map(node, shape)


def _pool(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    check_pair(node, 1, dtype)
    check_pair(node, 3, dtype)
    n, c, _ = _map(node, shape)
    output = quantised_pool_window(node).output
    if node.attrs.get("channels_last"):
        return [(dtype, (n, *output, c))]
    return [(dtype, join_map(node, n, c, output))]


def _compute_pool(node: Node, arrays: Arrays) -> list[np.ndarray]:
    x = arrays[0]
    last = node.attrs.get("layout") == "NHWC" or bool(node.attrs.get("channels_last"))
    x_scale, x_zero = pair(arrays, 1, x.dtype)
    scale, zero = pair(arrays, 3, x.dtype)
    maps = np.moveaxis(x, -1, 1) if last else x
    counted = bool(node.attrs.get("count_include_pad"))
    acc, count = quant_math.average(maps, x_zero, quantised_pool_window(node), counted)
    ratio = x_scale / (scale * count.astype(np.float32))
    y = quant_math.requantize(acc, ratio, zero, x.dtype)
    return [np.moveaxis(y, 1, -1) if last else y]


OPS: dict[str, OpInfo] = {
    "QuantizeLinear": OpInfo(_quantize, _compute_quantize),
    "DequantizeLinear": OpInfo(_dequantize, _compute_dequantize, keep=True),
    "DynamicQuantizeLinear": OpInfo(_dynamic_quantize, _compute_dynamic_quantize),
}

MICROSOFT: dict[str, OpInfo] = {
    "QLinearAdd": OpInfo(_binary, _compute_binary, whole=True),
    "QLinearMul": OpInfo(_binary, _compute_binary, whole=True),
    "QLinearConcat": OpInfo(_concat, _compute_concat),
    "QLinearSigmoid": OpInfo(_unary, _compute_unary),
    "QLinearLeakyRelu": OpInfo(_unary, _compute_unary),
    "QLinearSoftmax": OpInfo(_softmax, _compute_softmax),
    "QLinearAveragePool": OpInfo(_pool, _compute_pool, whole=True),
    "QLinearGlobalAveragePool": OpInfo(_pool, _compute_pool, whole=True),
    "QuantizeLinear": OpInfo(_quantize, _compute_quantize),
    "DequantizeLinear": OpInfo(_dequantize, _compute_dequantize, keep=True),
}

OWN: dict[str, OpInfo] = {"LookUp": OpInfo(_look_up, _compute_look_up, whole=True)}
"""``LookUp``: the entry of the attribute `table` (256 of them) for each byte of the input."""
