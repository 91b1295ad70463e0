"""Fold per-channel factors and addends into the weights and bias of what computed their input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.rewrite import Rewriter, constant_of, fits_float, is_float

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Affine:
    """``y = x * scale + shift`` along one axis, in float64."""

    scale: np.ndarray
    shift: np.ndarray


def run(graph: Graph) -> bool:
    """Fold BatchNormalization, Neg, and Mul and Add by constants, behind a linear operator.

    The linear operator is Conv, ConvTranspose, or Gemm and MatMul with a constant (k, n) right
    side; its result must have no other reader. The arithmetic is float64, rounded once. A MatMul
    that gets a bias carries it as third input, marked by the attribute ``bias = 1``.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("BatchNormalization", "Mul", "Add", "Neg"):
        for x in node.inputs[:2]:
            linear = None if x is None else x.producer
            if linear is None or not is_plain_linear(linear) or "activation" in node.attrs:
                continue
            if rw.only_reader(x) is node and is_float(x, node.output):
                affine = affine_of(node, x, channel_axis(linear))
                if affine is not None and _absorb(rw, linear, affine):
                    rw.set_output(linear, node.output)
                    break
    return rw.finish()


def channel_axis(linear: Node) -> int:
    """The axis of the result along which the weights of `linear` differ."""
    return 1 if linear.op.startswith("Conv") else len(linear.output.shape) - 1


def affine_of(node: Node, x: Value, axis: int) -> Affine | None:
    """What `node` does to its operand `x` as an affine map along `axis`, or None."""
    channels = x.shape[axis]
    if node.op == "BatchNormalization":
        return batch_norm_affine(node) if axis == 1 and node.inputs[0] is x else None
    if node.op == "Neg":
        return Affine(-np.ones(channels), np.zeros(channels))
    a, b = node.inputs
    other = b if a is x else a
    data = constant_of(other)
    if data is None or a is b or node.output.shape != x.shape:
        return None
    aligned = (1,) * (len(x.shape) - data.ndim) + data.shape
    if any(d != 1 for i, d in enumerate(aligned) if i != axis):
        return None
    number = np.broadcast_to(data.reshape(-1).astype(np.float64), channels)
    if node.op == "Mul":
        return Affine(number, np.zeros(channels))
    return Affine(np.ones(channels), number)


def batch_norm_affine(node: Node) -> Affine | None:
    """The map of a BatchNormalization in inference whose parameters are constant, or None."""
    parameters: list[Any] = [constant_of(v) for v in node.inputs[1:5]]
    if node.attrs.get("training_mode") or any(p is None for p in parameters):
        return None
    scale, bias, mean, variance = (p.astype(np.float64) for p in parameters)
    epsilon = node.attrs.get("epsilon", 1e-5)
    if not (variance + epsilon > 0).all():
        return None
    factor = scale / np.sqrt(variance + epsilon)
    return Affine(factor, bias - mean * factor)


def is_plain_linear(node: Node) -> bool:
    """Whether `node` is a linear operator whose bias may change and whose weight is a matrix.

    Nothing is fused into it, its bias is constant or absent, and a Gemm is normalised.
    """
    if (
        node.op not in LINEAR
        or node.domain
        or {"activation", "residual", "layout"} & node.attrs.keys()
    ):
        return False
    x, w, bias = node.inputs[0], node.inputs[1], node.input(2)
    if bias is not None and not bias.is_const:
        return False
    if node.op == "MatMul":
        return w.is_const and len(w.shape) == 2 and len(x.shape) >= 2
    if node.op == "Gemm":
        is_vector = bias is None or len(bias.shape) == 1
        return w.is_const and is_vector and _is_normalised(node)
    return True


def _is_normalised(gemm: Node) -> bool:
    plain = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0}
    return all(gemm.attrs.get(k, v) == v for k, v in plain.items())


def _absorb(rw: Rewriter, linear: Node, affine: Affine) -> bool:
    """Put `affine` behind the weights and bias of `linear`."""
    x, w, bias = linear.inputs[0], linear.inputs[1], linear.input(2)
    scaled = not (affine.scale == 1).all()
    if scaled and not w.is_const:
        return False
    old = 0.0 if bias is None else bias.data.astype(np.float64)
    shift = old * affine.scale + affine.shift
    weights = _scaled(linear, affine.scale) if scaled else w.data
    if not fits_float(shift) or (scaled and not fits_float(weights)):
        return False
    if scaled:
        w = rw.constant(w.name, weights, np.float32)
    stem = linear.output.name + "_bias" if bias is None else bias.name
    rw.set_inputs(linear, [x, w, rw.constant(stem, shift, np.float32)])
    if linear.op == "MatMul":
        linear.attrs = {**linear.attrs, "bias": 1}
    return True


def _scaled(linear: Node, scale: np.ndarray) -> np.ndarray:
    """The weights of `linear` times `scale` along the result's channels."""
    weights = linear.inputs[1].data.astype(np.float64)
    if linear.op == "Conv":
        return weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
    if linear.op == "ConvTranspose":
        groups = linear.attrs.get("group", 1)
        parts = weights.reshape(groups, -1, *weights.shape[1:])
        factors = scale.reshape(groups, 1, -1, *[1] * (weights.ndim - 2))
        return (parts * factors).reshape(weights.shape)
    return weights * scale
