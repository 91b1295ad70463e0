"""Robust statistics of a few noisy samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["bootstrap_interval", "mad", "median_interval", "trimmed_mean"]

RESAMPLES = 1000


def trimmed_mean(values: Sequence[float], cut: float = 0.2) -> float:
    """Mean without the smallest and the largest `cut` of the values, rounded down."""
    ordered = sorted(values)
    drop = int(len(ordered) * cut)
    kept = ordered[drop : len(ordered) - drop]
    return sum(kept) / len(kept)


def mad(values: Sequence[float]) -> float:
    """Median absolute deviation from the median."""
    x = np.asarray(values)
    return float(np.median(np.abs(x - np.median(x))))


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Interval between order statistics that holds the median with about 95 %.

    Source: W. J. Conover, "Practical Nonparametric Statistics" (1999), section 3.2: the normal
    approximation of the binomial ranks; of few values it is their whole range.
    """
    ordered = sorted(values)
    count = len(ordered)
    below = int((count - 1.96 * count**0.5) / 2)
    return ordered[max(0, below)], ordered[min(count - 1, count - 1 - below)]


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float] = trimmed_mean,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic.

    Source: B. Efron, "Bootstrap methods: another look at the jackknife", Ann. Statist. 7 (1979).
    """
    x = np.asarray(values)
    picks = np.random.default_rng(seed).integers(0, len(x), (RESAMPLES, len(x)))
    drawn = [statistic(row) for row in x[picks]]
    tail = (1 - confidence) / 2
    lo, hi = np.quantile(drawn, [tail, 1 - tail])
    return float(lo), float(hi)
