"""The operator gemm_nbits."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    EXTREMES,
    ISAS,
    SIDES,
    assert_close,
    assert_thread_independent,
    normal,
    number,
    run_guarded,
)

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import _kernels, gemm_nbits, reference
from luthier.kernels.nbits import pack_nbits

CASES = [
    (m, n, k, block)
    for m in (1, 2, 3, 4, 5, 8, 9, 131)
    for n, k, block in ((1, 1, 16), (15, 31, 16), (16, 64, 64), (33, 72, 32), (65, 523, 256))
]
"""Every tile of few rows, and more; panels, words and blocks that are not whole."""


def operands(m, n, k, block, zeros=True):
    rng = np.random.default_rng([m, n, k])
    shape = n, -(-k // block)
    scale = rng.uniform(0.01, 0.02, shape).astype(np.float32)
    zero = rng.uniform(0, 15, shape).astype(np.float32) if zeros else None
    return normal(m, k), rng.integers(0, 16, (n, k), np.uint8), scale, zero


def bound(a, q, scale, zero, block):
    """Of the rounding of sums: of all terms, and of those with the zero points."""
    largest = 23 if zero is not None else 8
    return 2e-7 * np.abs(a).sum(1, dtype=np.float64).max(initial=0) * largest * scale.max(initial=0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_the_reference_and_touches_nothing_else(case, zeros, isa):
    m, n, k, block = case
    a, q, scale, zero = operands(*case, zeros)
    bias = normal(n, seed=1) if zeros else None
    w, scales, packed_zero = pack_nbits(q, scale, zero, block)
    inputs = {"a": a, "w": w, "scale": scales, "zero": packed_zero, "bias": bias}
    inputs = {name: value for name, value in inputs.items() if value is not None}
    sizes = {"m": m, "n": n, "k": k, "block": block, "lda": k, "ldy": n}
    slots = {**sizes, "isa": number(isa), "threads": 1}
    expected = reference.gemm_nbits(a, q, scale, zero, bias, block=block)
    for side in SIDES:
        y = run_guarded("gemm_nbits", slots, inputs, (m, n), np.float32, side)
        assert_close(y, expected, 1, bound(a, q, scale, zero, block))


@pytest.mark.parametrize("isa", ISAS)
def test_every_value_is_exact(isa):
    q = np.arange(16, dtype=np.uint8)[:, None] * np.ones((1, 16), np.uint8)
    scale, zero = np.full((16, 1), 0.375, np.float32), np.full((16, 1), 3, np.float32)
    for m in (1, 16):
        a = np.eye(16, dtype=np.float32)[:m]
        for z in (None, zero):
            expected = reference.gemm_nbits(a, q, scale, z, block=16)
            np.testing.assert_array_equal(gemm_nbits(a, q, scale, z, block=16, isa=isa), expected)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("m", [1, len(EXTREMES)])
def test_extreme_values(m, isa):
    a = np.zeros((m, 40), np.float32)
    a[:, 17] = EXTREMES[:m] if m > 1 else np.inf
    _, q, _, _ = operands(1, 19, 40, 16)
    scale = np.full((19, 3), 0.125, np.float32)
    with np.errstate(invalid="ignore"):
        expected = reference.gemm_nbits(a, q, scale, block=16)
    assert_close(gemm_nbits(a, q, scale, block=16, isa=isa), expected, 1)


@pytest.mark.parametrize("shape", [(0, 5, 16), (3, 0, 16), (3, 5, 0), (20, 5, 0)])
def test_nothing_to_add(shape):
    a, q, scale, zero = operands(*shape, 16)
    bias = normal(shape[1])
    expected = reference.gemm_nbits(a, q, scale, zero, bias, block=16)
    actual = gemm_nbits(a, q, scale, zero, bias, block=16)
    np.testing.assert_array_equal(actual, expected.astype(np.float32))


def test_threads_give_the_same_bits():
    for m in (1, 8, 200):
        a, q, scale, zero = operands(m, 300, 256, 32)
        assert_thread_independent(
            lambda t, args=(a, q, scale, zero): gemm_nbits(*args, block=32, num_threads=t)
        )


def test_bad_arguments():
    a, q, scale, zero = operands(2, 5, 40, 16)
    with pytest.raises(ArgumentError, match=r"scale: expected \[5, 3\], got \[5, 2\]"):
        gemm_nbits(a, q, scale[:, :2], block=16)
    with pytest.raises(ArgumentError, match="q: expected a matrix of uint8 below 16"):
        gemm_nbits(a, q + np.uint8(1), scale, zero, block=16)
    with pytest.raises(ArgumentError, match="block: expected a multiple of 8, got 12"):
        gemm_nbits(a, q, scale, block=12)
    with pytest.raises(ArgumentError, match=r"a \[2, 39\] and q \[5, 40\] do not fit"):
        gemm_nbits(a[:, :39], q, scale, block=16)
    with pytest.raises(ArgumentError, match=r"bias: expected \[5\], got \[4\]"):
        gemm_nbits(a, q, scale, None, zero[0, :1].repeat(4), block=16)


@pytest.mark.parametrize(
    "bad",
    [
        *({"m": -1}, {"n": 1 << 50}, {"k": 1 << 50}, {"block": 12}, {"block": 0}, {"lda": 15}),
        *({"ldy": 3}, {"isa": 9}, {"threads": 0}, {"y": None}, {"w": None}),
    ],
    ids=str,
)
def test_the_driver_refuses(bad):
    room = np.zeros(256, np.float32)
    slots = {
        **dict.fromkeys(("a", "w", "scale", "y"), room),
        **{"m": 1, "n": 4, "k": 16, "block": 16, "lda": 16, "ldy": 4, "threads": 1},
        "isa": number(ISAS[-1]),
    }
    _kernels.call("gemm_nbits", slots)
    with pytest.raises(KernelError):
        _kernels.call("gemm_nbits", {**slots, **bad})
