"""Checks that the NumPy functions share: they say what was expected and what came instead."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from luthier.errors import ArgumentError
from luthier.kernels import _kernels, cpu
from luthier.kernels.workload import ACTIVATIONS

__all__ = [
    "F32",
    "SIGNATURES",
    "byte_array",
    "byte_map",
    "byte_zero",
    "check_axis",
    "check_threads",
    "feature_map",
    "float_array",
    "integer_bounds",
    "isa_number",
    "output_array",
    "positive_scale",
    "resolve_activation",
    "window",
]

F32 = np.dtype(np.float32)

SIGNATURES = 512
"""Shapes and arguments that a function on arrays remembers, with what follows from them."""

_DEFAULT_PARAMS = {"hard_sigmoid": (0.2, 0.5), "leaky_relu": (0.01, 0.0)}
"""ONNX's defaults."""


def float_array(name: str, value: np.ndarray, ranks: Sequence[int] | None = None) -> np.ndarray:
    """`value` as a contiguous array, if it is float32 and of one of the `ranks` (None: any)."""
    if not _kernels.is_dense_f32(value):
        value = np.asarray(value)
        if value.dtype != F32:
            raise ArgumentError(f"{name}: expected float32, got {value.dtype}")
        value = np.require(value, requirements=["C", "A"])
    if ranks is not None and value.ndim not in ranks:
        expected = " or ".join(map(str, ranks))
        raise ArgumentError(f"{name}: expected rank {expected}, got {value.ndim}")
    return value


def feature_map(name: str, value: np.ndarray, layout: str) -> np.ndarray:
    """A float32 feature map in NHWC, from `layout` "NCHW" or "NHWC"."""
    return _nhwc(float_array(name, value, (4,)), layout)


def _nhwc(value: np.ndarray, layout: str) -> np.ndarray:
    if layout not in ("NCHW", "NHWC"):
        raise ArgumentError(f"layout: expected 'NCHW' or 'NHWC', got {layout!r}")
    return value if layout == "NHWC" else np.ascontiguousarray(value.transpose(0, 2, 3, 1))


def byte_array(name: str, value: np.ndarray, rank: int | None = None) -> np.ndarray:
    """`value` as a contiguous array, if it is uint8 or int8, and of that rank."""
    value = np.asarray(value)
    if value.dtype not in (np.uint8, np.int8):
        raise ArgumentError(f"{name}: expected uint8 or int8, got {value.dtype}")
    if rank is not None and value.ndim != rank:
        raise ArgumentError(f"{name}: expected rank {rank}, got {value.ndim}")
    return np.require(value, requirements=["C", "A"])


def positive_scale(name: str, value: float) -> float:
    """`value`, if it is a positive finite float32."""
    scale = float(np.float32(value))
    if not (math.isfinite(scale) and scale > 0):
        raise ArgumentError(f"{name}: expected a positive number, got {value}")
    return scale


def byte_zero(name: str, value: int, dtype: Any) -> int:
    """`value`, if the type of bytes has it."""
    info = np.iinfo(dtype)
    if not info.min <= int(value) <= info.max:
        raise ArgumentError(f"{name}: expected one of {np.dtype(dtype)}, got {value}")
    return int(value)


def integer_bounds(low: int | None, high: int | None, dtype: Any) -> tuple[int, int]:
    """Bounds of integers: those of the type where they are None."""
    info = np.iinfo(dtype)
    low, high = info.min if low is None else low, info.max if high is None else high
    if not info.min <= low <= high <= info.max:
        raise ArgumentError(
            f"low, high: expected bounds of {np.dtype(dtype)}, got {low} and {high}"
        )
    return low, high


def byte_map(name: str, value: np.ndarray, layout: str) -> np.ndarray:
    """A feature map of bytes in NHWC, from `layout` "NCHW" or "NHWC"."""
    return _nhwc(byte_array(name, value, 4), layout)


def resolve_activation(
    name: str | None, params: Sequence[float] | None
) -> tuple[str, tuple[float, float]]:
    """The activation's name, and its two parameters with ONNX's defaults."""
    if name is None and params is None:
        return "none", (0.0, 0.0)
    name = name or "none"
    if name not in ACTIVATIONS:
        raise ArgumentError(f"activation: expected one of {ACTIVATIONS}, got {name!r}")
    if name == "clip" and params is None:
        raise ArgumentError("activation 'clip' needs activation_params=(low, high)")
    try:
        low, high = params if params is not None else _DEFAULT_PARAMS.get(name, (0.0, 0.0))
        return name, (float(low), float(high))
    except (TypeError, ValueError):
        raise ArgumentError(f"activation_params: expected two floats, got {params!r}") from None


def window(strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int]) -> dict:
    """The three as tuples of two, four and two ints."""
    found = {}
    for name, values, count, least in (
        ("strides", strides, 2, 1),
        ("pads", pads, 4, 0),
        ("dilations", dilations, 2, 1),
    ):
        try:
            found[name] = tuple(map(index, values))
        except TypeError:
            found[name] = ()
        if len(found[name]) != count or min(found[name]) < least:
            raise ArgumentError(f"{name}: expected {count} ints of at least {least}, got {values}")
    return found


def check_axis(axis: int, rank: int) -> int:
    """`axis` counted from the front."""
    if not -rank <= axis < rank:
        raise ArgumentError(f"axis: expected one of a rank-{rank} array, got {axis}")
    return axis % rank


def check_threads(num_threads: int) -> int:
    """`num_threads`, if it is at least 1."""
    if num_threads < 1:
        raise ArgumentError(f"num_threads: expected at least 1, got {num_threads}")
    return num_threads


def isa_number(isa: str | None) -> int:
    """The number of ``enum lt_isa``; None means the best that may be used."""
    if isa is None:
        isa = cpu.isas()[-1]
    elif isa not in _kernels.cpu_isas():
        raise ArgumentError(f"isa: this CPU has {_kernels.cpu_isas()}, not {isa!r}")
    return _kernels.ISA_NAMES.index(isa)


def output_array(out: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """`out`, if it is a contiguous array of this shape and dtype; a new array if it is None."""
    if out is None:
        try:
            return np.empty(shape, dtype)
        except (MemoryError, ValueError):
            raise ArgumentError(f"no memory for a result of {list(shape)}") from None
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ArgumentError(
            f"out: expected contiguous {np.dtype(dtype)} {list(shape)}, "
            f"got {out.dtype} {list(out.shape)}"
        )
    return out
