"""Hill climbing from a spread-out start, with restarts: needs nothing but the standard library."""

from __future__ import annotations

from luthier.tuner.strategies.base import Strategy

__all__ = ["LocalSearch"]

START = 12
"""Trials before the first climb."""


class LocalSearch(Strategy):
    """Climb from the best config; once its neighbours are done, from the next best.

    Iterated over the ranking, this is a best-first search: a worse hill is climbed only when the
    better ones are exhausted. One trial in ten is random.
    """

    def _next(self) -> int:
        if len(self._results) < min(START, self.trials // 2):
            self.source = "spread"
            return self._spread()
        if self.rng.random() >= 0.1:
            for i in self._best(count=len(self._results)):
                near = self._new_neighbours(i)
                if near:
                    self.source = "climb"
                    return self.rng.choice(near)
        self.source = "random"
        return self._random()
