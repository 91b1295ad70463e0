"""Rankings by the model itself: configs are timed with their layer in its place.

Alone in a loop a layer finds its input and output where the last call left them; in the model it
finds what its neighbours leave.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from luthier.tuner.record import Config
from luthier.tuner.stats import median_interval

__all__ = ["Built", "Placed", "rank_in_place"]


class Built(Protocol):
    """A model with some configs chosen, ready to run."""

    def run(self) -> object:
        """Run the model once."""

    def profile(self) -> Mapping[str, float]:
        """Seconds that each workload takes, all its nodes together, in one run."""


@dataclass(frozen=True)
class Placed:
    """The best config of a workload in the model: its time over that of the untuned config, with
    the 95 % interval."""

    config: Config
    ratio: float
    lo: float
    hi: float


def rank_in_place(
    candidates: Mapping[str, Sequence[Config]],
    build: Callable[[Mapping[str, Config]], Built],
    *,
    seconds: float = 3.0,
    least: int = 5,
    most: int = 50,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Placed]:
    """Find the best candidate of each workload by runs of the whole model.

    The n-th model has the n-th candidate of every workload at once, so that a few models rank
    all of them: they run in interleaved rounds, and each workload is compared by its own share
    of the time.

    Parameters
    ----------
    candidates : mapping of str to sequence of config
        By workload key, without the untuned config.
    build : callable
        Makes the model with these configs, and untuned ones for all other workloads.
    seconds : float
        Rounds go on for about so long,
    least, most : int
        but are at least and at most so many.
    clock : callable

    Returns
    -------
    dict of str to Placed
        For each workload that the untuned model has, the candidate with the lowest upper bound,
        which may well be above one.
    """
    count = max(map(len, candidates.values()), default=0)
    if not count:
        return {}
    models = [build({})]
    models += [build({k: c[n] for k, c in candidates.items() if n < len(c)}) for n in range(count)]
    rounds: list[list[Mapping[str, float]]] = []
    begin = clock()
    while len(rounds) < least or (len(rounds) < most and clock() - begin < seconds):
        order = list(range(len(models)))
        if len(rounds) % 2:
            order.reverse()
        times = {n: models[n].profile() for n in order}
        rounds.append([times[n] for n in range(len(models))])
    found = {}
    for key, configs in candidates.items():
        if not rounds[0][0].get(key):
            continue
        placed = []
        for n, config in enumerate(configs, 1):
            ratios = [np.log(r[n][key] / r[0][key]) for r in rounds]
            placed.append(Placed(config, *np.exp([np.median(ratios), *median_interval(ratios)])))
        if placed:
            found[key] = min(placed, key=lambda p: p.hi)
    return found
