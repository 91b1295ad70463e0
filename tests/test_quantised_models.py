"""Models in QDQ form against ONNX Runtime and against themselves without fusing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from qdq_models import Qdq

import luthier
from luthier import onnx_frontend
from luthier.graph import bind, fallback

FEW = 0.025
"""Share of the results that joined roundings may move, by one quantum."""


def conv(b: Qdq) -> str:
    y = b.op("Conv", b.input(2, 5, 9, 8), b.weights(7, 5, 3, 3), b.bias(7), pads=[1, 1, 1, 1])
    return b.pair(y, -3, 3)


def strided_signed_conv(b: Qdq) -> str:
    x = b.input(1, 4, 9, 9, dtype=np.int8)
    y = b.op("Conv", x, b.weights(6, 4, 3, 3, axis=None), strides=[2, 2])
    return b.pair(b.op("Relu", y), -3, 3, np.int8)


def depthwise(b: Qdq) -> str:
    y = b.op("Conv", b.input(1, 20, 9, 9), b.weights(20, 1, 3, 3), b.bias(20), group=20)
    return b.pair(b.op("Clip", y, b.const(0.0), b.const(2.0)), 0, 2)


def grouped(b: Qdq) -> str:
    return b.pair(b.op("Conv", b.input(1, 6, 5, 5), b.weights(4, 3, 1, 1), group=2), -1, 1)


def conv1d(b: Qdq) -> str:
    return b.pair(b.op("Conv", b.input(2, 6, 15), b.weights(4, 6, 3), b.bias(4)), -3, 3)


def gemm(b: Qdq) -> str:
    return b.pair(b.op("Gemm", b.input(5, 37), b.weights(9, 37), b.bias(9), transB=1), -4, 4)


def matmul_bias(b: Qdq) -> str:
    y = b.op("MatMul", b.input(2, 5, 37), b.weights(37, 9, axis=1))
    return b.pair(b.op("Add", y, b.bias(9)), -4, 4)


def matmul_of_two(b: Qdq) -> str:
    return b.pair(b.op("MatMul", b.input(2, 5, 17), b.input(2, 17, 6)), -30, 40)


def add(b: Qdq) -> str:
    return b.pair(b.op("Add", b.input(2, 3, 5), b.input(2, 3, 5, low=-1, high=1)), -3, 4)


def multiply(b: Qdq) -> str:
    return b.pair(b.op("Mul", b.input(2, 3, 5), b.input(5)), -6, 9)


def concat(b: Qdq) -> str:
    x, y = b.input(2, 3, 5), b.input(2, 4, 5, low=-1, high=2)
    return b.pair(b.op("Concat", x, y, axis=1), -2, 3)


def averages(b: Qdq) -> str:
    y = b.op("AveragePool", b.input(1, 5, 8, 8), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    y = b.pair(y, -2, 3)
    return b.pair(b.op("GlobalAveragePool", y), -1, 1)


def moves(b: Qdq) -> str:
    y = b.op("MaxPool", b.input(1, 4, 8, 6), kernel_shape=[2, 2], strides=[2, 2])
    y = b.pair(y, -2, 3)
    y = b.op("Resize", y, "", b.const([1.0, 1, 2, 2]), mode="nearest")
    y = b.op("Pad", y, b.const([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    y = b.op("Transpose", b.pair(y, -2, 3), perm=[0, 2, 3, 1])
    y = b.op("Slice", y, b.const([1], np.int64), b.const([9], np.int64), b.const([1], np.int64))
    return b.pair(b.op("Reshape", y, b.const([0, -1], np.int64)), -2, 3)


def activation(op: str, low: float, high: float, **attrs: Any) -> Callable[[Qdq], str]:
    def build(b: Qdq) -> str:
        return b.pair(b.op(op, b.input(3, 100), **attrs), low, high)

    build.__name__ = op
    return build


def residual_block(b: Qdq) -> str:
    x = b.input(1, 16, 9, 9, low=0, high=3)
    y = b.pair(b.op("Relu", b.op("Conv", x, b.weights(24, 16, 1, 1), b.bias(24))), 0, 4)
    y = b.op("Conv", y, b.weights(24, 1, 3, 3), b.bias(24), group=24, pads=[1] * 4)
    y = b.pair(b.op("HardSwish", b.pair(y, -3, 3)), -0.4, 3)
    y = b.pair(b.op("Conv", y, b.weights(16, 24, 1, 1), b.bias(16)), -3, 3)
    return b.pair(b.op("Add", x, y), -2.1, 4.3)  # no round ratios: few sums are ties


BUILDS = [
    conv,
    strided_signed_conv,
    depthwise,
    grouped,
    conv1d,
    gemm,
    matmul_bias,
    matmul_of_two,
    add,
    multiply,
    concat,
    averages,
    moves,
    activation("Sigmoid", 0, 1),
    activation("HardSwish", -0.4, 3),
    activation("LeakyRelu", -0.4, 3, alpha=0.2),
    activation("Tanh", -1, 1),
    residual_block,
]


def scale_of(data: bytes) -> float:
    """The scale of the last quantiser."""
    graph = onnx.load_from_string(data).graph
    constants = {c.name: c for c in graph.initializer}
    return float(numpy_helper.to_array(constants[graph.node[-1].input[1]]))


def unfused(data: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The result node by node, as the file has it."""
    graph = bind(onnx_frontend.load(data), {k: v.shape for k, v in feeds.items()})
    known = {v: feeds[v.name] for v in graph.inputs}
    for node in graph.nodes:
        arrays = [None if v is None else known.get(v, v.data) for v in node.inputs]
        known.update(zip(node.outputs, fallback.prepare(node)(arrays), strict=True))
    return known[graph.outputs[0]]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("build", BUILDS, ids=lambda f: f.__name__)
def test_qdq_operator(build: Callable[[Qdq], str], threads: int) -> None:
    b = Qdq()
    output = build(b)
    data, feeds = b.model(output), b.feeds()
    session = luthier.InferenceSession(data, num_threads=threads, records=None)
    peers = []
    for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        peer = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        peers.append(peer.run(None, feeds)[0])
    (got,) = session.run(None, feeds)
    kinds = {n.op for n in session.plan(feeds).nodes}
    assert not kinds & {"Conv", "Gemm", "MatMul", "Add", "Mul", "Relu", "Clip", "Sigmoid"}
    assert {n.backend for n in session.plan(feeds).nodes} == {"native"}
    for want in (*peers, unfused(data, feeds)):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        quanta = np.rint(np.abs(got - want) / scale_of(data))
        assert quanta.max() <= (2 if build is residual_block else 1)
        assert (quanta != 0).mean() <= FEW
