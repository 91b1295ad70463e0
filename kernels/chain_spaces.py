"""Search spaces of chains: how many rows a band has, if there are bands at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from luthier.kernels.spaces import _l2
from luthier.kernels.workload import Chain
from luthier.target import Target

__all__ = ["candidates", "default_config"]

Config = dict[str, Any]

BANDS = (1, 2, 4, 8, 16, 32)
"""Heights of bands offered, in rows of the last member's output."""

USUAL_BAND = 8
"""Higher bands hardly save more."""

FAR_MAPS = 4
"""How many times the L2 cache a map is that costs time where there is an L3 cache."""

SEAM_SHARE = 0.03
"""Of the work, what may be done twice at the seams between threads."""


def candidates(w: Chain) -> Iterator[Config]:
    """rows 0 leaves the members apart."""
    most = -(-w.members[-1].oh // w.threads)
    yield {"rows": 0}
    for rows in BANDS:
        if rows < most or rows == 1:
            yield {"rows": rows}


def default_config(w: Chain, target: Target) -> Config:
    """Bands if a map between the members leaves the caches, as high as half of L2 allows."""
    n, cache = w.members[0].n, _l2(target)
    largest = max(4 * math.prod(m.out_shape) for m in w.members[:-1])
    shares = 1 if target.l2_cores <= 1 else min(w.threads, target.l2_cores)
    near = FAR_MAPS * cache if target.l3 else cache // shares
    strips = 1 if n % w.threads == 0 else w.threads
    if largest <= near or _seam_flops(w, strips) > SEAM_SHARE * w.flops:
        return {"rows": 0}
    fitting = [
        config["rows"]
        for config in candidates(w)
        if config["rows"] <= USUAL_BAND and _band_bytes(w, config["rows"]) <= cache // shares // 2
    ]
    return {"rows": max(fitting, default=0) or 1}


def _rows_of_members(w: Chain, rows: int) -> list[int]:
    """Rows of each member's output that a band of `rows` rows of the last one needs."""
    needed = [rows]
    for m in reversed(w.members[1:]):
        window = (m.r - 1) * m.dilations[0] + 1
        needed.append(min(m.h, (needed[-1] - 1) * m.strides[0] + window))
    return needed[::-1]


def _band_bytes(w: Chain, rows: int) -> int:
    """What is to stay in the cache: the rows between the members, and all weights."""
    needed = _rows_of_members(w, rows)
    between = sum(r * m.ow * m.channels for r, m in zip(needed, w.members[:-1], strict=False))
    return 4 * (between + sum(m.weights for m in w.members))


def _seam_flops(w: Chain, strips: int) -> float:
    """The work that is done twice where one thread's strip of rows meets another's."""
    total, step = 0.0, 1
    for m, rows in zip(reversed(w.members), reversed(_rows_of_members(w, 1)), strict=True):
        total += m.flops / m.oh * max(0, rows - step)
        step *= m.strides[0]
    return total * (strips - 1)
