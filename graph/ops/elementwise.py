"""Elementwise operators: one input, two inputs that broadcast, or several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    BOOL,
    OpInfo,
    TensorType,
    broadcast,
    broadcasts_to,
    dtype_of,
    invalid,
    require,
    shape_of,
    typed,
)
from luthier.graph.ops.dtypes import numpy_dtype

_SAME_TYPE = """
Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu
HardSigmoid HardSwish Identity LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid
Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu
""".split()

_BINARY = "Add Sub Mul Div Mod BitShift And Or Xor BitwiseAnd BitwiseOr BitwiseXor".split()
_COMPARE = "Equal Less LessOrEqual Greater GreaterOrEqual".split()
_VARIADIC = "Sum Mean Min Max".split()


def same(node: Node) -> list[TensorType]:
    """One output of the type of the first input."""
    return [typed(node, 0)]


def _predicate(node: Node) -> list[TensorType]:
    return [(BOOL, shape_of(node, 0))]


def _two(node: Node) -> tuple[np.dtype, tuple[int, ...]]:
    (dtype, a), (other, b) = typed(node, 0), typed(node, 1)
    require(dtype == other, node, f"inputs differ in type: {dtype} and {other}")
    return dtype, broadcast(node, a, b)


def _binary(node: Node) -> list[TensorType]:
    return [_two(node)]


def _compare(node: Node) -> list[TensorType]:
    return [(BOOL, _two(node)[1])]


def _pow(node: Node) -> list[TensorType]:
    return [(dtype_of(node, 0), broadcast(node, shape_of(node, 0), shape_of(node, 1)))]


def _variadic(node: Node) -> list[TensorType]:
    types = [typed(node, i) for i in range(len(node.inputs))]
    require(bool(types), node, "has no inputs")
    require(all(t[0] == types[0][0] for t in types), node, "inputs differ in type")
    return [(types[0][0], broadcast(node, *(t[1] for t in types)))]


def _where(node: Node) -> list[TensorType]:
    (dtype, a), (other, b) = typed(node, 1), typed(node, 2)
    require(dtype == other, node, f"inputs differ in type: {dtype} and {other}")
    return [(dtype, broadcast(node, shape_of(node, 0), a, b))]


def _prelu(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    slope = shape_of(node, 1)
    fits = broadcasts_to(slope, shape)
    require(fits, node, f"slope {list(slope)} does not broadcast to {list(shape)}")
    return [(dtype, shape)]


def _cast(node: Node) -> list[TensorType]:
    dtype = numpy_dtype(node.attrs["to"])
    if dtype is None:
        raise invalid(node, f"casts to an unknown element type, {node.attrs['to']}")
    return [(dtype, shape_of(node, 0))]


def _cast_like(node: Node) -> list[TensorType]:
    return [(dtype_of(node, 1), shape_of(node, 0))]


def _dropout(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    return [(dtype, shape), (BOOL, shape)][: len(node.outputs)]


def _numpy(function: Callable[..., Any]) -> Callable[[Node, list[Any]], list[np.ndarray]]:
    return lambda node, arrays: [np.asarray(function(*arrays))]


def _divide(a: np.ndarray, b: np.ndarray) -> Any:
    if a.dtype.kind not in "iu":
        return np.divide(a, b)
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype)


def _compute_cast(node: Node, arrays: list[Any]) -> list[np.ndarray] | None:
    dtype = numpy_dtype(node.attrs["to"])
    if dtype is None or not all(
        t.kind in "biuf" and t.isbuiltin == 1 for t in (dtype, arrays[0].dtype)
    ):
        return None  # strings, and the small floats that saturate
    return [arrays[0].astype(dtype)]


_COMPUTE: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Not": np.logical_not,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Identity": np.asarray,
}


def _table(names: list[str], infer: Callable[[Node], list[TensorType]]) -> dict[str, OpInfo]:
    return {n: OpInfo(infer, _numpy(_COMPUTE[n]) if n in _COMPUTE else None) for n in names}


OPS: dict[str, OpInfo] = {
    **_table(_SAME_TYPE, same),
    **_table(["IsNaN", "IsInf"], _predicate),
    **_table(_BINARY, _binary),
    **_table(_COMPARE, _compare),
    **_table(_VARIADIC, _variadic),
    "Pow": OpInfo(_pow),
    "Clip": OpInfo(same),
    "PRelu": OpInfo(_prelu),
    "Where": OpInfo(_where, _numpy(np.where)),
    "Cast": OpInfo(_cast, _compute_cast),
    "CastLike": OpInfo(_cast_like),
    "Dropout": OpInfo(_dropout),
}
