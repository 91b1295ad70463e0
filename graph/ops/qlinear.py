"""Quantised products: convolutions and matrix products of bytes.

QLinearConv and QLinearMatMul have their operands in the same places: x, scale, zero; w, scale,
zero; scale and zero of the result; bias. Passes add to them (see docs/design/architecture.md):

- `residual`: five more inputs, a tensor r of the result's shape with scale and zero, and scale and
  zero of the sum, which is computed from the rounded result as QLinearAdd computes it, with r as
  its second operand, or as its first one if there is `residual_first`;
- `clamp` and `sum_clamp`: two numbers each, the range of the result and of the sum;
- `table`: 256 entries, one of which is taken for each byte of the result, last of all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from luthier.errors import UnsupportedError
from luthier.graph.ir import Node
from luthier.graph.ops import quant_math
from luthier.graph.ops.common import (
    INT32,
    OpInfo,
    Shape,
    TensorType,
    describe,
    dtype_of,
    require,
    shape_of,
)
from luthier.graph.ops.conv import conv_shape, conv_window
from luthier.graph.ops.gemm import gemm_shape, matmul_shape
from luthier.graph.ops.quant_math import Quantised
from luthier.graph.ops.quant_params import check_pair, check_scale, check_zero, pair

__all__ = ["MICROSOFT", "OPS", "OWN", "nbits_parts", "unpack_nbits"]

Arrays = list[Any]

# -- the common end --------------------------------------------------------------------------------


def _result(node: Node, shape: Shape) -> list[TensorType]:
    """The type of a QLinearConv or QLinearMatMul of `shape`, what was fused checked as well."""
    dtype = dtype_of(node, 7)
    check_pair(node, 6, dtype)
    if node.attrs.get("residual"):
        require(len(node.inputs) == 14, node, "the residual needs five inputs")
        require(shape_of(node, 9) == shape, node, "the residual has another shape")
        check_pair(node, 10, dtype_of(node, 9))
        dtype = dtype_of(node, 13)
        check_pair(node, 12, dtype)
    table = node.attrs.get("table")
    return [(dtype if table is None else table.dtype, shape)]


def _finish(node: Node, acc: np.ndarray, arrays: Arrays, w_scale: np.ndarray) -> np.ndarray:
    """From accumulators with the bias to the result; `w_scale` broadcasts against them."""
    a = node.attrs
    x_scale, _ = pair(arrays, 1, arrays[0].dtype)
    scale, zero = pair(arrays, 6, arrays[7].dtype)
    ratio = x_scale * w_scale / scale
    y = quant_math.requantize(acc, ratio, zero, a.get("clamp"))
    if a.get("residual"):
        own = Quantised(y, scale, zero)
        other = Quantised(arrays[9], *pair(arrays, 10, arrays[9].dtype))
        both = (other, own) if a.get("residual_first") else (own, other)
        y = quant_math.add(*both, *pair(arrays, 12, arrays[13].dtype), a.get("sum_clamp"))
    return y if a.get("table") is None else quant_math.look_up(y, a["table"])


def _bias(arrays: Arrays, i: int) -> Any:
    return arrays[i] if len(arrays) > i and arrays[i] is not None else None


def _check_bias(node: Node, i: int, count: int) -> None:
    if node.input(i) is not None:
        bias = shape_of(node, i)
        require(bias == (count,), node, f"bias {list(bias)} does not fit {count} channels")


# -- convolutions ----------------------------------------------------------------------------------


def _qlinear_conv(node: Node) -> list[TensorType]:
    channels = shape_of(node, 3)[:1]
    check_pair(node, 1, dtype_of(node, 0))
    check_pair(node, 4, dtype_of(node, 3), [channels])
    shape = conv_shape(node, 3)
    _check_bias(node, 8, channels[0])
    return _result(node, shape)


def _conv_integer(node: Node) -> list[TensorType]:
    check_zero(node, 2, dtype_of(node, 0), [])
    check_zero(node, 3, dtype_of(node, 1), [shape_of(node, 1)[:1]])
    return [(INT32, conv_shape(node, 1))]


def _conv_integer_to_float(node: Node) -> list[TensorType]:
    channels = shape_of(node, 1)[:1]
    check_scale(node, 2, [])
    check_scale(node, 3, [channels])
    check_zero(node, 4, dtype_of(node, 0), [])
    check_zero(node, 5, dtype_of(node, 1), [channels])
    _check_bias(node, 6, channels[0])
    return [(dtype_of(node, 2), conv_shape(node, 1))]


def _to_maps(node: Node, x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1) if node.attrs.get("layout") == "NHWC" else x


def _from_maps(node: Node, y: np.ndarray) -> np.ndarray:
    return np.moveaxis(y, 1, -1) if node.attrs.get("layout") == "NHWC" else y


def _convolve(node: Node, x: np.ndarray, x_zero: Any, i: int, w: np.ndarray, w_zero: Any) -> Any:
    """Accumulators in the node's layout; `i` is the place of the weight."""
    groups = node.attrs.get("group", 1)
    zero = np.broadcast_to(w_zero, w.shape[:1])
    window = conv_window(node, i)
    acc = quant_math.accumulate_conv(_to_maps(node, x), x_zero, w, zero, window, groups)
    return _from_maps(node, acc)


