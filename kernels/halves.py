"""Floats of 16 bits, bf16 and fp16: rounding, packed weights, and who multiplies them.

Everything in memory between layers stays float32; ``gemm/half.h`` has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels
from luthier.target import Target

__all__ = ["HALF_ISAS", "half_isas", "half_rows", "rounded"]

HALF_ISAS: Mapping[str, tuple[str, str]] = {
    "avx512bf16": ("bf16", "avx512bf16"),
    "neonfp16": ("fp16", "asimdhp"),
    "neonbf16": ("bf16", "bf16"),
}
"""Instruction sets of products of 16 bits: the type, and the feature of a target that it needs."""


def half_isas(target: Target) -> tuple[str, ...]:
    """Those that `target` has and its `precision` allows, the fastest last."""
    return tuple(
        isa
        for isa, (kind, feature) in HALF_ISAS.items()
        if kind == target.precision and feature in target.features
    )


def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """`x` to nearest even in 16 bits, as float32.

    Parameters
    ----------
    x : ndarray of float32
    precision : str
        ``"bf16"``, ``"fp16"``, or ``"fp32"``, which changes nothing.

    Raises
    ------
    ArgumentError
        There is no such precision.

    Examples
    --------
    >>> rounded(np.float32([1.00390625, 70000]), "bf16")
    array([1.000e+00, 7.014e+04], dtype=float32)
    """
    x = np.asarray(x, np.float32)
    if precision == "fp32":
        return x
    if precision == "fp16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).astype(np.float32)
    if precision != "bf16":
        raise ArgumentError(f"unknown precision {precision!r}")
    return (_bf16(x).astype(np.uint32) << 16).view(np.float32)


def half_rows(matrix: np.ndarray, isa: str) -> tuple[np.ndarray, int]:
    """A (k, n) matrix of float32 as rows of bits for the panels of `isa`.

    Returns
    -------
    ndarray of uint16, (k' / inner, n inner)
        Each row has `inner` neighbours in k for each column; k' is k padded with zeros.
    int
        `inner`.
    """
    is_bf16, inner, group = _kernels.half_format(isa)
    k, n = matrix.shape
    groups = -(-k // group) * group // inner
    bits = np.zeros((groups * inner, n), np.uint16)
    if is_bf16:
        bits[:k] = _bf16(matrix)
    else:
        with np.errstate(over="ignore"):
            bits[:k] = matrix.astype(np.float16).view(np.uint16)
    neighbours = bits.reshape(groups, inner, n).transpose(0, 2, 1)
    return neighbours.reshape(groups, n * inner), inner


def _bf16(x: np.ndarray) -> np.ndarray:
    """The bits of `x` in bf16."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    near = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(x), bits >> 16 | 0x40, near).astype(np.uint16)
