"""qgemm and qconv2d on NumPy arrays: answers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.errors import ArgumentError
from luthier.kernels import Requant, Residual, _kernels, default_config, qconv2d, qgemm, qreference
from luthier.kernels.requant import weight_type
from luthier.kernels.workload import QGemm

RNG = np.random.default_rng(5)
A = RNG.integers(0, 256, (3, 9, 21)).astype(np.uint8)
W = RNG.integers(-128, 128, (21, 13)).astype(np.int8)
X = RNG.integers(-128, 128, (2, 7, 6, 4)).astype(np.int8)
F = RNG.integers(0, 256, (10, 4, 3, 3)).astype(np.uint8)


def same(y, expected) -> None:
    assert y.dtype == expected.dtype
    assert np.array_equal(y, expected)


def test_qgemm():
    bias = RNG.integers(-999, 999, 13).astype(np.int32)
    scale = RNG.random(13).astype(np.float32) / 99
    for w, zero in ((W, 0), (W, -5), (W.view(np.uint8), np.arange(13) * 20)):
        for out in (
            Requant(scale, zero=9),
            Requant(0.01, np.int8, -3, low=-3),
            Requant(dtype=np.int32),
            Requant(scale, np.float32, fbias=scale, a_scale=np.float32([0.5])),
        ):
            expected = qreference.gemm(A, w, out, 77, zero, bias)
            same(qgemm(A, w, out, a_zero=77, w_zero=zero, bias=bias), expected)
            pointed = np.array([77], np.uint8)
            same(qgemm(A, w, out, a_zero=pointed, w_zero=zero, bias=bias, num_threads=2), expected)
            plain = np.stack([w] * 3)
            same(qgemm(A, plain, out, a_zero=77, w_zero=zero, bias=bias), expected)


def test_qconv2d():
    residual = Residual(RNG.integers(-99, 99, (2, 4, 3, 10)).astype(np.int8), 4, 0.3, 0.6, -2)
    window = {"strides": (2, 2), "pads": (1, 1, 1, 1)}
    zero = RNG.integers(100, 150, 10)
    table = RNG.permutation(256).astype(np.uint8)
    for table_or_none in (None, table):
        out = Requant(0.002, np.int8, 3, residual=residual, table=table_or_none)
        y = qconv2d(X, F, out, x_zero=-7, w_zero=zero, **window)
        same(y, qreference.conv2d(X, F, out, -7, zero, **window))
    out, grouped = Requant(0.003), F[:, :2]
    y = qconv2d(X, grouped, out, w_zero=128, groups=2)
    same(y, qreference.conv2d(X, grouped, out, 0, 128, groups=2))


def test_types_of_weights():
    assert weight_type(np.array([-127, 127], np.int16)) == "s8"
    assert weight_type(np.array([-128, 127], np.int16)) == "s8m"
    assert weight_type(np.array([0, 128], np.int16)) == "s16"
    assert weight_type(np.empty(0, np.int16)) == "s8"


def test_peaks():
    for isa in _kernels.cpu_int8_isas():
        assert _kernels.peak_int8(isa) > 1e6


def test_empty_results():
    assert qgemm(A[:0, 0], W, Requant(1.0)).shape == (0, 13)
    assert qgemm(A[0], W[:, :0], Requant(1.0)).shape == (9, 0)


SMALL = QGemm(m=9, n=13, k=21, wt="s8m")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: qgemm(A.astype(np.float32), W, Requant(1.0)), "a: expected uint8 or int8"),
        (lambda: qgemm(A[0, 0], W, Requant(1.0)), "a: expected uint8 or int8 of rank 2 or 3"),
        (lambda: qgemm(A, W[1:], Requant(1.0)), "do not fit"),
        (lambda: qgemm(A, W, Requant()), "scale: expected a number, or 13, got none"),
        (lambda: qgemm(A, W, Requant([1.0, 2.0])), r"scale: expected a number, or 13, got \[2\]"),
        (lambda: qgemm(A, W, Requant(np.inf)), "scale: expected finite"),
        (lambda: qgemm(A, W, Requant(1.0, np.int16)), "dtype: expected uint8"),
        (lambda: qgemm(A, W, Requant(1.0), w_zero=[1, 2]), "w_zero: expected one or 13"),
        (lambda: qgemm(A, W, Requant(1.0), bias=np.ones(13)), "bias: expected int32"),
        (lambda: qgemm(A, W, Requant(1.0), a_zero=np.ones(1)), "zero point: expected one uint8"),
        (lambda: qgemm(A, W, Requant(1.0), num_threads=0), "threads"),
        (lambda: qgemm(A, W, Requant(1.0, table=np.ones(9, np.uint8))), "table: expected 256"),
        (
            lambda: qgemm(A, W, Requant(1.0, residual=Residual(A, 0, 1.0, 1.0))),
            "residual: expected",
        ),
        (
            lambda: qgemm(A, W, Requant(dtype=np.int32, table=np.ones(256, np.uint8))),
            "needs bytes",
        ),
        (
            lambda: qgemm(A[0], W, Requant(1.0), config=default_config(SMALL) | {"mr": 99}),
            "no kernel with",
        ),
        (lambda: qconv2d(X, F[:, :3], Requant(1.0)), "channels, weights"),
        (lambda: qconv2d(X, F, Requant(1.0), pads=(1, 1)), "pads: expected"),
    ],
)
def test_refusals(call, text):
    with pytest.raises(ArgumentError, match=text):
        call()