def _per_channel(node: Node, parameter: np.ndarray, rank: int) -> np.ndarray:
    """A vector along the channels of the node's result, which has `rank` dimensions."""
    if parameter.ndim == 0 or node.attrs.get("layout") == "NHWC":
        return parameter
    return parameter.reshape(-1, *[1] * (rank - 2))


def _compute_qlinear_conv(node: Node, arrays: Arrays) -> list[np.ndarray]:
    x, w = arrays[0], arrays[3]
    _, x_zero = pair(arrays, 1, x.dtype)
    w_scale, w_zero = pair(arrays, 4, w.dtype)
    acc = _convolve(node, x, x_zero, 3, w, w_zero)
    bias = _bias(arrays, 8)
    if bias is not None:
        acc = acc + _per_channel(node, bias, acc.ndim)
    return [_finish(node, acc, arrays, _per_channel(node, w_scale, acc.ndim))]


def _zero(arrays: Arrays, i: int) -> Any:
    found = _bias(arrays, i)
    return np.zeros((), np.int32) if found is None else np.asarray(found)


def _compute_conv_integer(node: Node, arrays: Arrays) -> list[np.ndarray]:
    zeros = _zero(arrays, 2).reshape(()), _zero(arrays, 3)
    return [_convolve(node, arrays[0], zeros[0], 1, arrays[1], zeros[1])]


def _compute_conv_integer_to_float(node: Node, arrays: Arrays) -> list[np.ndarray]:
    zeros = _zero(arrays, 4).reshape(()), _zero(arrays, 5)
    acc = _convolve(node, arrays[0], zeros[0], 1, arrays[1], zeros[1])
    scale = np.asarray(arrays[2], np.float32).reshape(()) * np.asarray(arrays[3], np.float32)
    y = acc.astype(np.float32) * _per_channel(node, scale, acc.ndim)
    bias = _bias(arrays, 6)
    return [y if bias is None else y + _per_channel(node, bias, acc.ndim)]


# -- matrix products -------------------------------------------------------------------------------


def _row_shapes(a: Shape) -> list[Shape]:
    """What a parameter per row of `a` may look like."""
    return [a[-2:-1], (*a[:-1], 1)] if len(a) > 1 else []


def _column_shapes(b: Shape) -> list[Shape]:
    return [b[-1:], (*b[:-2], 1, b[-1])] if len(b) > 1 else []


def _rows(parameter: np.ndarray) -> np.ndarray:
    return parameter[:, None] if parameter.ndim == 1 else parameter


def _qlinear_matmul(node: Node) -> list[TensorType]:
    a, b = shape_of(node, 0), shape_of(node, 3)
    check_pair(node, 1, dtype_of(node, 0), _row_shapes(a))
    check_pair(node, 4, dtype_of(node, 3), _column_shapes(b))
    shape = matmul_shape(node, a, b)
    if node.input(8) is not None:
        _check_bias(node, 8, shape[-1])
    return _result(node, shape)


def _compute_qlinear_matmul(node: Node, arrays: Arrays) -> list[np.ndarray]:
    a, b = arrays[0], arrays[3]
    a_scale, a_zero = pair(arrays, 1, a.dtype)
    b_scale, b_zero = pair(arrays, 4, b.dtype)
    acc = quant_math.accumulate_matmul(a, _rows(a_zero), b, b_zero)
    bias = _bias(arrays, 8)
    if bias is not None:
        acc = acc + bias
    return [_finish(node, acc, [a, _rows(a_scale), *arrays[2:]], b_scale)]


def _matmul_integer(node: Node) -> list[TensorType]:
    a, b = shape_of(node, 0), shape_of(node, 1)
    check_zero(node, 2, dtype_of(node, 0), _row_shapes(a))
    check_zero(node, 3, dtype_of(node, 1), _column_shapes(b))
    return [(INT32, matmul_shape(node, a, b))]


