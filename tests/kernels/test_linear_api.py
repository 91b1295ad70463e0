"""The NumPy functions gemm, conv2d and depthwise_conv2d: shapes, layouts, defaults, errors."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import ISAS
from linear_cases import EXACT, conv_config, depthwise_config, gemm_config, integers

from luthier.errors import ArgumentError, KernelError, LuthierError
from luthier.kernels import Gemm, _kernels, conv2d, depthwise_conv2d, gemm, reference, space

RNG = np.random.default_rng(5)
A, W, BIAS = integers(RNG, 5, 7), integers(RNG, 7, 19), integers(RNG, 19)
X, FILTERS, TAPS = integers(RNG, 2, 6, 8, 9), integers(RNG, 4, 3, 3, 2), integers(RNG, 6, 1, 3, 2)
CONV = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (1, 2)}


def nhwc(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 2, 3, 1)


def nchw(array: np.ndarray) -> np.ndarray:
    return array.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("threads", [1, 2, 1000])
def test_gemm(threads):
    assert np.array_equal(gemm(A, W, num_threads=threads), A @ W)
    assert np.array_equal(gemm(A, W, BIAS, num_threads=threads), A @ W + BIAS)
    residual = integers(RNG, 5, 19)
    y = gemm(A, W, BIAS, residual=residual, activation="relu", num_threads=threads)
    assert np.array_equal(y, np.maximum(A @ W + BIAS + residual, 0))
    assert y.dtype == np.float32


def test_gemm_in_batches():
    a, w, residual = integers(RNG, 3, 5, 7), integers(RNG, 3, 7, 19), integers(RNG, 3, 5, 19)
    assert np.array_equal(gemm(a, W, BIAS, residual=residual), a @ W + BIAS + residual)
    assert np.array_equal(gemm(a, w, BIAS, residual=residual), a @ w + BIAS + residual)


def test_arrays_in_any_order_of_memory():
    assert np.array_equal(gemm(A.T.copy().T, W[:, ::-1]), A @ W[:, ::-1])
    assert np.array_equal(gemm(A[::-2], np.asfortranarray(W), BIAS[::-1]), A[::-2] @ W + BIAS[::-1])
    shifted = np.frombuffer(b"\0" + A.tobytes(), np.float32, A.size, 1).reshape(A.shape)
    assert not shifted.flags.aligned
    assert np.array_equal(gemm(shifted, W), A @ W)


@pytest.mark.parametrize(
    ("m", "n", "k"), [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (1, 1, 0)], ids=str
)
def test_empty_matrices(m, n, k):
    a, w, bias = np.ones((m, k), np.float32), np.ones((k, n), np.float32), np.ones(n, np.float32)
    assert np.array_equal(gemm(a, w, bias), np.ones((m, n)) * (1 + k))
    batched = gemm(np.ones((2, m, k), np.float32), np.ones((2, k, n), np.float32))
    assert np.array_equal(batched, np.full((2, m, n), k))


@pytest.mark.parametrize("activation", EXACT)
def test_activation_parameters(activation):
    params = EXACT[activation]
    expected = reference.gemm(A, W, act=activation, params=params)
    assert np.array_equal(gemm(A, W, activation=activation, activation_params=params), expected)


def test_defaults_of_activation_parameters_are_those_of_onnx():
    leaky = reference.gemm(A, W, act="leaky_relu", params=(0.01, 0))
    assert np.allclose(gemm(A, W, activation="leaky_relu"), leaky)
    hard = reference.gemm(A, W, act="hard_sigmoid", params=(0.2, 0.5))
    assert np.allclose(gemm(A, W, activation="hard_sigmoid"), hard)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("groups", [2, 6])
def test_conv2d_in_both_layouts(threads, groups):
    filters = integers(RNG, 12, 6 // groups, 3, 2)
    bias = integers(RNG, 12)
    y = conv2d(X, filters, bias, groups=groups, num_threads=threads, **CONV)
    residual = integers(RNG, *y.shape)
    more = {"activation": "relu", "groups": groups, "num_threads": threads, **CONV}
    expected = reference.conv2d(nhwc(X), filters, bias, None, groups=groups, **CONV)
    assert np.array_equal(nhwc(y), expected)
    joined = np.maximum(expected + nhwc(residual), 0)
    assert np.array_equal(nhwc(conv2d(X, filters, bias, residual=residual, **more)), joined)
    y = conv2d(nhwc(X), filters, bias, residual=nhwc(residual), layout="NHWC", **more)
    assert np.array_equal(y, joined)


@pytest.mark.parametrize("threads", [1, 2])
def test_depthwise_conv2d_in_both_layouts(threads):
    expected = reference.depthwise_conv2d(nhwc(X), TAPS, **CONV)
    y = depthwise_conv2d(X, TAPS, num_threads=threads, **CONV)
    assert np.array_equal(y, nchw(expected))
    residual = integers(RNG, *y.shape)
    more = {"residual": nhwc(residual), "layout": "NHWC", "activation": "relu", **CONV}
    y = depthwise_conv2d(nhwc(X), TAPS, **more)
    assert np.array_equal(y, np.maximum(expected + nhwc(residual), 0))


def test_no_images():
    assert conv2d(X[:0], FILTERS, groups=2, **CONV).shape == (0, 4, 5, 8)
    assert depthwise_conv2d(X[:0], TAPS, **CONV).shape == (0, 6, 5, 8)


@pytest.mark.parametrize("isa", ISAS)
def test_a_forced_config(isa):
    config = gemm_config(isa, mr=3, mc=2, kc=3, threads=2)
    assert np.array_equal(gemm(A, W, config=config, num_threads=2), A @ W)
    expected = reference.conv2d(nhwc(X), FILTERS, groups=2, **CONV)
    for algo in ("im2col", "direct"):
        config = conv_config(algo, isa, mr=2, nv=2)
        y = conv2d(X, FILTERS, groups=2, config=config, **CONV)
        assert np.array_equal(nhwc(y), expected)
    y = depthwise_conv2d(X, TAPS, config=depthwise_config(isa, cb=4), **CONV)
    assert np.array_equal(nhwc(y), reference.depthwise_conv2d(nhwc(X), TAPS, **CONV))


GEMM_ERRORS = [
    ({"a": A.astype(np.float64)}, "a: expected float32, got float64"),
    ({"a": A[0]}, "a: expected rank 2 or 3, got 1"),
    ({"w": W[:3]}, r"gemm: a \[5, 7\] and w \[3, 19\] do not fit"),
    ({"w": W[None]}, r"gemm: a \[5, 7\] and w \[1, 7, 19\] do not fit"),
    ({"w": "weights"}, "w: expected float32"),
    ({"bias": BIAS[:5]}, r"bias: expected \[19\], got \[5\]"),
    ({"bias": BIAS[None]}, "bias: expected rank 1, got 2"),
    ({"residual": A}, r"residual: expected \[5, 19\], got \[5, 7\]"),
    ({"activation": "swish"}, "activation: expected one of"),
    ({"activation": "clip"}, "activation 'clip' needs activation_params"),
    ({"activation_params": (1, 2, 3)}, "activation_params: expected two floats"),
    ({"activation_params": ("low", 1)}, "activation_params: expected two floats"),
    ({"num_threads": 0}, "threads of at least 1, got 0"),
    ({"num_threads": -2}, "threads of at least 1, got -2"),
    ({"config": {}}, "config: expected the knobs"),
    ({"config": gemm_config("sve")}, "config: expected isa in"),
    ({"config": gemm_config("scalar", mr=99)}, "config: no kernel with isa=scalar, mr=99"),
    ({"config": gemm_config("scalar", mr=0)}, "config: no kernel with"),
    ({"config": gemm_config("scalar", nv=-1)}, "config: expected nv of 0 to"),
    ({"config": gemm_config("scalar", mc=1 << 80)}, "config: expected mc of 0 to"),
    ({"config": gemm_config("scalar", kc=2.5)}, "config: expected kc of 0 to"),
]


@pytest.mark.parametrize(("change", "text"), GEMM_ERRORS)
def test_gemm_refuses(change, text):
    with pytest.raises(ArgumentError, match=text):
        gemm(**{"a": A, "w": W, **change})


CONV_ERRORS = [
    ({"x": X[0]}, "x: expected rank 4, got 3"),
    ({"w": FILTERS[0]}, "w: expected rank 4, got 3"),
    ({"groups": 0}, "6 channels, .* and 0 groups do not fit"),
    ({"groups": 3}, "6 channels, .* and 3 groups do not fit"),
    ({"w": FILTERS[:3]}, "do not fit"),
    ({"strides": (0, 1)}, "strides: expected 2 ints of at least 1"),
    ({"strides": (1,)}, "strides: expected 2 ints of at least 1"),
    ({"strides": (1.5, 1)}, "strides: expected 2 ints of at least 1"),
    ({"strides": 2}, "strides: expected 2 ints of at least 1"),
    ({"pads": (0, 0, 0, -1)}, "pads: expected 4 ints of at least 0"),
    ({"pads": (0, 0)}, "pads: expected 4 ints of at least 0"),
    ({"dilations": (1, 0)}, "dilations: expected 2 ints of at least 1"),
    ({"dilations": (9, 9)}, "the window is larger than the padded input"),
    ({"layout": "NCHWc"}, "layout: expected 'NCHW' or 'NHWC'"),
    ({"residual": X}, r"residual: expected \[2, 6, 8, 4\], got \[2, 8, 9, 6\]"),
    ({"bias": BIAS}, r"bias: expected \[4\], got \[19\]"),
    ({"config": depthwise_config("scalar")}, "config: expected the knobs"),
    ({"config": conv_config("winograd", "scalar")}, "config: expected algo in"),
]


@pytest.mark.parametrize(("change", "text"), CONV_ERRORS)
def test_conv2d_refuses(change, text):
    with pytest.raises(ArgumentError, match=text):
        conv2d(**{"x": X, "w": FILTERS, "groups": 2, **change})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"w": FILTERS}, r"expected weights \[6, 1, kh, kw\], got \[4, 3, 3, 2\]"),
        ({"dilations": (9, 9)}, "the window is larger than the padded input"),
        ({"config": gemm_config("scalar")}, "config: expected the knobs"),
        ({"num_threads": 0}, "threads of at least 1"),
    ],
)
def test_depthwise_conv2d_refuses(change, text):
    with pytest.raises(ArgumentError, match=text):
        depthwise_conv2d(**{"x": X, "w": TAPS, **change})


def test_configs_that_only_the_driver_refuses():
    for config in (conv_config("pointwise", "scalar"), conv_config("direct", "scalar", mc=0)):
        with pytest.raises(KernelError, match="conv2d: an argument is out of range"):
            conv2d(X, FILTERS, groups=2, config=config)
    with pytest.raises(KernelError, match="depthwise_conv2d: no such variant on this CPU"):
        depthwise_conv2d(X, TAPS, config=depthwise_config("scalar", special=1, owt=7))


@pytest.mark.parametrize("pads", [(1 << 40, 0, 0, 0), (0, 1 << 62, 0, 0), (1 << 70, 0, 0, 0)])
def test_huge_paddings_end_in_an_error(pads):
    with pytest.raises(LuthierError):
        conv2d(X, FILTERS, groups=2, pads=pads)
    with pytest.raises(LuthierError):
        depthwise_conv2d(X, TAPS, pads=pads)


@pytest.mark.parametrize(
    ("shape", "filters", "name"),
    [
        ((1, 0, 4, 4), (3, 0, 1, 1), "c"),
        ((1, 2, 0, 4), (3, 2, 1, 1), "h"),
        ((1, 2, 4, 0), (3, 2, 1, 1), "w"),
        ((1, 2, 4, 4), (3, 2, 0, 1), "r"),
        ((1, 2, 4, 4), (0, 2, 1, 1), "k"),
    ],
)
def test_empty_images_and_filters_are_refused(shape, filters, name):
    x, w = np.zeros(shape, np.float32), np.zeros(filters, np.float32)
    with pytest.raises(ArgumentError, match=f"conv2d: expected {name} of at least 1, got 0"):
        conv2d(x, w)


def test_unknown_operators_and_arguments():
    with pytest.raises(KernelError, match="no operator 'conv3d'"):
        _kernels.call("conv3d", {})
    with pytest.raises(KernelError, match="gemm has no argument 'size'"):
        _kernels.call("gemm", {"size": 1})
    with pytest.raises(KernelError, match="gemm: argument 'm'"):
        _kernels.call("gemm", {"m": None})
    for op in ("gemm", "conv2d", "depthwise_conv2d"):
        with pytest.raises(KernelError, match=f"{op}: an argument is out of range"):
            _kernels.call(op, {})


def test_what_is_remembered_of_a_call_serves_other_arrays_alone() -> None:
    """Same shapes, other contents, epilogues, configs and errors, in turn."""
    rng = np.random.default_rng(5)
    shapes = (3, 5, 7), (7, 9)
    for _ in range(2):
        a, w = (rng.integers(-3, 4, s).astype(np.float32) for s in shapes)
        bias, residual = w[0], rng.integers(-3, 4, (3, 5, 9)).astype(np.float32)
        assert np.array_equal(gemm(a, w), a @ w)
        assert np.array_equal(gemm(a, w, bias), a @ w + bias)
        relu = gemm(a, w, bias, residual=residual, activation="relu")
        assert np.array_equal(relu, np.maximum(a @ w + bias + residual, 0))
        for config in space("gemm", Gemm(m=15, n=9, k=7)).configs[:40:13]:
            assert np.array_equal(gemm(a, w, config=config), a @ w)
        with pytest.raises(ArgumentError, match="bias: expected \\[9\\]"):
            gemm(a, w, w[0, :4])


def test_calls_check_their_arrays() -> None:
    call = _kernels.Call("unary", {"n": 4, "isa": 0, "threads": 1}, ("x", "y"))
    with pytest.raises(KernelError, match="2 arrays are wanted"):
        call(np.zeros(4, np.float32))
    with pytest.raises(TypeError):
        call([0.0] * 4, np.zeros(4, np.float32))
    with pytest.raises(KernelError, match="out of range"):
        call(None, None)
    with pytest.raises(KernelError, match="too many arguments"):
        _kernels.Call("unary", {}, ("x",) * 9)
    with pytest.raises(KernelError, match="float32 matrix"):
        _kernels.pack_panels(np.zeros((2, 2)), 16, 16)
