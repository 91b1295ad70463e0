"""Quantised kernels against ONNX Runtime, which defines the arithmetic of its own operators."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from luthier.kernels import (
    dequantize_linear,
    dynamic_quantize_linear,
    max_pool2d,
    qlinear_add,
    qlinear_avg_pool2d,
    qlinear_global_avg_pool,
    qlinear_mul,
    qlinear_softmax,
    quantize_linear,
)

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="ONNX Runtime computes quantised sums and means differently on other machines",
)

TYPES = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8}
DTYPES = (np.uint8, np.int8)


def run(op: str, inputs: list[Any], domain: str = "com.microsoft", outputs: int = 1, **attributes):
    """The outputs of a node whose array inputs are fed and whose other inputs are constants."""
    names = [f"i{k}" for k in range(len(inputs))]
    feeds = {n: v for n, v in zip(names, inputs, strict=True) if isinstance(v, np.ndarray)}
    constants = [
        helper.make_tensor(n, helper.np_dtype_to_tensor_dtype(v.dtype), [], [v])
        for n, v in zip(names, inputs, strict=True)
        if n not in feeds
    ]
    kinds = {n: helper.np_dtype_to_tensor_dtype(v.dtype) for n, v in feeds.items()}
    graph = helper.make_graph(
        [
            helper.make_node(
                op, names, [f"y{k}" for k in range(outputs)], domain=domain, **attributes
            )
        ],
        "g",
        [helper.make_tensor_value_info(n, kinds[n], v.shape) for n, v in feeds.items()],
        [helper.make_empty_tensor_value_info(f"y{k}") for k in range(outputs)],
        constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    answers = session.run(None, feeds)
    return answers[0] if outputs == 1 else answers


def parameters(rng: np.random.Generator, dtype: Any, count: int, case: int) -> list[tuple]:
    """Scales, round or not, and zero points of `count` tensors."""
    if case % 2:
        scales = rng.choice([0.1, 0.2, 0.3, 0.5, 0.05, 0.025, 1 / 3, 0.7], count)
    else:
        scales = 2.0 ** rng.uniform(-9, 3, count)
    info = np.iinfo(dtype)
    zeros = rng.integers(info.min, info.max + 1, count).astype(dtype)
    return list(zip(scales.astype(np.float32), zeros, strict=True))


def noise(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("op", "kernel"), [("QLinearAdd", qlinear_add), ("QLinearMul", qlinear_mul)]
)
def test_every_pair_of_bytes(op, kernel, dtype):
    every = np.arange(256, dtype=np.uint8).view(dtype)
    a, b = np.repeat(every, 256), np.tile(every, 256)
    for case in range(12):
        (sa, za), (sb, zb), (sy, zy) = parameters(np.random.default_rng(case), dtype, 3, case)
        expected = run(op, [a, sa, za, b, sb, zb, sy, zy])
        assert np.array_equal(kernel(a, sa, za, b, sb, zb, sy, zy), expected), (sa, sb, sy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (40,), (30, 1), (5, 1, 1), (1, 30, 1)], ids=str)
def test_broadcast_sums(shape, dtype):
    for case in range(6):
        rng = np.random.default_rng(case)
        a, b = noise(rng, dtype, 5, 30, 40), noise(rng, dtype, *shape)
        (sa, za), (sb, zb), (sy, zy) = parameters(rng, dtype, 3, 1)
        expected = run("QLinearAdd", [a, sa, za, b, sb, zb, sy, zy])
        assert np.array_equal(qlinear_add(a, sa, za, b, sb, zb, sy, zy), expected)
        expected = run("QLinearAdd", [b, sb, zb, a, sa, za, sy, zy])
        assert np.array_equal(qlinear_add(b, sb, zb, a, sa, za, sy, zy), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_average_pool(dtype):
    for case in range(6):
        rng = np.random.default_rng(case)
        (sx, zx), (sy, zy) = parameters(rng, dtype, 2, case)
        x, padded = noise(rng, dtype, 2, 5, 13, 12), case % 3 == 0
        window = {"strides": (2, 1), "pads": (1, 0, 1, 1)}
        expected = run(
            "QLinearAveragePool",
            [x, sx, zx, sy, zy],
            kernel_shape=(3, 2),
            count_include_pad=int(padded),
            **window,
        )
        y = qlinear_avg_pool2d(x, sx, zx, sy, zy, (3, 2), count_include_pad=padded, **window)
        assert np.array_equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("last", [False, True])
def test_global_average_pool(last, dtype):
    for case in range(6):
        rng = np.random.default_rng(case)
        (sx, zx), (sy, zy) = parameters(rng, dtype, 2, case)
        x = noise(rng, dtype, 2, 7, 7, 37)
        expected = run("QLinearGlobalAveragePool", [x, sx, zx, sy, zy], channels_last=int(last))
        layout = "NHWC" if last else "NCHW"
        assert np.array_equal(qlinear_global_avg_pool(x, sx, zx, sy, zy, layout), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool(dtype):
    x = noise(np.random.default_rng(0), dtype, 2, 5, 13, 12)
    expected = run("MaxPool", [x], "", kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    assert np.array_equal(max_pool2d(x, (3, 3), (2, 2), (1, 1, 1, 1)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax(dtype):
    for case in range(6):
        rng = np.random.default_rng(case)
        x, x_scale = noise(rng, dtype, 6, 100), np.float32(rng.choice([0.01, 0.1, 0.37]))
        zero = dtype(np.iinfo(dtype).min)
        expected = run(
            "QLinearSoftmax", [x, x_scale, zero, np.float32(1 / 256), zero], opset=13, axis=-1
        )
        assert np.array_equal(qlinear_softmax(x, float(x_scale), 1 / 256, int(zero)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_quantize_and_dequantize(dtype):
    for case in range(6):
        rng = np.random.default_rng(case)
        ((scale, zero),) = parameters(rng, dtype, 1, case)
        ties = np.arange(-600, 600, dtype=np.float32) * (scale / 2)
        x = np.concatenate(
            [ties, rng.standard_normal(2000, np.float32), np.float32([np.inf, -np.inf])]
        )
        y = quantize_linear(x, scale, zero, dtype=dtype)
        assert np.array_equal(y, run("QuantizeLinear", [x, scale, zero], ""))
        assert np.array_equal(
            dequantize_linear(y, scale, zero), run("DequantizeLinear", [y, scale, zero], "")
        )


def test_dynamic_quantize():
    rng = np.random.default_rng(0)
    for x in (rng.standard_normal(999, np.float32), np.zeros(5, np.float32), np.float32([3, 4])):
        ours, theirs = dynamic_quantize_linear(x), run("DynamicQuantizeLinear", [x], "", 3)
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
