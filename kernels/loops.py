"""Loop nests over strided arrays, as the operators binary, where and copy take them."""

from __future__ import annotations

from collections.abc import Mapping

from luthier.errors import ArgumentError

__all__ = ["MAX_LOOPS", "broadcast_strides", "dense_strides", "loop_slots"]

MAX_LOOPS = 6
"""Loops of a C operator: the slots d0 to d5."""


def dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a dense array."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def broadcast_strides(shape: tuple[int, ...], target: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements of a dense array of `shape` that is broadcast to `target`."""
    own = (1,) * (len(target) - len(shape)) + tuple(shape)
    return tuple(0 if n == 1 else s for n, s in zip(own, dense_strides(own), strict=True))


def loop_slots(shape: tuple[int, ...], strides: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Slots d0..d5 and, for each array, its strides; neighbouring axes are joined where all allow.

    Parameters
    ----------
    shape : tuple of int
    strides : mapping of str to tuple of int
        The slots' letter -> strides in elements, 0 where the array is broadcast.

    Raises
    ------
    ArgumentError
        More than `MAX_LOOPS` loops remain.

    Examples
    --------
    >>> slots = loop_slots((2, 3, 4), {"x": (12, 4, 1), "y": (24, 8, 2)})
    >>> slots["d5"], slots["x5"], slots["y5"]
    (24, 1, 2)
    """
    loops: list[list[int]] = []
    for i, size in enumerate(shape):
        if size == 1:
            continue
        here = [size, *(s[i] for s in strides.values())]
        if loops and all(o == n * size for o, n in zip(loops[-1][1:], here[1:], strict=True)):
            loops[-1] = [loops[-1][0] * size, *here[1:]]
        else:
            loops.append(here)
    if len(loops) > MAX_LOOPS:
        raise ArgumentError(f"expected at most {MAX_LOOPS} separate axes, got {len(loops)}")
    loops = [[1] + [0] * len(strides)] * (MAX_LOOPS - len(loops)) + loops
    names = ("d", *strides)
    return {
        f"{name}{i}": value
        for i, loop in enumerate(loops)
        for name, value in zip(names, loop, strict=True)
    }