def _compute_matmul_integer(node: Node, arrays: Arrays) -> list[np.ndarray]:
    a_zero, b_zero = _zero(arrays, 2), _zero(arrays, 3)
    return [quant_math.accumulate_matmul(arrays[0], _rows(a_zero), arrays[1], b_zero)]


def _matmul_to_float(node: Node) -> list[TensorType]:
    a, b = shape_of(node, 0), shape_of(node, 1)
    check_scale(node, 2, _row_shapes(a))
    check_scale(node, 3, _column_shapes(b))
    check_zero(node, 4, dtype_of(node, 0), _row_shapes(a))
    check_zero(node, 5, dtype_of(node, 1), _column_shapes(b))
    shape = matmul_shape(node, a, b)
    _check_bias(node, 6, shape[-1])
    return [(dtype_of(node, 2), shape)]


def _compute_matmul_to_float(node: Node, arrays: Arrays) -> list[np.ndarray]:
    a_zero, b_zero = _zero(arrays, 4), _zero(arrays, 5)
    acc = quant_math.accumulate_matmul(arrays[0], _rows(a_zero), arrays[1], b_zero)
    a_scale, b_scale = (np.asarray(s).astype(np.float32) for s in arrays[2:4])
    y = acc.astype(np.float32) * (_rows(a_scale) * b_scale)
    bias = _bias(arrays, 6)
    y = y if bias is None else y + bias
    return [y.astype(node.output.dtype)]


def _dynamic_matmul(node: Node) -> list[TensorType]:
    a, b = shape_of(node, 0), shape_of(node, 1)
    check_scale(node, 2, _column_shapes(b))
    check_zero(node, 3, dtype_of(node, 1), _column_shapes(b))
    shape = matmul_shape(node, a, b)
    _check_bias(node, 4, shape[-1])
    return [(dtype_of(node, 0), shape)]


def _compute_dynamic_matmul(node: Node, arrays: Arrays) -> list[np.ndarray]:
    a, a_scale, a_zero = quant_math.quantize_dynamic(arrays[0])
    bias = _bias(arrays, 4)
    acc = quant_math.accumulate_matmul(a, a_zero, arrays[1], _zero(arrays, 3))
    y = acc.astype(np.float32) * (a_scale * np.asarray(arrays[2]))
    return [y if bias is None else y + bias]


def _qgemm(node: Node) -> list[TensorType]:
    a, b = shape_of(node, 0), shape_of(node, 3)
    shape = gemm_shape(node, a, b)
    check_pair(node, 1, dtype_of(node, 0))
    check_pair(node, 4, dtype_of(node, 3), [(shape[1],)])
    bias = node.input(6)
    if bias is not None:
        fits = shape_of(node, 6) in ((), (1,), (shape[1],), (1, shape[1]), shape)
        require(fits, node, f"C of shape {list(bias.shape)} does not fit {list(shape)}")
    if node.input(7) is None:
        return [(dtype_of(node, 1), shape)]
    require(node.input(8) is not None, node, "has a scale of the result, but no zero point")
    check_pair(node, 7, dtype_of(node, 8))
    return [(dtype_of(node, 8), shape)]


def _compute_qgemm(node: Node, arrays: Arrays) -> list[np.ndarray]:
    a, b = arrays[0], arrays[3]
    a_scale, a_zero = pair(arrays, 1, a.dtype)
    b_scale, b_zero = pair(arrays, 4, b.dtype)
    a = a.T if node.attrs.get("transA") else a
    transposed = bool(node.attrs.get("transB"))
    zero = b_zero[:, None] if b_zero.ndim and transposed else b_zero
    wide = b.astype(np.int32) - zero.astype(np.int32)
    acc = quant_math.accumulate_matmul(a, a_zero, wide.T if transposed else wide, 0)
    bias = _bias(arrays, 6)
    if bias is not None:
        acc = acc + bias
    scale = np.float32(node.attrs.get("alpha", 1.0)) * a_scale * b_scale
    if _bias(arrays, 7) is None:
        return [acc.astype(np.float32) * scale]
    y_scale, y_zero = pair(arrays, 7, arrays[8].dtype)
    return [quant_math.requantize(acc, scale / y_scale, y_zero)]


# -- weights of few bits ---------------------------------------------------------------------------


