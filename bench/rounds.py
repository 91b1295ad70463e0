"""Interleaved measurement: every engine runs a small burst in each round, A B C A B C.

So a drift of the machine (clock, neighbours) hits all engines alike, and the ratio of two engines
is taken within rounds.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from luthier.bench.answers import compare

__all__ = ["RTOL", "Engine", "Racer", "burst", "median_interval", "race"]

BURST_SECONDS = 0.05
"""A burst has as many runs as fit, at least MIN_RUNS."""
MIN_RUNS = 2
MIN_ROUNDS = 6
"""Fewer have no 95 % interval of their median."""
RTOL = 1e-3
"""Largest difference of two engines' answers, relative to the output's range."""

Outputs = Sequence[np.ndarray]


@dataclass(frozen=True)
class Engine:
    """Something that runs a model: `run` computes all outputs, in the model's order."""

    name: str
    run: Callable[[], Outputs]
    version: str = ""


class Racer(Protocol):
    """An engine that is timed, here or in another process."""

    name: str
    version: str
    answer: Outputs

    def burst(self, count: int) -> list[float]:
        """Seconds of `count` runs in a row, after one that wakes the engine up."""


def burst(
    run: Callable[[], object], count: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds of `count` runs in a row, after one that is not timed."""
    run()
    found = []
    for _ in range(count):
        begin = clock()
        run()
        found.append(clock() - begin)
    return found


def race(
    racers: Sequence[Racer],
    rounds: int,
    flops: float = 0,
    seconds: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> list[dict[str, Any]]:
    """Measure engines side by side; the first one is what ratios are taken to.

    Answers are compared with each other, too. An engine that differs is timed like all others, and
    its row says so.

    Parameters
    ----------
    racers : sequence of Racer
    rounds : int
    flops : float
        Floating-point operations of one run; 0 if unknown.
    seconds : float
        No round begins later than this, but `MIN_ROUNDS` are made (or `rounds`, if fewer).
    clock : callable

    Returns
    -------
    list of dict
        For each engine: name, version, median, p90 and best seconds, number of runs, gflops,
        ratio (the engine's time over the first one's, the median over rounds), lo and hi (its 95 %
        interval), differs (from the first one), reason, disagrees (names of engines whose answers
        are others).
    """
    begin = clock()
    answers = [racer.answer for racer in racers]
    reasons = [[_difference(mine, theirs) for theirs in answers] for mine in answers]
    runs = [_burst_length(racer) for racer in racers]
    times: list[list[list[float]]] = [[] for _ in racers]
    least = min(rounds, MIN_ROUNDS)
    while len(times[0]) < least or (len(times[0]) < rounds and clock() - begin < seconds):
        for racer, count, rows in zip(racers, runs, times, strict=True):
            rows.append(racer.burst(count))
    base = [statistics.median(row) for row in times[0]]
    table = []
    for racer, rows, others in zip(racers, times, reasons, strict=True):
        flat = [t for row in rows for t in row]
        median = statistics.median(flat)
        ratios = [statistics.median(row) / b for row, b in zip(rows, base, strict=True)]
        lo, hi = median_interval(ratios)
        table.append(
            {
                "name": racer.name,
                "version": racer.version,
                "median": median,
                "p90": float(np.quantile(flat, 0.9)),
                "best": min(flat),
                "rounds": len(rows),
                "runs": len(flat),
                "gflops": flops / median / 1e9,
                "ratio": statistics.median(ratios),
                "lo": lo,
                "hi": hi,
                "differs": bool(others[0]),
                "reason": others[0],
                "disagrees": [r.name for r, o in zip(racers, others, strict=True) if o],
            }
        )
    return table


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a median, from order statistics; the whole range of fewer than six values.

    Source: the sign test's, J. Hettmansperger and J. McKean, Robust Nonparametric Statistical
    Methods (1998), 1.3.

    Examples
    --------
    >>> median_interval([1, 2, 3, 4, 5, 6, 7, 8, 9])
    (2, 8)
    """
    ordered, n = sorted(values), len(values)
    outside, tail = 0, (1 - confidence) / 2
    below = 1 / 2**n  # of n values, the probability that just `outside` lie under the median
    while below + math.comb(n, outside + 1) / 2**n <= tail:
        outside += 1
        below += math.comb(n, outside) / 2**n
    return ordered[outside], ordered[n - 1 - outside]


def _burst_length(racer: Racer) -> int:
    (seconds,) = racer.burst(1)
    return max(MIN_RUNS, int(BURST_SECONDS / max(seconds, 1e-9)))


def _difference(got: Outputs, expected: Outputs) -> str:
    """What differs between two engines' answers, or nothing."""
    if len(got) != len(expected):
        return f"{len(got)} outputs, not {len(expected)}"
    answers = (compare(g, e, RTOL) for g, e in zip(got, expected, strict=True))
    bad = [f"output {i}: {a.reason}" for i, a in enumerate(answers) if not a.ok]
    return "; ".join(bad)
