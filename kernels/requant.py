"""What happens to the sums of a quantised product: the Python side of ``LT_QUANT_FIELDS``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels
from luthier.kernels.checks import integer_bounds

__all__ = [
    "BLOCK",
    "DTYPES",
    "Requant",
    "Residual",
    "centred",
    "pack_panels",
    "pack_taps",
    "requant_fields",
    "weight_type",
]

DTYPES = {"f32": np.float32, "s8": np.int8, "u8": np.uint8, "s32": np.int32}
"""Types of a workload's key."""


@dataclass(frozen=True)
class Residual:
    """ONNX's quantised addition of the product's bytes and `value`.

    The sum of ``(q - zero_of_q) * own_ratio`` and ``(value - zero) * ratio``, rounded, plus
    `sum_zero`, clipped; in the fused float32 operations of docs/adr/0005.

    Attributes
    ----------
    value : ndarray of the output's dtype and shape
    zero : int
        Of `value`.
    own_ratio, ratio : float
        Scales of the product and of `value`, divided by that of the sum.
    sum_zero : int
    low, high : int, optional
        Bounds of the sum; those of the type if left out.
    first : bool
        Whether `value` is the first operand of the addition, which changes last bits.
    """

    value: np.ndarray
    zero: int
    own_ratio: float
    ratio: float
    sum_zero: int = 0
    low: int | None = None
    high: int | None = None
    first: bool = False


@dataclass(frozen=True)
class Requant:
    """From sums ``acc`` of int32 to an output.

    Attributes
    ----------
    scale : float or ndarray of float32, (n,), optional
        One for all columns, or one a column. Not needed for int32.
    dtype : type
        uint8 or int8: ``clip(rint(float(acc) * scale) + zero, low, high)``, then the residual, then
        the table. float32: ``float(acc) * (scale * a_scale) + fbias``. int32: ``acc``.
    zero : int
    low, high : int, optional
        Bounds of a byte; those of the type if left out.
    fbias : ndarray of float32, (n,), optional
    a_scale : ndarray of one float32, optional
    residual : Residual, optional
    table : ndarray of 256 bytes, optional
        Indexed by the byte's bits.
    """

    scale: Any = None
    dtype: Any = np.uint8
    zero: int = 0
    low: int | None = None
    high: int | None = None
    fbias: np.ndarray | None = None
    a_scale: np.ndarray | None = None
    residual: Residual | None = None
    table: np.ndarray | None = None

    @property
    def type(self) -> str:
        """The dtype's name in a workload's key."""
        for name, dtype in DTYPES.items():
            if np.dtype(self.dtype) == dtype:
                return name
        raise ArgumentError(f"dtype: expected uint8, int8, int32 or float32, got {self.dtype}")


def requant_fields(out: Requant, columns: int) -> dict[str, Any]:
    """The slots of an epilogue, but for the bias.

    Raises
    ------
    ArgumentError
        A shape, dtype or bound does not fit.
    """
    dtype = np.dtype(out.dtype)
    fields: dict[str, Any] = {}
    if out.type != "s32":
        fields["scale"] = _per_column("scale", out.scale, columns)
    if out.fbias is not None:
        fields["fbias"] = _per_column("fbias", out.fbias, columns)
    if out.a_scale is not None:
        fields["a_scale"] = _per_column("a_scale", out.a_scale, 1)
    if dtype.itemsize > 1:
        if out.residual is not None or out.table is not None:
            raise ArgumentError(f"a residual or table needs an output of bytes, not of {dtype}")
        return fields
    low, high = integer_bounds(out.low, out.high, dtype)
    fields |= {"y_zero": out.zero, "y_min": low, "y_max": high}
    if out.residual is not None:
        r = out.residual
        low, high = integer_bounds(r.low, r.high, dtype)
        fields |= {"y_ratio": r.own_ratio, "r_ratio": r.ratio, "r_zero": r.zero, "r_first": r.first}
        fields |= {"sum_zero": r.sum_zero, "sum_min": low, "sum_max": high}
    if out.table is not None:
        table = np.ascontiguousarray(out.table)
        if table.shape != (256,) or table.itemsize != 1:
            raise ArgumentError(f"table: expected 256 bytes, got {table.dtype}{list(table.shape)}")
        fields["table"] = table
    return fields


