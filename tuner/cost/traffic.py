"""How far data come from, and what that takes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from luthier.target import Target
from luthier.tuner.cost.core import Core, core_of

__all__ = ["COLD_BYTES", "Traffic", "traffic_of"]

COLD_BYTES = 4 << 20
"""Weights are at least as far away as if they took so many bytes: a model has many layers."""


@dataclass
class Traffic:
    """Sums up cycles of transfers by where they come from: "near" is L2, "far" L3 and "memory"
    what is beyond. L1 is free.

    Attributes
    ----------
    l1, l2, l3 : float
        Bytes that one of the threads can count on to stay there.
    """

    core: Core
    l1: float
    l2: float
    l3: float
    near: float = 0.0
    far: float = 0.0
    memory: float = 0.0

    def add(self, nbytes: float, within: float) -> None:
        """Bytes read that lie among `within` bytes in use."""
        if within <= self.l1:
            return
        if within <= self.l2:
            self.near += nbytes / self.core.l2
        elif within <= self.l3:
            self.far += nbytes / self.core.l3
        else:
            self.memory += nbytes / self.core.memory


@lru_cache
def _shares(target: Target, threads: int) -> tuple[float, float, float]:
    def share(size: int, cores: int) -> float:
        return size / max(1, min(threads, cores or 1))

    l1 = target.l1d or 32 << 10
    l2 = target.l2 or 256 << 10
    return (
        0.75 * l1,
        0.75 * share(l2, target.l2_cores),
        0.75 * share(target.l3, target.l3_cores),
    )


def traffic_of(target: Target, isa: str, threads: int) -> Traffic:
    """None yet, of one of `threads` threads."""
    return Traffic(core_of(target, isa), *_shares(target, threads))