def _nbits(node: Node) -> list[TensorType]:
    n, k = node.attrs["N"], node.attrs["K"]
    bits, block = node.attrs.get("bits", 4), node.attrs["block_size"]
    require(n > 0 and k > 0, node, f"N {n} or K {k} is not positive")
    require(bits in (2, 4, 8), node, f"{bits} bits, must be 2, 4 or 8")
    legal = block >= 16 and block & (block - 1) == 0 and block <= 1 << 20
    require(legal, node, f"block_size {block} is no power of two of at least 16")
    dtype, a = dtype_of(node, 0), shape_of(node, 0)
    require(bool(a) and a[-1] == k, node, f"A of shape {list(a)} does not have {k} columns")
    blocks = -(-k // block)
    packed = shape_of(node, 1)
    wanted = (n, blocks, block * bits // 8)
    require(packed == wanted, node, f"B has shape {list(packed)} where {list(wanted)} is needed")
    scales = shape_of(node, 2)
    fits = scales in ((n, blocks), (n * blocks,))
    require(fits, node, f"scales have shape {list(scales)} where {[n, blocks]} is needed")
    if node.input(3) is not None:
        count = blocks if dtype_of(node, 3) != np.uint8 else -(-blocks * bits // 8)
        got = shape_of(node, 3)
        require(math.prod(got) == n * count, node, f"zero points have shape {list(got)}")
    if node.input(4) is not None or node.attrs.get("weight_prepacked"):
        raise UnsupportedError(f"{describe(node)}: g_idx and prepacked weights")
    _check_bias(node, 5, n)
    return [(dtype, (*a[:-1], n))]


def nbits_parts(node: Node, arrays: Arrays) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The numbers (N, K) of a MatMulNBits, scales and zero points (N, blocks); None are at half."""
    n, k = node.attrs["N"], node.attrs["K"]
    bits, block = node.attrs.get("bits", 4), node.attrs["block_size"]
    blocks = -(-k // block)
    q = _unpacked(arrays[1], bits).reshape(n, -1)[:, :k]
    zeros = _bias(arrays, 3)
    if zeros is not None:
        if zeros.dtype == np.uint8:
            zeros = _unpacked(zeros.reshape(n, -1), bits)[:, :blocks]
        zeros = zeros.reshape(n, blocks).astype(np.float32)
    return q, np.asarray(arrays[2]).reshape(n, blocks).astype(np.float32), zeros


def unpack_nbits(node: Node, arrays: Arrays) -> np.ndarray:
    """The weights of a MatMulNBits as a float32 matrix (K, N)."""
    q, scales, zeros = nbits_parts(node, arrays)
    if zeros is None:
        zeros = np.full_like(scales, 1 << (node.attrs.get("bits", 4) - 1))
    k, block = node.attrs["K"], node.attrs["block_size"]
    scales, zeros = (np.repeat(v, block, 1)[:, :k] for v in (scales, zeros))
    return np.ascontiguousarray(((q - zeros) * scales).T)


def _unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    """Numbers of `bits` bits, the lowest first, along the last axis."""
    parts = [packed >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)]
    return np.stack(parts, -1).reshape(*packed.shape[:-1], -1)


def _compute_nbits(node: Node, arrays: Arrays) -> list[np.ndarray]:
    y = arrays[0].astype(np.float32) @ unpack_nbits(node, arrays)
    bias = _bias(arrays, 5)
    return [(y if bias is None else y + bias).astype(node.output.dtype)]


OPS: dict[str, OpInfo] = {
    "ConvInteger": OpInfo(_conv_integer, _compute_conv_integer, keep=True, whole=True),
    "QLinearConv": OpInfo(_qlinear_conv, _compute_qlinear_conv, keep=True, whole=True),
    "MatMulInteger": OpInfo(_matmul_integer, _compute_matmul_integer, keep=True, whole=True),
    "QLinearMatMul": OpInfo(_qlinear_matmul, _compute_qlinear_matmul, keep=True, whole=True),
}

MICROSOFT: dict[str, OpInfo] = {
    "DynamicQuantizeMatMul": OpInfo(_dynamic_matmul, _compute_dynamic_matmul, keep=True),
    "MatMulIntegerToFloat": OpInfo(
        _matmul_to_float, _compute_matmul_to_float, keep=True, whole=True
    ),
    "MatMulNBits": OpInfo(_nbits, _compute_nbits, keep=True),
    "QGemm": OpInfo(_qgemm, _compute_qgemm, keep=True),
}

OWN: dict[str, OpInfo] = {
    "ConvIntegerToFloat": OpInfo(
        _conv_integer_to_float, _compute_conv_integer_to_float, keep=True, whole=True
    )
}
"""``ConvIntegerToFloat``: x, w, scales of both, zero points of both, a float bias; the convolution
of what remains without the zero points, as a float."""
