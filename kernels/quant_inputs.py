"""Inputs of quantised workloads made from a seed, and their arguments and answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from luthier.kernels import fields, qreference
from luthier.kernels.requant import DTYPES, Requant, Residual, centred, requant_fields
from luthier.kernels.workload import QConv2d, QDepthwiseConv2d, QGemm

__all__ = ["QuantInputs", "answer", "out_shape", "quant_answer", "quant_inputs", "quant_slots"]

QWorkload = QGemm | QConv2d | QDepthwiseConv2d


@dataclass(frozen=True)
class QuantInputs:
    """The arrays of one call; x is the left side, or an NHWC map."""

    x: np.ndarray
    x_zero: int
    w: np.ndarray
    w_zero: np.ndarray
    bias: np.ndarray | None
    out: Requant


@lru_cache(maxsize=8)
def quant_inputs(w: QWorkload, seed: int) -> QuantInputs:
    """Bytes over their whole range, with zero points inside, and a scale that clips a few."""
    rng = np.random.default_rng(seed)

    def noise(dtype: Any, *shape: int) -> np.ndarray:
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)

    a = DTYPES[w.a]
    if isinstance(w, QGemm):
        x, channels, depth = noise(a, w.batch, w.m, w.k), w.n, w.k
        shape: tuple[int, ...] = (*([] if w.packed else [w.batch]), w.k, w.n)
        out_shape: tuple[int, ...] = (w.batch, w.m, w.n)
    else:
        x, (channels, groups) = noise(a, w.n, w.h, w.w, w.c), _filters(w)
        shape = (channels, w.c // groups, w.r, w.s)
        depth, out_shape = int(np.prod(shape[1:])), (w.n, w.oh, w.ow, channels)
    weights, zeros = noise(np.uint8 if w.wt == "s16" else np.int8, *shape), np.zeros(channels)
    if w.wt == "s16":
        zeros = noise(np.uint8, channels)
    elif w.wt == "s8":
        np.maximum(weights, -127, out=weights)
    bias = noise(np.int32, channels) >> 14 if w.bias else None
    scale = (0.01 + rng.random(channels) / 100) / np.sqrt(max(1, depth))
    out: dict[str, Any] = {"dtype": DTYPES[w.y], "scale": scale.astype(np.float32)}
    if w.y in ("u8", "s8"):
        out["zero"] = int(noise(DTYPES[w.y], 1)[0]) // 2
    if w.y == "f32":
        out["fbias"] = rng.standard_normal(channels, np.float32)
    if w.residual:
        value = noise(DTYPES[w.y], *out_shape)
        zero = int(value.flat[0]) // 2 if value.size else 0
        out["residual"] = Residual(value, zero, 0.71, 0.63, first=bool(zero % 2))
    if w.table:
        out["table"] = noise(np.uint8, 256)
    return QuantInputs(x, int(noise(a, 1)[0]), weights, zeros, bias, Requant(**out))


def quant_slots(w: QWorkload, i: QuantInputs, config: Mapping[str, Any]) -> dict[str, Any]:
    """All slots of a call but for the output and scratch memory."""
    gemm = isinstance(w, QGemm)
    slots = {
        **fields.workload_fields(w),
        **fields.config_fields(config),
        **requant_fields(i.out, out_shape(w)[-1]),
        ("a" if gemm else "x"): i.x,
        "a_zero": i.x_zero,
        "bias": i.bias,
        "residual": None if i.out.residual is None else i.out.residual.value,
    }
    if isinstance(w, QGemm) and not w.packed:
        slots |= {"w": i.w, "w_type": fields.dtype_number("u8" if w.wt == "s16" else "s8")}
        if w.wt == "s16":
            slots |= {"w_zero": i.w_zero.astype(np.uint8), "w_zero_ns": 1}
        return slots
    weights = centred(i.w, i.w_zero, i.w.ndim - 1 if gemm else 0)
    return {**slots, "w": fields.pack_weights(w, weights, config)}


@lru_cache(maxsize=8)
def quant_answer(w: QWorkload, seed: int) -> np.ndarray:
    """What the NumPy reference says of `quant_inputs`."""
    return answer(w, quant_inputs(w, seed))


def answer(w: QWorkload, i: QuantInputs) -> np.ndarray:
    """What the NumPy reference says."""
    if isinstance(w, QGemm):
        return qreference.gemm(i.x, i.w, i.out, i.x_zero, i.w_zero, i.bias)
    groups = _filters(w)[1]
    window = {"strides": w.strides, "pads": w.pads, "dilations": w.dilations, "groups": groups}
    return qreference.conv2d(i.x, i.w, i.out, i.x_zero, i.w_zero, i.bias, **window)


def out_shape(w: QWorkload) -> tuple[int, ...]:
    """The shape of the result, rows last but one for qgemm, NHWC for convolutions."""
    return (w.batch, w.m, w.n) if isinstance(w, QGemm) else (w.n, w.oh, w.ow, _filters(w)[0])


def _filters(w: QConv2d | QDepthwiseConv2d) -> tuple[int, int]:
    """How many filters there are, and in how many groups."""
    return (w.c, w.c) if isinstance(w, QDepthwiseConv2d) else (w.k, w.groups)
