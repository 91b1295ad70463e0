"""How much each part of an estimate counts, as fitted to recorded spaces."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from luthier.kernels.workload import DepthwiseConv2d, QDepthwiseConv2d, Quantised, Workload

__all__ = ["FAMILIES", "FILE", "PARTS", "Family", "Fitted", "family_of", "fitted"]

FILE = Path(__file__).with_name("factors.json")

PARTS = ("compute", "tiles", "segments", "near", "far", "memory", "copies", "transforms", "forks")
"""What an estimate consists of: products; the begin and end of register tiles; the begin of each
run of k; data from L2, from L3 and from beyond; rows copied (packing, im2col, padding);
transforms (Winograd, Strassen); waking threads and handing out blocks."""

FAMILIES = ("product", "qproduct", "depthwise", "qdepthwise")


def family_of(workload: Workload) -> str:
    """The operators that share factors."""
    if isinstance(workload, QDepthwiseConv2d):
        return "qdepthwise"
    if isinstance(workload, DepthwiseConv2d):
        return "depthwise"
    return "qproduct" if isinstance(workload, Quantised) else "product"


class Family(msgspec.Struct, frozen=True):
    """The factors of one family.

    Attributes
    ----------
    factors : dict of str to float
        By part; not negative. A part that is missing was never seen.
    correlation : float
        Mean rank correlation with measured times, of tasks that the factors were not fitted to.
    tasks : int
        Recorded spaces behind it.
    """

    factors: dict[str, float]
    correlation: float
    tasks: int


class Fitted(msgspec.Struct, frozen=True):
    """All factors, and the type of core on which they were fitted."""

    core: str
    families: dict[str, Family]


@cache
def fitted() -> Fitted:
    """The factors that the package comes with."""
    return msgspec.json.decode(FILE.read_bytes(), type=Fitted)
