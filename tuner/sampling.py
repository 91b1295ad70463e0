"""Timing on a noisy machine: every sample stands beside one of the reference.

A ratio of neighbouring samples does not see slow changes (frequency, a busy neighbour), and a
trimmed mean does not see rare ones. Everything here takes functions that return seconds per
call, and knows nothing of kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from luthier.tuner.record import Times
from luthier.tuner.stats import bootstrap_interval, mad, trimmed_mean

__all__ = ["Effort", "Timer", "abba", "calibrate", "paired"]

Timer = Callable[[int], float]
"""Seconds per call over so many calls."""

MAX_INNER = 1_000_000
UNSTABLE = 0.3
"""Median absolute deviation of log ratios from which on a result says nothing."""


class Effort(msgspec.Struct, frozen=True):
    """How much time a trial may take.

    Attributes
    ----------
    sample : float
        Least seconds of one sample.
    samples, most : int
        Samples of a trial, and of one that ties with the best.
    drop : float
        After two samples, a config that is this many times slower than the best is dropped.
    rounds : int
        Rounds of a confirmation; each round samples every config twice.
    """

    sample: float = 0.005
    samples: int = 5
    most: int = 15
    drop: float = 1.5
    rounds: int = 10


def calibrate(timer: Timer, sample: float) -> int:
    """How many calls make a sample of at least `sample` seconds; warms up as well."""
    inner = 1
    while (taken := timer(inner) * inner) < sample and inner < MAX_INNER:
        inner = min(MAX_INNER, max(2 * inner, math.ceil(1.1 * inner * sample / max(taken, 1e-9))))
        if taken > sample / 4:
            break
    return inner


def summarise(samples: Sequence[float], inner: int) -> Times:
    """The record of a list of samples."""
    return Times(
        median=float(np.median(samples)),
        mad=mad(samples),
        min=min(samples),
        n=len(samples),
        inner=inner,
        samples=tuple(float(f"{s:.4g}") for s in samples),
    )


def paired(
    timer: Timer, reference: Timer, effort: Effort, best: float = math.inf
) -> tuple[Times, list[float]]:
    """Time a config beside the reference.

    Parameters
    ----------
    timer, reference : Timer
    effort : Effort
    best : float
        The best ratio so far: far slower configs are dropped after two samples, while ties, and
        results that are too good, get more samples.

    Returns
    -------
    times : Times
    logs : list of float
        Logarithms of the ratios of the pairs.
    """
    inner, ref_inner = calibrate(timer, effort.sample), calibrate(reference, effort.sample)
    samples: list[float] = []
    logs: list[float] = []
    while len(logs) < effort.samples or (
        len(logs) < effort.most and _undecided(logs, math.log(best))
    ):
        # The order alternates, so that neither side always runs on the other's heels.
        if len(logs) % 2:
            base, own = reference(ref_inner), timer(inner)
        else:
            own, base = timer(inner), reference(ref_inner)
        samples.append(own)
        logs.append(math.log(own / base))
        if len(logs) == 2 and min(logs) > math.log(effort.drop * best):
            break
    return summarise(samples, inner), logs


def _undecided(logs: Sequence[float], best: float) -> bool:
    """Whether the best lies within the spread of the ratios, or far above them."""
    if mad(logs) > UNSTABLE:
        return True
    if math.isinf(best):
        return False
    mean = trimmed_mean(logs)
    spread = 2 * 1.4826 * mad(logs) / math.sqrt(len(logs))
    return abs(mean - best) < max(spread, 0.005) or mean < best - 0.5


def abba(timers: Sequence[Timer], effort: Effort) -> tuple[list[Times], list[list[float]]]:
    """Compare several configs with the first one.

    A round runs all forwards, then all backwards (ABBA), so that a steady drift cancels.

    Returns
    -------
    times : list of Times
    logs : list of list of float
        For each config, the logarithm of its ratio to the first one, one a round.
    """
    inners = [calibrate(timer, effort.sample) for timer in timers]
    samples: list[list[float]] = [[] for _ in timers]
    for _ in range(effort.rounds):
        for i in [*range(len(timers)), *reversed(range(len(timers)))]:
            samples[i].append(timers[i](inners[i]))
    rounds = [np.asarray(s).reshape(-1, 2).mean(axis=1) for s in samples]
    logs = [[float(v) for v in np.log(r / rounds[0])] for r in rounds]
    return [summarise(s, n) for s, n in zip(samples, inners, strict=True)], logs


def ratio_and_interval(logs: Sequence[float]) -> tuple[float, float, float]:
    """Ratio with its 95 % interval, from logarithms of ratios."""
    lo, hi = bootstrap_interval(logs)
    return math.exp(trimmed_mean(logs)), math.exp(lo), math.exp(hi)
