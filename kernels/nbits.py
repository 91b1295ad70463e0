"""Products with weights of four bits."""

from __future__ import annotations

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels
from luthier.kernels.checks import check_threads, float_array, isa_number

__all__ = ["gemm_nbits", "pack_nbits"]

_COLUMNS, _DEPTH = 16, 8
"""Columns of a panel and k in a word: LT_NBITS_COLS and LT_NBITS_K."""


def gemm_nbits(
    a: np.ndarray,
    q: np.ndarray,
    scale: np.ndarray,
    zero: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    *,
    block: int,
    isa: str | None = None,
    num_threads: int = 1,
) -> np.ndarray:
    """Matrix product with weights of at most four bits: ``a @ w.T + bias``.

    ``w[n, k] = scale[n, k // block] * (q[n, k] - zero[n, k // block])``

    Parameters
    ----------
    a : ndarray of float32, (m, k)
    q : ndarray of uint8, (n, k)
        Values below 16.
    scale : ndarray of float32, (n, ceil(k / block))
    zero : ndarray of float32, the shape of scale, optional
        8 everywhere if left out.
    bias : ndarray of float32, (n,), optional
    block : int
        A multiple of 8.
    isa : str, optional
        The best one if left out.
    num_threads : int

    Returns
    -------
    ndarray of float32, (m, n)

    Raises
    ------
    ArgumentError
        A shape, dtype or value does not fit.

    Notes
    -----
    The operator MatMulNBits of ONNX Runtime. Weights are unpacked in registers, block by block, as
    in Frantar et al., MARLIN: Mixed-Precision Auto-Regressive Parallel Inference (2024); for many
    rows, strip by strip into scratch.

    Examples
    --------
    >>> q, scale = np.full((2, 16), 9, np.uint8), np.full((2, 1), 0.5, np.float32)
    >>> gemm_nbits(np.ones((1, 16), np.float32), q, scale, block=16)
    array([[8., 8.]], dtype=float32)
    """
    a = float_array("a", a, (2,))
    w, scales, zeros = pack_nbits(q, scale, zero, block)
    (m, k), n = a.shape, q.shape[0]
    if k != q.shape[1]:
        raise ArgumentError(f"gemm_nbits: a {list(a.shape)} and q {list(q.shape)} do not fit")
    if bias is not None and float_array("bias", bias).shape != (n,):
        raise ArgumentError(f"bias: expected [{n}], got {list(bias.shape)}")
    y = np.empty((m, n), np.float32)
    slots = {
        **{"a": a, "w": w, "scale": scales, "zero": zeros, "y": y},
        "bias": None if bias is None else float_array("bias", bias),
        **{"m": m, "n": n, "k": k, "block": block, "lda": k, "ldy": n},
        "isa": isa_number(isa),
        "threads": check_threads(num_threads),
    }
    _kernels.call("gemm_nbits", slots)
    return y


def pack_nbits(
    q: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Weights, scales and zero points as the operator gemm_nbits reads them.

    Parameters
    ----------
    q, scale, zero, block
        As in `gemm_nbits`.

    Returns
    -------
    w : ndarray of uint32, (panels, words, 16)
    scale : ndarray of float32, (panels, blocks, 16)
    zero : ndarray of float32, (panels, blocks, 16), or None

    Raises
    ------
    ArgumentError
        A shape, dtype or value does not fit.
    """
    if q.ndim != 2 or q.dtype != np.uint8 or q.max(initial=0) > 15:
        raise ArgumentError("q: expected a matrix of uint8 below 16")
    if block < _DEPTH or block % _DEPTH:
        raise ArgumentError(f"block: expected a multiple of {_DEPTH}, got {block}")
    shape = (q.shape[0], -(-q.shape[1] // block))
    for name, value in (("scale", scale), ("zero", zero)):
        if value is not None and float_array(name, value).shape != shape:
            raise ArgumentError(f"{name}: expected {list(shape)}, got {list(value.shape)}")
    whole = np.pad(q, ((0, 0), (0, -q.shape[1] % _DEPTH)), constant_values=8) ^ 8
    # Two to a byte, the first lower: little-endian words hold them in order.
    halves = np.ascontiguousarray(whole[:, ::2] | whole[:, 1::2] << 4)
    w = _panels(halves.view("<u4"))
    return w, _panels(scale), None if zero is None else _panels(zero - np.float32(8))


def _panels(rows: np.ndarray) -> np.ndarray:
    """(n, x) as (panels, x, 16)."""
    panels = -(-rows.shape[0] // _COLUMNS)
    filled = np.pad(rows, ((0, -rows.shape[0] % _COLUMNS), (0, 0)))
    shape = panels, _COLUMNS, rows.shape[1]
    return np.ascontiguousarray(filled.reshape(shape).transpose(0, 2, 1))
