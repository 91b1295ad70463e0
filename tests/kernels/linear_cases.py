"""What the tests of gemm and the convolutions share.

Inputs are small integers, whose sums are exact in float32 in any order: answers must be equal, so
that no error of layout can hide in a tolerance. Only the larger tiles of Winograd round on the way;
their answers must be next to the right whole numbers. Gaps between rows hold NaN; in the output, a
mark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from guard import guarded, guarded_copy

from luthier.kernels import DepthwiseConv2d, Gemm, Workload, _kernels, fields, reference

__all__ = [
    "EXACT",
    "Inputs",
    "answer",
    "assert_exact",
    "compute",
    "conv_config",
    "depthwise_config",
    "gemm_config",
    "gemm_variants",
    "integers",
    "is_right",
    "make_inputs",
    "noise",
    "output_shape",
]

ROUNDING = {"winograd4": 0.01, "winograd6": 0.1}
"""By how much the answers of algorithms that round are off on small integers, at most."""

MARK = np.float32(-7777)
"""What lies between the rows of an output, before and after."""

EXACT = {
    "none": (0.0, 0.0),
    "relu": (0.0, 0.0),
    "clip": (-2.0, 5.0),
    "hard_sigmoid": (0.25, 0.5),
    "leaky_relu": (0.5, 0.0),
}
"""Activations, with parameters, that are exact on small integers."""


@dataclass(frozen=True)
class Inputs:
    """The arrays of one call; x is the left side, or an NHWC map."""

    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray | None
    residual: np.ndarray | None


def integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Float32 integers from -3 to 3."""
    return rng.integers(-3, 4, shape).astype(np.float32)


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Normal float32 values."""
    return rng.standard_normal(shape, np.float32)


def make_inputs(workload: Workload, seed: int = 0, kind=integers) -> Inputs:
    """Inputs of a workload from `kind`, `integers` or `noise`."""
    rng, w = np.random.default_rng(seed), workload
    if isinstance(w, Gemm):
        x = kind(rng, w.batch, w.m, w.k)
        weights = kind(rng, *([] if w.packed else [w.batch]), w.k, w.n)
    else:
        depthwise = isinstance(w, DepthwiseConv2d)
        x = kind(rng, w.n, w.h, w.w, w.c)
        weights = kind(rng, *((w.c, 1) if depthwise else (w.k, w.c // w.groups)), w.r, w.s)
    shape = output_shape(w)
    bias = kind(rng, shape[-1]) if w.bias else None
    return Inputs(x, weights, bias, kind(rng, *shape) if w.residual else None)


def output_shape(w: Workload) -> tuple[int, ...]:
    """The shape of the result, rows last but one for gemm, NHWC for the others."""
    if isinstance(w, Gemm):
        return (w.batch, w.m, w.n)
    return (w.n, w.oh, w.ow, w.c if isinstance(w, DepthwiseConv2d) else w.k)


def answer(workload: Workload, i: Inputs, params: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """What the NumPy reference says, in float64."""
    w, epilogue = workload, {"act": workload.activation, "params": params}
    if isinstance(w, Gemm):
        return reference.gemm(i.x, i.w, i.bias, i.residual, **epilogue)
    window = {"strides": w.strides, "pads": w.pads, "dilations": w.dilations, **epilogue}
    if isinstance(w, DepthwiseConv2d):
        return reference.depthwise_conv2d(i.x, i.w, i.bias, i.residual, **window)
    return reference.conv2d(i.x, i.w, i.bias, i.residual, groups=w.groups, **window)


def as_rows(array: np.ndarray) -> np.ndarray:
    """All axes but the last as one."""
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def spread(
    rows: np.ndarray, distance: int, fill: float, side: str
) -> tuple[np.ndarray, np.ndarray]:
    """Memory beside a forbidden page with `rows` in it, `distance` apart, and the view of them."""
    count, width = rows.shape
    memory = guarded(max(0, (count - 1) * distance + width), np.float32, side)
    memory[...] = fill
    view = np.lib.stride_tricks.as_strided(memory, rows.shape, (4 * distance, 4))
    view[...] = rows
    return memory, view


def compute(
    workload: Workload,
    config: dict,
    i: Inputs,
    params: tuple[float, float] = (0.0, 0.0),
    gaps: tuple[int, int, int] = (0, 0, 0),
    side: str = "end",
) -> np.ndarray:
    """Run the C operator on guarded arrays, whose rows (x, y, residual) have `gaps` between them.

    Asserts that nothing but the output was written.
    """
    shape = output_shape(workload)
    x, empty = as_rows(i.x), as_rows(np.full(shape, MARK))
    dx, dy, dr = x.shape[1] + gaps[0], shape[-1] + gaps[1], shape[-1] + gaps[2]
    y, result = spread(empty, dy, MARK, side)
    slots = {
        **fields.workload_fields(workload),
        **fields.epilogue_fields(workload.activation, params),
        **fields.config_fields(config),
        "y": y,
        "ldy": dy,
        "ldr": dr,
    }
    memory = spread(x, dx, np.nan, side)[0]
    if isinstance(workload, Gemm):
        slots |= {"a": memory, "lda": dx, "stride_a": workload.m * dx}
        slots |= {"stride_y": workload.m * dy, "stride_r": workload.m * dr}
    else:
        slots |= {"x": memory, "ldx": dx}
    plain = isinstance(workload, Gemm) and not workload.packed
    slots["w"] = guarded_copy(i.w if plain else fields.pack_weights(workload, i.w, config), side)
    if i.bias is not None:
        slots["bias"] = guarded_copy(i.bias, side)
    if i.residual is not None:
        slots["residual"] = spread(as_rows(i.residual), dr, np.nan, side)[0]
    size = _kernels.work_size(workload.op, slots)
    if size:
        slots["work"] = guarded((size,), np.uint8, side)
        slots["work"][...] = 0xFF  # NaN
    _kernels.call(workload.op, slots)
    assert count_marks(y) - count_marks(result) == y.size - result.size, "wrote between rows"
    return result.reshape(shape)


def count_marks(array: np.ndarray) -> int:
    """How many elements hold the mark."""
    return int((array == MARK).sum())


def assert_exact(workload: Workload, config: dict, seed: int = 0, params=(0.0, 0.0), **how) -> None:
    """The kernel's answer on integers is the reference's, bit for bit where it does not round."""
    i = make_inputs(workload, seed)
    y, expected = compute(workload, config, i, params, **how), answer(workload, i, params)
    wrong = np.argwhere(~is_right(y, expected, config))
    if wrong.size:
        at = tuple(wrong[0])
        raise AssertionError(
            f"{workload.key} {config}: {len(wrong)} of {y.size} differ, first at {at}: "
            f"{y[at]}, expected {expected[at]}"
        )


def is_right(y: np.ndarray, expected: np.ndarray, config: dict) -> np.ndarray:
    """Which answers of a config on integers are right."""
    return abs(y - expected) <= ROUNDING.get(config.get("algo", ""), 0.0)


def gemm_config(isa: str, **knobs: int) -> dict:
    """A config of gemm: one block of everything unless knobs say otherwise."""
    base = {
        "isa": isa,
        "mr": 4,
        "nv": 1,
        "ku": 1,
        "prefetch": 0,
        "mc": 1000,
        "nc": 1000,
        "kc": 1000,
    }
    return {**base, "pack_a": 0, "strassen": 0, "split_n": 0, "threads": 1, **knobs}


def conv_config(algo: str, isa: str, **knobs: int) -> dict:
    """A config of conv2d: one block of everything unless knobs say otherwise."""
    base = gemm_config(isa)
    del base["pack_a"], base["strassen"]
    return {"algo": algo, **base, **knobs}


def depthwise_config(isa: str, **knobs: int) -> dict:
    """A config of depthwise_conv2d: the general kernel unless knobs say otherwise."""
    base = {"special": 0, "owt": 1, "cv": 1, "isa": isa, "cb": 1000, "threads": 1}
    return {**base, **knobs}


def gemm_variants(isa: str) -> list[tuple[int, int, int]]:
    """Every micro-kernel (mr, nv, ku) that is built in."""
    every = ((mr, nv, ku) for nv in range(1, 5) for ku in range(1, 5) for mr in range(1, 15))
    return [v for v in every if _kernels.has_gemm_variant(isa, *v)]
