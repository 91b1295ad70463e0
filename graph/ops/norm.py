"""Normalisations and softmax: the output has the input's shape."""

from __future__ import annotations

import math

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    FLOAT32,
    OpInfo,
    TensorType,
    broadcasts_to,
    dtype_of,
    normal_axis,
    require,
    shape_of,
    split_map,
    typed,
)
from luthier.graph.ops.elementwise import same


def _per_channel(node: Node, channels: int, inputs: range) -> None:
    for i in inputs:
        shape = shape_of(node, i)
        require(
            math.prod(shape) == channels and len(shape) == 1,
            node,
            f"input {i} of shape {list(shape)} does not fit {channels} channels",
        )


def _channels(node: Node) -> int:
    shape = shape_of(node, 0)
    if len(shape) == 2:
        return shape[1]
    return 1 if len(shape) < 2 else split_map(node, shape)[1]


def _batch_norm(node: Node) -> list[TensorType]:
    _per_channel(node, _channels(node), range(1, 5))
    statistic = (dtype_of(node, 3), shape_of(node, 3))
    return [typed(node, 0), statistic, statistic][: len(node.outputs)]


def _channel_norm(node: Node) -> list[TensorType]:
    _per_channel(node, _channels(node), range(1, 3))
    return same(node)


def _layer_norm(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    axis = normal_axis(node, node.attrs.get("axis", -1), len(shape))
    for i in (1, 2):
        if node.input(i) is not None:
            other = shape_of(node, i)
            require(
                broadcasts_to(other, shape[axis:]),
                node,
                f"input {i} of shape {list(other)} does not fit {list(shape[axis:])}",
            )
    statistic = (FLOAT32, (*shape[:axis], *(1 for _ in shape[axis:])))
    return [(dtype, shape), statistic, statistic][: len(node.outputs)]


def _softmax(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    if shape:
        normal_axis(node, node.attrs.get("axis", -1), len(shape))
    return [(dtype, shape)]


def _lrn(node: Node, arrays: list) -> list[np.ndarray]:
    """ONNX's reference evaluator takes the batch for the channels here."""
    (x,), size = arrays, node.attrs["size"]
    total = np.zeros(x.shape, np.float64)
    squares = x.astype(np.float64) ** 2
    for c in range(x.shape[1]):
        total[:, c] = squares[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1].sum(1)
    share = node.attrs.get("alpha", 1e-4) / size
    base = node.attrs.get("bias", 1.0) + share * total
    return [(x / base ** node.attrs.get("beta", 0.75)).astype(x.dtype)]


def _lrn_type(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    require(len(shape) >= 2, node, f"an input of shape {list(shape)} has no channels")
    require(node.attrs.get("size", 0) >= 1, node, f"size is {node.attrs.get('size')}")
    return [(dtype, shape)]


OPS: dict[str, OpInfo] = {
    "BatchNormalization": OpInfo(_batch_norm),
    "InstanceNormalization": OpInfo(_channel_norm),
    "GroupNormalization": OpInfo(_channel_norm),
    "LayerNormalization": OpInfo(_layer_norm),
    "RMSNormalization": OpInfo(_layer_norm),
    "LpNormalization": OpInfo(same),
    "LRN": OpInfo(_lrn_type, _lrn, keep=True),
    "MeanVarianceNormalization": OpInfo(same),
    "Softmax": OpInfo(_softmax),
    "LogSoftmax": OpInfo(_softmax),
    "Hardmax": OpInfo(_softmax),
}
