"""Interleaved measurement: every engine runs a small burst in each round, A B C A B C.

So a drift of the machine (clock, neighbours) hits all engines alike, and the ratio of two engines
is taken within rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.bench.answers import compare

__all__ = ["Engine", "race"]

BURST_SECONDS = 0.05
"""A burst has as many runs as fit, at least MIN_RUNS."""
MIN_RUNS = 2
GAP_SECONDS = 0.01
"""Pause before a burst: longer than the threads of an idle engine spin."""
RTOL = 1e-3
"""Largest difference of two engines' answers, relative to the output's range."""


@dataclass(frozen=True)
class Engine:
    """Something that runs a model: `run` computes all outputs, in the model's order."""

    name: str
    run: Callable[[], Sequence[np.ndarray]]
    version: str = ""


def race(engines: Sequence[Engine], rounds: int, flops: float = 0) -> list[dict[str, Any]]:
    """Measure engines side by side; the first one is compared with all others.

    Answers are compared before anything is timed. An engine that differs is timed, too, and its
    row says so.

    Parameters
    ----------
    engines : sequence of Engine
    rounds : int
    flops : float
        Floating-point operations of one run; 0 if unknown.

    Returns
    -------
    list of dict
        For each engine: name, version, median, p90 and best seconds, number of runs, gflops,
        ratio (the engine's time over the first one's, the median over rounds), differs, reason.
    """
    answers = [engine.run() for engine in engines]
    reasons = [_difference(answer, answers[0]) for answer in answers]
    runs = [_burst_length(engine) for engine in engines]
    times: list[list[list[float]]] = [[] for _ in engines]
    for _ in range(rounds):
        for engine, count, rows in zip(engines, runs, times, strict=True):
            rows.append(_burst(engine, count))
    base = [statistics.median(burst) for burst in times[0]]
    table = []
    for engine, rows, reason in zip(engines, times, reasons, strict=True):
        flat = [t for burst in rows for t in burst]
        median = statistics.median(flat)
        medians = (statistics.median(burst) for burst in rows)
        table.append(
            {
                "name": engine.name,
                "version": engine.version,
                "median": median,
                "p90": float(np.quantile(flat, 0.9)),
                "best": min(flat),
                "runs": len(flat),
                "gflops": flops / median / 1e9,
                "ratio": statistics.median(m / b for m, b in zip(medians, base, strict=True)),
                "differs": bool(reason),
                "reason": reason,
            }
        )
    return table


def _burst_length(engine: Engine) -> int:
    begin = time.perf_counter()
    engine.run()
    return max(MIN_RUNS, int(BURST_SECONDS / max(time.perf_counter() - begin, 1e-9)))


def _burst(engine: Engine, count: int) -> list[float]:
    """Seconds of `count` runs in a row, after one that wakes the engine up."""
    time.sleep(GAP_SECONDS)
    engine.run()
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        engine.run()
        found.append(time.perf_counter() - begin)
    return found


def _difference(got: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> str:
    """What differs between two engines' answers, or nothing."""
    if len(got) != len(expected):
        return f"{len(got)} outputs, not {len(expected)}"
    answers = (compare(g, e, RTOL) for g, e in zip(got, expected, strict=True))
    bad = [f"output {i}: {a.reason}" for i, a in enumerate(answers) if not a.ok]
    return "; ".join(bad)
