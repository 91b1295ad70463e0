"""What the tests of qgemm and qconv2d share: answers must be equal to the bit."""

from __future__ import annotations

import numpy as np
from guard import guarded, guarded_copy
from linear_cases import as_rows

from luthier.kernels import QConv2d, QGemm, _kernels
from luthier.kernels.quant_inputs import (
    QuantInputs,
    answer,
    out_shape,
    quant_inputs,
    quant_slots,
)

__all__ = ["INT8_ISAS", "assert_bits", "exact_types", "qconv_config", "qgemm_config", "variants"]

INT8_ISAS = _kernels.cpu_int8_isas()
"""Every instruction set of this CPU that has int8 kernels."""

POINTERS = ("bias", "scale", "fbias", "table", "w_zero")


def spread(rows: np.ndarray, distance: int, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Memory beside a forbidden page with `rows` in it, `distance` apart, and the view of them."""
    count, width = rows.shape
    memory = guarded(max(0, (count - 1) * distance + width), rows.dtype, side)
    memory.view(np.uint8)[...] = 0x5A
    size = rows.itemsize
    view = np.lib.stride_tricks.as_strided(memory, rows.shape, (size * distance, size))
    view[...] = rows
    return memory, view


def compute(
    w: QGemm | QConv2d,
    config: dict,
    i: QuantInputs,
    gaps: tuple[int, int, int] = (0, 0, 0),
    side: str = "end",
    **extra,
) -> np.ndarray:
    """Run the C operator on guarded arrays, whose rows (x, y, residual) have `gaps` between them.

    Asserts that nothing but the output was written.
    """
    slots = quant_slots(w, i, config)
    shape, rows = out_shape(w), as_rows(i.x)
    dx, dy, dr = rows.shape[1] + gaps[0], shape[-1] + gaps[1], shape[-1] + gaps[2]
    y, result = spread(as_rows(np.full(shape, 0x5A, i.out.dtype)), dy, side)
    x = spread(rows, dx, side)[0]
    slots |= {"y": y, "ldy": dy, "ldr": dr, "w": guarded_copy(slots["w"], side)}
    if isinstance(w, QGemm):
        slots |= {"a": x, "lda": dx, "stride_a": w.m * dx}
        slots |= {"stride_y": w.m * dy, "stride_r": w.m * dr}
    else:
        slots |= {"x": x, "ldx": dx}
    for name in POINTERS:
        if slots.get(name) is not None:
            slots[name] = guarded_copy(slots[name], side)
    if i.out.residual is not None:
        slots["residual"] = spread(as_rows(i.out.residual.value), dr, side)[0]
    slots |= extra
    size = _kernels.work_size(w.op, slots)
    if size:
        slots["work"] = guarded((size,), np.uint8, side)
        slots["work"][...] = 0xA5
    _kernels.call(w.op, slots)
    got = result.copy().reshape(shape)
    result[...] = np.full(1, 0x5A5A5A5A).astype(np.uint32).view(result.dtype)[0]
    assert (y.view(np.uint8) == 0x5A).all(), "wrote between rows"
    return got


def assert_bits(w: QGemm | QConv2d, config: dict, i: QuantInputs | None = None, **how) -> None:
    """The kernel's answer is the reference's, bit for bit."""
    i = i or quant_inputs(w, 0)
    got, expected = compute(w, config, i, **how), answer(w, i)
    assert got.dtype == expected.dtype
    wrong = np.argwhere(got.view(f"u{got.itemsize}") != expected.view(f"u{got.itemsize}"))
    if wrong.size:
        at = tuple(wrong[0])
        raise AssertionError(
            f"{w.key} {config}: {len(wrong)} of {got.size} differ, first at {at}: {got[at]},"
            f" expected {expected[at]}"
        )


def exact_types(isa: str) -> tuple[str, ...]:
    """The types of weights that the kernels of `isa` are exact for."""
    if _kernels.int8_format(isa)[3] == 2:
        return ("s8", "s8m", "s16")
    return ("s8",) if isa == "neonmull" else ("s8", "s8m")


def plain_types(isa: str) -> tuple[str, ...]:
    """Those of weights that are packed at run time."""
    return tuple(t for t in exact_types(isa) if t != "s8")


def variants(isa: str) -> list[tuple[int, int]]:
    """Every micro-kernel (mr, nv) that is built in."""
    every = ((mr, nv) for nv in range(1, 5) for mr in range(1, 15))
    return [v for v in every if _kernels.has_qgemm_variant(isa, *v)]


def qgemm_config(isa: str, **knobs: int) -> dict:
    """A config of qgemm: one block of everything unless knobs say otherwise."""
    base = {"isa": isa, "mr": 4, "nv": 1, "mc": 1000, "nc": 1000, "pack_a": 0}
    return {**base, "split_n": 0, "threads": 1, **knobs}


def qconv_config(algo: str, isa: str, **knobs: int) -> dict:
    """A config of qconv2d: one block of everything unless knobs say otherwise."""
    base = qgemm_config(isa)
    del base["pack_a"]
    return {"algo": algo, **base, **knobs}
