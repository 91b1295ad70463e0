"""Hill climbing from a spread-out start, with restarts: needs nothing but the standard library."""

from __future__ import annotations

from luthier.tuner.strategies.base import Strategy

__all__ = ["LocalSearch"]

START = 12
"""Trials before the first climb."""
RANDOM_SHARE = 0.1
DEPTH = 5
"""How many of the best configs are climbed from."""


class LocalSearch(Strategy):
    """Try what is nearest to one of the best configs.

    The best is chosen half of the time, the second a quarter, and so on, so that a search that is
    stuck on one hill goes on from another. One trial in ten is random.
    """

    def _next(self) -> int:
        if len(self._results) < min(START, self.trials // 2):
            self.source = "spread"
            return self._spread()
        best = self._best(DEPTH)
        if not best or self.rng.random() < RANDOM_SHARE:
            self.source = "random"
            return self._random()
        self.source = "climb"
        rank = 0
        while rank + 1 < len(best) and self.rng.random() < 0.5:
            rank += 1
        return self.rng.choice(self._nearest(best[rank]))
