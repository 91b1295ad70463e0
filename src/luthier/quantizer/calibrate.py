"""Calibration: ranges of a float model's tensors, and what rounding its weights does."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from luthier.onnx_frontend.quantize import (
    Editor,
    QParams,
    Selection,
    activation_params,
    error_probes,
)
from luthier.quantizer.execute import Progress, observe
from luthier.quantizer.histogram import PERCENTILE, Extent, Histogram, choose_range
from luthier.quantizer.samples import Samples

__all__ = ["calibrate", "mean_errors"]


def calibrate(
    editor: Editor,
    selection: Selection,
    samples: Samples,
    *,
    method: str,
    dtype: np.dtype,
    percentile: float = PERCENTILE,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, QParams]:
    """Run the float model over the samples and choose the parameters of every tensor.

    The smallest and largest numbers are found first; the methods other than minmax then count
    numbers in a second pass, so that memory does not grow with the samples.

    Returns
    -------
    dict of str to QParams
        For each of ``selection.calibrated()``.
    """
    names = {name: name for name in selection.calibrated()}
    extents = {name: Extent() for name in names}
    observe(
        [(editor, names)],
        samples,
        lambda name, arrays: extents[name].add(arrays[0]),
        num_threads=num_threads,
        stage="ranges",
        progress=progress,
    )
    if method == "minmax":
        return {n: activation_params(e.low, e.high, dtype) for n, e in extents.items()}
    histograms = {name: Histogram(extent) for name, extent in extents.items()}
    observe(
        [(editor, names)],
        samples,
        lambda name, arrays: histograms[name].add(arrays[0]),
        num_threads=num_threads,
        stage="histograms",
        progress=progress,
    )
    ranges = {n: choose_range(h, method, percentile) for n, h in histograms.items()}
    return {name: activation_params(low, high, dtype) for name, (low, high) in ranges.items()}


def mean_errors(
    editor: Editor,
    selection: Selection,
    params: Mapping[str, QParams],
    samples: Samples,
    *,
    per_channel: bool,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, np.ndarray]:
    """By how much the rounding of weights shifts each channel of each layer, on average.

    Returns
    -------
    dict of str to numpy.ndarray
        Node -> float64 of shape (channels,), for `luthier.onnx_frontend.quantize.shift_biases`.
    """
    model, probes = error_probes(editor, selection, params, per_channel)
    sums: dict[str, np.ndarray] = {}

    def look(name: str, arrays: list[np.ndarray]) -> None:
        axes = tuple(i for i in range(arrays[0].ndim) if i != 1)
        sums[name] = sums.get(name, 0.0) + arrays[0].mean(axis=axes, dtype=np.float64)

    observe(
        [(model, probes)],
        samples,
        look,
        num_threads=num_threads,
        stage="biases",
        progress=progress,
    )
    return {name: total / len(samples) for name, total in sums.items()}
