"""Quantisation, and quantised operators that work element by element or over windows."""

from __future__ import annotations

import math
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
    dynamic,
    invalid,
    join_map,
    normal_axis,
    require,
    shape_of,
    split_map,
    typed,
)
from luthier.graph.ops.dtypes import numpy_dtype
from luthier.graph.ops.quant_math import Quantised
from luthier.graph.ops.quant_params import check_pair, check_scale, check_zero, pair
from luthier.graph.ops.window import Window, resolve_window
from luthier.kernels.qreference import (
    average_pool2d,
    dequantize,
    global_average_pool,
    softmax,
    softmax_table,
)

__all__ = [
    "MICROSOFT",
    "OPS",
    "OWN",
    "concat_parts",
    "granularity",
    "is_integer",
    "quantised_pool_window",
]

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


def granularity(node: Node, shape: Shape) -> tuple[int | None, int, list[Shape]]:
    """Axis (None for whole tensors), block (0 without blocks) and the shapes that scale and zero
    point of a QuantizeLinear or DequantizeLinear may have besides one number."""
    block = node.attrs.get("block_size", 0)
    require(block >= 0, node, f"block_size {block} is negative")
    rank = len(shape)
    per_axis = len(shape_of(node, 1)) == 1 and shape_of(node, 1) != (1,)
    if not block and not per_axis:
        return None, 0, []
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
    _, _, shapes = granularity(node, shape)
    check_scale(node, 1, shapes)
    check_zero(node, 2, dtype, shapes)
    return [(dtype, shape)]


def _dequantize(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    _, _, shapes = granularity(node, shape)
    check_scale(node, 1, shapes)
    check_zero(node, 2, dtype, shapes)
    return [(_declared(node, dtype_of(node, 1)), shape)]


def _parameters(node: Node, arrays: Arrays) -> tuple[np.ndarray, np.ndarray, int | None, int]:
    """Scale, zero point of the scale's shape, axis and block."""
    axis, block, shapes = granularity(node, arrays[0].shape)
    scale = np.asarray(arrays[1])
    zero = arrays[2] if len(arrays) > 2 and arrays[2] is not None else np.zeros(())
    shape = shapes[0] if shapes else scale.shape
    zero = np.asarray(zero).astype(np.int32)
    scale, zero = (p.reshape(()) if p.size == 1 else p for p in (scale, zero))
    return np.broadcast_to(scale, shape), np.broadcast_to(zero, shape), axis, block


def _compute_quantize(node: Node, arrays: Arrays) -> list[np.ndarray] | None:
    dtype = node.output.dtype
    if not is_integer(dtype) or node.attrs.get("precision"):
        return None
    scale, zero, axis, block = _parameters(node, arrays)
    return [quant_math.quantize(arrays[0], scale, zero, dtype, axis, block)]


def _compute_dequantize(node: Node, arrays: Arrays) -> list[np.ndarray] | None:
    x = arrays[0]
    if not is_integer(x.dtype):
        return None
    scale, zero, axis, block = _parameters(node, arrays)
    return [dequantize(x, scale, zero, axis, block).astype(node.output.dtype)]


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
    a = Quantised(arrays[0], *pair(arrays, 1, arrays[0].dtype))
    b = Quantised(arrays[3], *pair(arrays, 4, arrays[0].dtype))
    target = pair(arrays, 6, arrays[0].dtype)
    clamp = node.attrs.get("clamp")
    if node.op == "QLinearMul":
        return [quant_math.multiply(a, b, *target, clamp)]
    if _stays(a.q.shape, b.q.shape):
        a, b = b, a
    return [quant_math.add(a, b, *target, clamp)]


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
        real = dequantize(values, *pair(arrays, 1, x.dtype))
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
    (x_scale, _), (scale, zero) = pair(arrays, 1, x.dtype), pair(arrays, 3, x.dtype)
    axis = node.attrs.get("axis", -1) % x.ndim
    old = node.attrs["opset"] < 13  # all axes from there on
    moved = x if old else np.moveaxis(x, axis, -1)
    count = math.prod(x.shape[axis:]) if old else x.shape[axis]
    rows = moved.reshape(x.size // max(1, count), count)
    exps = softmax_table(float(x_scale), max(1, count))
    y = softmax(rows, exps, np.floor(np.float32(1) / scale), int(zero))
    y = y.astype(x.dtype).reshape(moved.shape)
    return [y if old else np.moveaxis(y, -1, axis)]


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
            x = quant_math.quantize(dequantize(x, *own), scale, zero, zero.dtype)
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
    n, c, spatial = _map(node, shape)
    if node.op == "QLinearAveragePool" and len(spatial) > 2:
        raise dynamic(node, f"quantised averages over {len(spatial)} axes")
    output = quantised_pool_window(node).output
    if node.attrs.get("channels_last"):
        return [(dtype, (n, *output, c))]
    return [(dtype, join_map(node, n, c, output))]


def _compute_pool(node: Node, arrays: Arrays) -> list[np.ndarray]:
    x = arrays[0]
    last = node.attrs.get("layout") == "NHWC" or bool(node.attrs.get("channels_last"))
    x_scale, x_zero = pair(arrays, 1, x.dtype)
    scale, zero = pair(arrays, 3, x.dtype)
    maps = x if last else np.moveaxis(x, 1, -1)
    if node.op == "QLinearGlobalAveragePool":
        flat = maps.reshape(len(maps), -1, maps.shape[-1])
        ratio = x_scale / (scale * np.float32(flat.shape[1]))
        y = global_average_pool(flat, ratio, int(x_zero), int(zero))
    else:
        numbers = (x_scale, scale), (int(x_zero), int(zero))
        y = _average(maps, quantised_pool_window(node), node, *numbers)
    output = quantised_pool_window(node).output
    y = y.astype(x.dtype).reshape(maps.shape[0], *output, maps.shape[-1])
    return [y if last else np.moveaxis(y, -1, 1)]


def _average(maps: np.ndarray, window: Window, node: Node, scales: Any, zeros: Any) -> np.ndarray:
    """The average over maps (n, w, c), as if of height one, or (n, h, w, c)."""
    flat = maps.ndim == 3
    kernel, strides, dilations, output = (
        (1 if flat else t[0], t[-1])
        for t in (window.kernel, window.strides, window.dilations, window.output)
    )
    top, left, bottom, right = (0, window.pads[0], 0, window.pads[1]) if flat else window.pads
    counted = bool(node.attrs.get("count_include_pad"))
    return average_pool2d(
        maps[:, None] if flat else maps,
        kernel,
        output,
        strides,
        (top, left, bottom, right),
        dilations,
        counted,
        scales,
        zeros,
    )


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
