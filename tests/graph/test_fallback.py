"""The reference backend for nodes that passes have changed."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import luthier.onnx_frontend  # noqa: F401  (stands behind the reference backend)
from luthier.errors import UnsupportedError
from luthier.graph import Node, Value, fallback
from luthier.kernels import reference


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(op: str, arrays: list[np.ndarray | None], shape: tuple[int, ...], **attrs: Any):
    inputs = [None if a is None else Value(f"i{k}", a.dtype, a.shape) for k, a in enumerate(arrays)]
    domain = attrs.pop("domain", "")
    node = Node(op, inputs, [Value("y", np.dtype(np.float32), shape)], attrs, "n", domain, 21)
    (y,) = fallback.prepare(node)(arrays)
    assert y.shape == shape
    return y


def test_convolution_in_nhwc_with_everything_fused() -> None:
    x, w, b = normal(2, 7, 6, 4), normal(5, 4, 3, 3, seed=1), normal(5, seed=2)
    residual = normal(2, 7, 6, 5, seed=3)
    attrs = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "layout": "NHWC"}
    fused = {"residual": 1, "activation": "leaky_relu", "activation_params": [0.1, 0.0]}
    y = run("Conv", [x, w, b, residual], (2, 7, 6, 5), **attrs, **fused)
    want = reference.conv2d(x, w, b, residual, pads=(1, 1, 1, 1), act="leaky_relu", params=(0.1, 0))
    np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [0, 1])
@pytest.mark.parametrize("residual", [0, 1])
def test_product_with_bias_and_residual(bias: int, residual: int) -> None:
    a, w, b, r = normal(5, 3), normal(3, 4, seed=1), normal(4, seed=2), normal(5, 4, seed=3)
    arrays = [a, w, b if bias else None, r][: 4 if residual else 2 + bias]
    attrs = {"bias": bias} if bias else {}
    attrs |= {"residual": 1} if residual else {}
    y = run("MatMul", arrays, (5, 4), **attrs, activation="relu", activation_params=[0.0, 0.0])
    want = np.maximum(a @ w + (b if bias else 0) + (r if residual else 0), 0)
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-5)


def test_pool_and_resize_in_nhwc() -> None:
    x = normal(1, 4, 6, 3)
    window = {"kernel_shape": [2, 2], "strides": [2, 2], "layout": "NHWC"}
    y = run("MaxPool", [x], (1, 2, 3, 3), **window)
    np.testing.assert_array_equal(y, x.reshape(1, 2, 2, 3, 2, 3).max((2, 4)))
    scales = np.array([1, 2, 2, 1], np.float32)
    attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "layout": "NHWC"}
    y = run("Resize", [x, None, scales], (1, 8, 12, 3), **attrs, nearest_mode="floor")
    np.testing.assert_array_equal(y, x.repeat(2, 1).repeat(2, 2))


def test_silu() -> None:
    x = normal(7)
    y = run("Silu", [x], (7,), domain="luthier")
    np.testing.assert_allclose(y, x / (1 + np.exp(-x)), rtol=1e-6)


def test_attributes_that_are_onnx_own_stay() -> None:
    """Shrink has a bias, recurrent operators have a layout."""
    x = np.array([-3, -1, 0, 1, 3], np.float32)
    y = run("Shrink", [x], x.shape, lambd=1.5, bias=0.5)
    np.testing.assert_array_equal(y, np.array([-2.5, 0, 0, 0, 2.5], np.float32))


def test_keeps_no_graph_alive() -> None:
    x = Value("x", np.dtype(np.float32), (2,))
    y, z = (Value(n, np.dtype(np.float32), (2,)) for n in "yz")
    big = Value("big", np.dtype(np.float32), (2,), np.ones(2, np.float32))
    y.producer = Node("Add", [x, big], [y], {}, "add", "", 21)
    z.producer = Node("Softsign", [y], [z], {}, "softsign", "", 21)
    call = fallback.prepare(z.producer)
    gone = weakref.ref(big.data)
    del x, y, z, big
    gc.collect()
    assert gone() is None
    np.testing.assert_allclose(call([np.array([-1, 1], np.float32)])[0], [-0.5, 0.5])


def test_unknown_operators_are_named() -> None:
    y = Value("y", np.dtype(np.float32), (1,))
    node = Node("Nonsense", [], [y], {}, "n", "com.example", 1)
    with pytest.raises(UnsupportedError, match=r"node 'n' \(com.example.Nonsense\)"):
        fallback.prepare(node)
