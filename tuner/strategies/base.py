"""What every strategy shares: the order of the first points, and never the same config twice."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Sequence
from operator import ne
from typing import Protocol

from luthier.tuner.record import Config, Result, config_key

__all__ = ["STRATA", "Space", "Strategy"]

STRATA = ("algo", "isa", "mr", "nv", "special", "owt")
"""Knobs that choose the kernel, as far as a space has them: first points spread over these."""

POOL = 256
"""Random configs among which the next first point is chosen."""


class Space(Protocol):
    """What strategies need of a space; `luthier.kernels.space` makes such objects."""

    @property
    def knobs(self) -> dict[str, tuple[int | str, ...]]: ...
    @property
    def configs(self) -> Sequence[Config]: ...
    @property
    def default(self) -> Config: ...
    @property
    def version(self) -> str: ...


class Strategy:
    """Chooses configs, one after the other.

    Inside, a config is its index in `space.configs`. The first answers of `ask` are the default,
    then the space's analytic seeds (its optional attribute ``seeds``), then the given ones.

    Parameters
    ----------
    space : Space
    trials : int
        How many trials are planned, so that a strategy can plan its phases.
    seed : int
    seeds : iterable of dict
        Transferred configs; those not legal in this space are left out.
    """

    def __init__(
        self, space: Space, *, trials: int, seed: int = 0, seeds: Iterable[Config] = ()
    ) -> None:
        self.space = space
        self.trials = trials
        self.rng = random.Random(seed)
        self.source = ""
        self.prediction: float | None = None
        self._index = {config_key(c): i for i, c in enumerate(space.configs)}
        self._values = [tuple(c[k] for k in space.knobs) for c in space.configs]
        self._unvisited = list(range(len(space.configs)))
        self._place = list(range(len(space.configs)))
        self._results: dict[int, Result] = {}
        self._first: deque[tuple[str, int]] = deque()
        self._queue("default", [space.default])
        self._queue("analytic", getattr(space, "seeds", ()))
        self._queue("transfer", seeds)

    def ask(self) -> Config | None:
        """The next config to try, or None when every config has been asked or told.

        Afterwards `source` says which part of the strategy chose it, and `prediction` the
        expected time ratio, where a model gave one.
        """
        self.prediction = None
        while self._first:
            self.source, i = self._first.popleft()
            if self._is_new(i):
                return self._visit(i)
        if not self._unvisited:
            return None
        return self._visit(self._next())

    def tell(self, config: Config, result: Result) -> None:
        """Take note of a result, of a config asked for or of another one of the space."""
        i = self._index.get(config_key(config))
        if i is not None:
            self._visit(i)
            self._results[i] = result

    def _next(self) -> int:
        """Choose an unvisited index (there is one), and set `source`."""
        raise NotImplementedError

    def _queue(self, source: str, configs: Iterable[Config]) -> None:
        found = (self._index.get(config_key(c)) for c in configs)
        self._first += [(source, i) for i in found if i is not None]

    def _is_new(self, i: int) -> bool:
        return self._place[i] >= 0

    def _visit(self, i: int) -> Config:
        place = self._place[i]
        if place >= 0:  # the last one takes its place
            last = self._unvisited[-1]
            self._unvisited[place], self._place[last] = last, place
            self._unvisited.pop()
            self._place[i] = -1
        return self.space.configs[i]

    def _random(self) -> int:
        return self.rng.choice(self._unvisited)

    def _spread(self) -> int:
        """Of some random configs, one whose kernel was tried least."""
        pool = self.rng.sample(self._unvisited, min(POOL, len(self._unvisited)))
        knobs = [k for k in STRATA if len(self.space.knobs.get(k, ())) > 1]
        seen = [self.space.configs[i] for i in self._results]

        def tried(i: int) -> tuple[int, int]:
            config = self.space.configs[i]
            same = [sum(config[k] == c[k] for k in knobs) for c in seen]
            return same.count(len(knobs)), sum(same)

        return min(pool, key=tried)

    def _best(self, count: int) -> list[int]:
        """The best configs so far, best first."""
        ok = [(r.ratio, i) for i, r in self._results.items() if r.ratio is not None and r.ok]
        return [i for _, i in sorted(ok)[:count]]

    def _nearest(self, i: int) -> list[int]:
        """The unvisited configs that differ from `i` in the fewest knobs."""
        own = self._values[i]
        found: list[int] = []
        least = len(own) + 1
        for j in self._unvisited:
            different = sum(map(ne, own, self._values[j]))
            if different < least:
                least, found = different, []
            if different == least:
                found.append(j)
        return found
