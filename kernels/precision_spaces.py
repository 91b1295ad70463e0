"""Search spaces of precisions: whether a product of bytes is computed as one of float32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from luthier.kernels import _kernels, quant_spaces, spaces
from luthier.kernels.precision import PRECISIONS, elements_read
from luthier.kernels.quant_inputs import out_shape
from luthier.kernels.workload import Precision, QDepthwiseConv2d
from luthier.limits import MAX_ERROR
from luthier.target import Target

__all__ = ["candidates", "default_config", "estimates", "is_open"]

Config = dict[str, Any]

HOPELESS = 2.0
"""A precision that is estimated to take so many times the other's time is not worth a trial."""

DOT_PRODUCTS = ("avxvnni", "avx512vnni", "neondot", "neoni8mm")
"""Instruction sets whose products of bytes have three to four times the rate of float32."""


def candidates(w: Precision) -> Iterator[Config]:
    for precision in PRECISIONS:
        yield {"precision": precision}


def default_config(w: Precision, target: Target, max_error: float = MAX_ERROR) -> Config:
    """int8 where bytes have dot products, else what is estimated to be faster."""
    cycles = estimates(w, target, max_error)
    dots = quant_spaces.int8_isas(target, w.integer)[-1] in DOT_PRODUCTS
    floats = not dots and cycles is not None and cycles["f32"] < cycles["int8"]
    return {"precision": "f32" if floats else "int8"}


def is_open(w: Precision, target: Target) -> bool:
    """Whether the estimates are so close, or so vague, that measuring can tell anything new."""
    cycles = estimates(w, target)
    return cycles is None or max(cycles.values()) < HOPELESS * min(cycles.values())


def estimates(
    w: Precision, target: Target, max_error: float = MAX_ERROR
) -> dict[str, float] | None:
    """Rough cycles by precision, conversions included; None for depthwise convolutions, which
    have no cost model."""
    if isinstance(w.integer, QDepthwiseConv2d):
        return None
    integer = quant_spaces.default_config(w.integer, target)
    real = spaces.default_config(w.real, target, max_error)
    return {
        "int8": quant_spaces._cycles(w.integer, integer, target),
        "f32": spaces._cycles(w.real, real, target) + _conversion_cycles(w, target),
    }


def _conversion_cycles(w: Precision, target: Target) -> float:
    """Per vector about two cycles from bytes and four to bytes; then a sum and a table."""
    q, lanes = w.integer, _kernels.isa_lanes(target.isa)
    read, written = elements_read(q), math.prod(out_shape(q))
    if q.y == "f32":
        return 2 * read / lanes
    return 2 * read / lanes + (4 + 6 * q.residual) * written / lanes + q.table * written
