"""The blocked matrix product that gemm, qgemm and the convolutions share: ``lt_gemm_block`` and
the loops around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from luthier.tuner.cost.traffic import COLD_BYTES, Traffic

__all__ = ["Operands", "Sweep", "blocked", "busiest", "sweep"]

Step = Callable[[int, int], float]
"""Cycles of one k step of a register tile, from its rows and vectors."""


@dataclass(frozen=True)
class Sweep:
    """One product of all rows and columns of a block: cycles for each step of k, register tiles,
    and vectors stored."""

    step: float
    tiles: int
    stores: int


@lru_cache(maxsize=1 << 14)
def sweep(step: Step, rows: int, columns: int, mr: int, nv: int, width: int) -> Sweep:
    """Rows are shared out evenly among tiles of at most `mr`, as the C code does."""
    tiles = -(-rows // mr)
    low, more = divmod(rows, tiles) if tiles else (0, 0)
    full, rest = divmod(-(-columns // width), nv)
    cycles, count, stores = 0.0, 0, 0
    for vectors, panels in ((nv, full), (rest, 1 if rest else 0)):
        for height, heights in ((low, tiles - more), (low + 1, more)):
            if panels and heights:
                cycles += panels * heights * step(height, vectors)
                count += panels * heights
                stores += panels * heights * height * vectors
    return Sweep(cycles, count, stores)


@dataclass(frozen=True)
class Operands:
    """Sizes of elements in bytes: of A as it is read, of the packed weights, and of the result."""

    a: float = 4
    b: float = 4
    c: float = 4


def busiest(tasks: int, threads: int) -> int:
    """Tasks of the thread that has most of them."""
    return -(-tasks // min(threads, tasks)) if tasks else 0


def blocked(
    traffic: Traffic,
    size: Operands,
    *,
    rows: int,
    columns: int,
    k: int,
    mc: int,
    nc: int,
    kc: int,
    panel: int,
    tile: int,
    split_n: int,
    threads: int,
    total_a: float,
    packs: bool,
) -> int:
    """Add the traffic of the thread that has most to do; return how many blocks it computes.

    Blocks of `mc` rows by `nc` columns are tasks, in the order of columns first or (`split_n`) of
    rows first, taken in turn. Of the operands of a block, what an earlier block of the same thread
    had is in the cache if there is room for all between; the rest comes from where A, or the
    weights, are. Inside a block each panel of columns reads all rows again, and each tile of rows
    the panel.

    Parameters
    ----------
    panel, tile : int
        Columns and rows of a register tile.
    total_a : float
        Bytes of the whole left side as it lies in memory.
    packs : bool
        Whether rows are copied before they are read, so that they are near.
    """
    m_blocks, n_blocks = -(-rows // mc), -(-columns // nc)
    mine = busiest(m_blocks * n_blocks, threads)
    kept_a, kept_b = mc * k * size.a, nc * k * size.b
    if split_n:
        distinct_a, distinct_b = min(m_blocks, mine), min(n_blocks, -(-mine // m_blocks))
    else:
        distinct_a, distinct_b = min(m_blocks, -(-mine // n_blocks)), min(n_blocks, mine)
    weights = max(COLD_BYTES, columns * k * size.b)
    traffic.add(distinct_b * kept_b, weights)
    traffic.add((mine - distinct_b) * kept_b, distinct_b * kept_b + kept_a)
    if not packs:
        traffic.add(distinct_a * kept_a, total_a)
        traffic.add((mine - distinct_a) * kept_a, distinct_a * kept_a + kept_b)
    # Within the blocks: the rows of A for each panel, a panel for each tile of rows.
    depth = min(kc, k)
    rows_a, panel_b = mc * depth * size.a, panel * depth * size.b
    panels, tiles = -(-nc // panel), -(-mc // tile)
    traffic.add(mine * (panels - (not packs)) * mc * k * size.a, rows_a + panel_b)
    traffic.add(mine * panels * (tiles - 1) * panel * k * size.b, panel_b + tile * depth * size.a)
    # The result: once, and twice more for each further part of k.
    sums = mine * mc * nc * size.c
    traffic.add(sums, rows * columns * size.c)
    traffic.add(2 * (-(-k // depth) - 1) * sums, mc * nc * size.c + rows_a)
    return mine
