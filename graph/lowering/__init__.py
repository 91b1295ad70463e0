"""Lowering rules: for each operator, the calls of C kernels that compute it.

A rule is a function of (context, node) that emits steps, or raises `NotNative` with the reason.
"""

from __future__ import annotations

from collections.abc import Callable

from luthier.graph.ir import Node
from luthier.graph.lowering import (
    conv,
    elementwise,
    matmul,
    movement,
    quant_products,
    quantised,
    recurrent,
)
from luthier.graph.lowering.context import Context, NotNative, Step, Storage, View

__all__ = ["RULES", "Context", "NotNative", "Step", "Storage", "View", "rule_for"]

Rule = Callable[[Context, Node], None]

RULES: dict[str, Rule] = {
    "Conv": conv.lower_conv,
    "ConvTranspose": conv.lower_conv_transpose,
    "MaxPool": conv.lower_pool,
    "AveragePool": conv.lower_pool,
    "Gemm": matmul.lower_matmul,
    "MatMul": matmul.lower_matmul,
    **dict.fromkeys(elementwise.UNARY, elementwise.lower_unary),
    **dict.fromkeys(elementwise.BINARY, elementwise.lower_binary),
    **dict.fromkeys(elementwise.ACTIVATIONS, elementwise.lower_activation),
    **dict.fromkeys(elementwise.REDUCE, elementwise.lower_reduce),
    "Where": elementwise.lower_where,
    "Cast": elementwise.lower_cast,
    "Softmax": elementwise.lower_softmax,
    "LogSoftmax": elementwise.lower_softmax,
    "LayerNormalization": elementwise.lower_layer_norm,
    "LRN": elementwise.lower_lrn,
    **dict.fromkeys(
        ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"), movement.lower_alias
    ),
    "Transpose": movement.lower_transpose,
    "Concat": movement.lower_concat,
    "Split": movement.lower_split,
    "Slice": movement.lower_slice,
    "Expand": movement.lower_expand,
    "SpaceToDepth": movement.lower_space_depth,
    "DepthToSpace": movement.lower_space_depth,
    "Gather": movement.lower_gather,
    "Pad": movement.lower_pad,
    "Resize": movement.lower_resize,
    "LSTM": recurrent.lower_lstm,
    **quantised.RULES[""],
    **quant_products.RULES[""],
}
"""Operators of ONNX."""

_OTHERS: dict[str, dict[str, Rule]] = {
    "com.microsoft": {
        **quantised.RULES["com.microsoft"],
        **quant_products.RULES["com.microsoft"],
    },
    "luthier": {
        "Silu": elementwise.lower_activation,
        **quantised.RULES["luthier"],
        **quant_products.RULES["luthier"],
    },
}


def rule_for(node: Node) -> Rule | None:
    """The rule of `node`, if there is one."""
    return (_OTHERS.get(node.domain, {}) if node.domain else RULES).get(node.op)
