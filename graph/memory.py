"""The arena: where each activation lives, so that those alive at the same time never overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["ALIGNMENT", "Block", "assign_offsets"]

ALIGNMENT = 64
"""Offsets are multiples of this many bytes: a cache line, and the widest vector."""


@dataclass(eq=False, slots=True)
class Block:
    """A piece of the arena in use from step `first` to step `last`, both included."""

    nbytes: int
    first: int
    last: int
    offset: int = -1


def assign_offsets(blocks: Sequence[Block]) -> int:
    """Give every block an offset; return the bytes of the arena.

    Greedy by size: the largest block first, each into the smallest gap that fits among the blocks
    alive with it (Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference,
    2020).

    Examples
    --------
    >>> a, b, c = Block(100, 0, 1), Block(64, 1, 2), Block(100, 2, 3)
    >>> assign_offsets([a, b, c]), a.offset, b.offset, c.offset
    (192, 0, 128, 0)
    """
    order = sorted(blocks, key=lambda b: (-b.nbytes, b.first))
    first, last = (np.array([getattr(b, n) for b in order], np.int64) for n in ("first", "last"))
    begins, ends = np.zeros((2, len(order)), np.int64)
    for i, block in enumerate(order):
        size = -(-block.nbytes // ALIGNMENT) * ALIGNMENT
        rivals = np.flatnonzero((first[:i] <= block.last) & (block.first <= last[:i]))
        rivals = rivals[np.argsort(begins[rivals])]
        best, best_gap, end = None, 0, 0
        for begin, after in zip(begins[rivals].tolist(), ends[rivals].tolist(), strict=True):
            gap = begin - end
            if gap >= size and (best is None or gap < best_gap):
                best, best_gap = end, gap
            end = max(end, after)
        block.offset = end if best is None else best
        begins[i], ends[i] = block.offset, block.offset + size
    return int(ends.max(initial=0))
