"""What the tests of kernels share: instruction sets, sizes, extreme values, comparison."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from guard import guarded, guarded_copy

from luthier.kernels import _kernels

ISAS = _kernels.cpu_isas()
"""Every instruction set of this CPU."""

SIDES = ("end", "start")
"""Where the forbidden page of `guard.guarded` lies."""

EXTREMES = np.array(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-45,
        -1e-45,
        1.1e-38,
        -1.1e-38,
        3.4e38,
        -3.4e38,
        0.5,
        -0.5,
        1.5,
        -1.5,
        2.5,
        1e-20,
        -1e20,
        88.7,
        88.8,
        -87.3,
        -104.0,
        8388609.0,
    ],
    np.float32,
)
"""Zeros, infinities, NaN, denormals, ties, and the ends of the range of exp."""


def lanes(isa: str) -> int:
    """Floats in a vector."""
    return _kernels.isa_lanes(isa)


def sizes(isa: str) -> list[int]:
    """Nothing, one element, around one vector, around the unrolled loop, and a prime."""
    v = lanes(isa)
    return [0, 1, v - 1, v, v + 1, 4 * v + 1, 8 * v - 1, 97]


def number(isa: str) -> int:
    """The slot `isa` of an operator."""
    return _kernels.ISA_NAMES.index(isa)


def normal(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """Reproducible float32 noise."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def assert_close(
    actual: np.ndarray, expected: np.ndarray, ulps: float = 0, absolute: float = 0
) -> None:
    """`actual` differs from the float64 `expected` by at most `ulps` float32 units in the last
    place plus `absolute`; infinities and NaN are where they should be.
    """
    assert actual.shape == expected.shape
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = expected.astype(np.float32)
        unit = np.spacing(np.abs(rounded)).astype(np.float64)
        error = np.abs(actual.astype(np.float64) - expected)
        # Half a unit is the rounding of `expected` itself.
        fine = (error <= (ulps + 0.5) * unit + absolute) | (actual == rounded)
    fine |= np.isnan(actual) & np.isnan(rounded)
    if not fine.all():
        worst = np.argwhere(~fine)[0]
        at = tuple(worst)
        raise AssertionError(
            f"{(~fine).sum()} of {fine.size} differ, first at {at}: {actual[at]!r}, "
            f"expected {expected[at]!r}"
        )


def assert_same_bits(arrays: list[np.ndarray]) -> None:
    """All arrays are equal to the last bit."""
    assert len({a.tobytes() for a in arrays}) == 1


def run_guarded(
    op: str,
    fields: dict,
    inputs: dict[str, np.ndarray],
    y_shape: tuple[int, ...],
    y_dtype,
    side: str,
) -> np.ndarray:
    """Run a C operator on arrays that lie beside a forbidden page, and return its y."""
    y = guarded(y_shape, y_dtype, side)
    arrays = {name: guarded_copy(value, side) for name, value in inputs.items()}
    fields = {**fields, **arrays, "y": y}
    size = _kernels.work_size(op, fields)
    if size:
        fields["work"] = guarded((size,), np.uint8, side)
    _kernels.call(op, fields)
    return y


def assert_thread_independent(compute: Callable[[int], np.ndarray]) -> None:
    """compute(num_threads) gives the same bits for 1, 2 and 3 threads."""
    assert_same_bits([compute(threads) for threads in (1, 2, 3)])
