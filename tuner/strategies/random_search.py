"""Uniform random choice: the baseline, and the order of an exhaustive run."""

from __future__ import annotations

from luthier.tuner.strategies.base import Strategy

__all__ = ["RandomSearch"]


class RandomSearch(Strategy):
    """Try unvisited configs in random order."""

    def _next(self) -> int:
        self.source = "random"
        return self._random()
