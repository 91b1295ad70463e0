"""Ranges of tensors: from what was seen of them to the range that 8 bits should cover."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from luthier.onnx_frontend.quantize import QParams, activation_params

__all__ = ["METHODS", "PERCENTILE", "Extent", "Histogram", "choose_range"]

METHODS = ("minmax", "percentile", "entropy", "mse")
PERCENTILE = 99.99
"""Of the numbers other than zero, those up to which `percentile` keeps."""

BINS = 2048
_LEVELS = np.dtype(np.uint8)
_SHRINKS = np.linspace(1.0, 0.2, 81)
_SMOOTHING = 1e-9


class Extent:
    """The smallest and the largest number seen; zero counts as seen."""

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0

    def add(self, array: np.ndarray) -> None:
        """Take in the numbers of `array`."""
        if array.size:
            self.low = min(self.low, float(array.min()))
            self.high = max(self.high, float(array.max()))


class Histogram:
    """Counts of numbers in equal bins over a known range.

    Exact zeros are left out: every quantisation keeps them as they are, and behind a Relu they
    would drown all else.

    Parameters
    ----------
    extent : Extent
        Of everything that will be added.
    """

    def __init__(self, extent: Extent) -> None:
        self.low, self.high = extent.low, extent.high
        self.counts = np.zeros(BINS, np.int64)

    def add(self, array: np.ndarray) -> None:
        """Count the numbers of `array`."""
        values = array[array != 0]
        width = self.high - self.low
        if values.size and width > 0:
            places = ((values - np.float32(self.low)) * np.float32(BINS / width)).astype(np.int32)
            np.clip(places, 0, BINS - 1, out=places)
            self.counts += np.bincount(places, minlength=BINS)

    @property
    def edges(self) -> np.ndarray:
        """The BINS + 1 ends of the bins."""
        return np.linspace(self.low, self.high, BINS + 1)

    @property
    def centers(self) -> np.ndarray:
        """The middles of the bins."""
        edges = self.edges
        return (edges[:-1] + edges[1:]) / 2


def choose_range(
    histogram: Histogram, method: str, percentile: float = PERCENTILE
) -> tuple[float, float]:
    """The range to cover.

    Parameters
    ----------
    histogram : Histogram
    method : str
        ``"minmax"``: everything. ``"percentile"``: all but the outermost numbers at either end.
        ``"entropy"``: the cut at which the distribution of the quantised numbers tells most of
        that of the real ones, by Kullback-Leibler divergence (S. Migacz, "8-bit Inference with
        TensorRT", GTC 2017). ``"mse"``: the range of the smallest mean squared error.
    percentile : float
        For that method, from 50 to 100.

    Returns
    -------
    low, high : float
        Zero is within.
    """
    if not histogram.counts.any():
        return histogram.low, histogram.high
    if method == "minmax":
        return histogram.low, histogram.high
    if method == "percentile":
        return _percentile(histogram, percentile / 100)
    if method == "entropy":
        return _entropy(histogram)
    return _mse(histogram)


def _percentile(histogram: Histogram, keep: float) -> tuple[float, float]:
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    edges = histogram.edges
    high = edges[1 + np.searchsorted(share, keep)] if keep < 1 else histogram.high
    low = edges[np.searchsorted(share, 1 - keep, side="right")] if keep < 1 else histogram.low
    return min(float(low), 0.0), max(float(high), 0.0)


def _entropy(histogram: Histogram) -> tuple[float, float]:
    largest = max(-histogram.low, histogram.high)

    def cut(shrink: float) -> tuple[float, float]:
        return max(histogram.low, -shrink * largest), min(histogram.high, shrink * largest)

    return min((cut(s) for s in np.linspace(1.0, 0.05, 96)), key=_divergence_from(histogram))


def _divergence_from(histogram: Histogram) -> Callable[[tuple[float, float]], float]:
    counts, centers = histogram.counts.astype(np.float64), histogram.centers

    def divergence(limits: tuple[float, float]) -> float:
        """Of the quantised distribution from the real one, whose outliers lie at the ends."""
        inside = np.flatnonzero((centers >= limits[0]) & (centers <= limits[1]))
        if not inside.size:
            return np.inf
        first, last = inside[0], inside[-1] + 1
        kept = counts[first:last]
        real = kept.copy()
        real[0] += counts[:first].sum()
        real[-1] += counts[last:].sum()
        params = activation_params(*limits, _LEVELS)
        level = params.quantize(centers[first:last]).astype(np.int64)
        filled = kept > 0
        sums = np.bincount(level, kept, 256)
        spread = np.bincount(level, filled, 256)
        quantized = np.where(filled, sums[level] / np.maximum(spread[level], 1), 0)
        if not quantized.any():
            return np.inf
        p, q = real / real.sum() + _SMOOTHING, quantized / quantized.sum() + _SMOOTHING
        return float(np.sum(p * np.log(p / q)))

    return divergence


def _mse(histogram: Histogram) -> tuple[float, float]:
    counts, centers = histogram.counts.astype(np.float64), histogram.centers

    def error(low: float, high: float) -> float:
        params = activation_params(low, high, _LEVELS)
        return float(np.sum(counts * (_real(params, centers) - centers) ** 2))

    low, high = histogram.low, histogram.high
    for _ in range(2):  # either end in turn
        high = min((histogram.high * s for s in _SHRINKS), key=lambda h: error(low, h))
        low = min((histogram.low * s for s in _SHRINKS), key=lambda v: error(v, high))
    return low, high


def _real(params: QParams, array: np.ndarray) -> np.ndarray:
    stored = params.quantize(array).astype(np.float64)
    return (stored - int(params.zero_point)) * float(params.scale)