def _per_column(name: str, value: Any, columns: int) -> np.ndarray:
    if value is None:
        raise ArgumentError(f"{name}: expected a number, or {columns}, got none")
    value = np.asarray(value, np.float32)
    if value.size not in (1, columns) or value.ndim > 1:
        raise ArgumentError(f"{name}: expected a number, or {columns}, got {list(value.shape)}")
    if not np.isfinite(value).all():
        raise ArgumentError(f"{name}: expected finite numbers")
    return np.ascontiguousarray(np.broadcast_to(value.ravel(), (columns,)))


def centred(w: np.ndarray, w_zero: Any, axis: int) -> np.ndarray:
    """Weights less their zero points, as int16: the form that `fields.pack_weights` takes.

    Parameters
    ----------
    w : ndarray of int8 or uint8
    w_zero : int or ndarray
        One for all, or one for each index of `axis`.
    axis : int
        The axis of output columns.

    Returns
    -------
    ndarray of int16

    Examples
    --------
    >>> centred(np.array([[0, 200]], np.uint8), [0, 100], 1)
    array([[  0, 100]], dtype=int16)
    """
    zero = np.asarray(w_zero, np.int16)
    if zero.ndim > 1 or zero.size not in (1, w.shape[axis]):
        raise ArgumentError(f"w_zero: expected one or {w.shape[axis]}, got {list(zero.shape)}")
    shape = [1] * w.ndim
    shape[axis] = zero.size
    return w.astype(np.int16) - zero.reshape(shape)


def weight_type(centred_weights: np.ndarray) -> str:
    """The type `wt` of a workload that these weights, less their zero points, need."""
    low, high = int(centred_weights.min(initial=0)), int(centred_weights.max(initial=0))
    if low < -128 or high > 127:
        return "s16"
    return "s8m" if low == -128 else "s8"


def pack_panels(runs: np.ndarray, config: Any) -> np.ndarray:
    """Centred weights (segments, k, n) as the panels of ``lt_qformat``, with the columns' sums."""
    lanes, group, inner, size, _ = _kernels.int8_format(config["isa"])
    segments, k, n = runs.shape
    padded = np.zeros((segments, -(-k // group) * group, -(-n // lanes) * lanes), f"<i{size}")
    padded[:, :k, :n] = runs
    rows = padded.reshape(segments * padded.shape[1], padded.shape[2])
    sums = rows.sum(0, dtype=np.int32)
    width = lanes * config["nv"]
    parts = []
    for start in range(0, rows.shape[1], width):
        panel = rows[:, start : start + width]
        split = (len(rows) // group, group // inner, inner, panel.shape[1] // lanes, lanes)
        ordered = np.ascontiguousarray(panel.reshape(split).transpose(0, 3, 1, 4, 2))
        parts += [sums[start : start + width].view(np.uint8), ordered.ravel().view(np.uint8)]
    return np.concatenate([np.empty(0, np.uint8), *parts])


BLOCK = 32
"""Channels in a register tile of qdepthwise_conv2d: LT_QDW_BLOCK."""


def pack_taps(taps: np.ndarray, stride: int, isa: str) -> np.ndarray:
    """Centred weights (c, kh, kw) in the order of ``qdwconv.h``, after the channels' int32 sums."""
    c = len(taps)
    starts = [min(start, c - BLOCK) for start in range(0, c, BLOCK)]
    if isa == "neon":
        blocks = np.stack([taps[start : start + BLOCK] for start in starts])
        ordered = np.ascontiguousarray(blocks.transpose(0, 2, 3, 1).astype("<i2"))
    else:
        ordered = _pack_groups(taps, starts, stride, isa)
    sums = taps.sum((1, 2), dtype=np.int32)
    return np.concatenate([sums.view(np.uint8), ordered.view(np.uint8).ravel()])


def _pack_groups(taps: np.ndarray, starts: list[int], stride: int, isa: str) -> np.ndarray:
    """Blocks of channels whose taps are multiplied in groups."""
    c, kh, kw = taps.shape
    group, dtype = (4, "<i1") if isa.endswith("vnni") else (2, "<i2")
    groups, parities = (kw + group) // group, 2 if stride == 1 else 1
    places = np.zeros((c, kh, parities, groups * group), dtype)
    for parity in range(parities):
        places[:, :, parity, parity : parity + kw] = taps
    blocks = np.stack([places[start : start + BLOCK] for start in starts])
    # channel 16 h + 4 v + i, group g and place j: (block, kh, parity, g, v, h, i, j)
    split = blocks.reshape(-1, 2, 4, 4, kh, parities, groups, group)
    return np.ascontiguousarray(split.transpose(0, 4, 5, 6, 2, 1, 3, 7))
