"""How far a quantised model is from the float one: layer by layer, and at its outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from luthier.onnx_frontend.quantize import Editor, Quantized
from luthier.quantizer.execute import Progress, observe
from luthier.quantizer.samples import Samples

__all__ = ["Noise", "OutputError", "layer_noise", "output_errors"]

MIN_ROWS = 10
"""Held-out rows that it takes to judge a classifier by its first choices."""


@dataclass
class Noise:
    """The power of a signal and of what was added to it.

    Attributes
    ----------
    signal, noise : float
        Sums of squares.
    """

    signal: float = 0.0
    noise: float = 0.0

    def add(self, real: np.ndarray, other: np.ndarray) -> None:
        """Take in a tensor and its quantised form."""
        wide = real.astype(np.float64)
        self.signal += float(np.sum(wide**2))
        self.noise += float(np.sum((wide - other) ** 2))

    @property
    def ratio(self) -> float:
        """Noise over signal."""
        return self.noise / self.signal if self.signal else (math.inf if self.noise else 0.0)

    @property
    def decibels(self) -> float | None:
        """The signal-to-noise ratio; None without noise."""
        return -10 * math.log10(self.ratio) if 0 < self.ratio < math.inf else None


@dataclass(frozen=True)
class OutputError:
    """What quantisation does to one output.

    Attributes
    ----------
    name : str
    metric : str
        ``"top-1 agreement"`` for outputs of shape (n, classes) or (n, classes, 1, 1) and at least
        10 held-out rows, otherwise ``"relative error"``, the norm of the difference over that of
        the float output.
    drop : float
        1 - agreement, or the relative error.
    snr_db : float or None
        None if the output is exact.
    """

    name: str
    metric: str
    drop: float
    snr_db: float | None


def layer_noise(
    editor: Editor,
    quantized: Quantized,
    samples: Samples,
    *,
    stage: str,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Noise]:
    """The noise of each quantised tensor.

    Parameters
    ----------
    editor : Editor
        The float model that was quantised.
    quantized : Quantized
        In the form ``"qdq"``, or of `quantize_alone`.
    samples : Samples
        Other ones than those of calibration.
    stage : str
        For `progress`.
    """
    tensors = {n: n for n in quantized.real if n not in editor.constants}
    found = {name: Noise() for name in tensors}
    observe(
        [(editor, tensors), (quantized.editor, {n: quantized.real[n] for n in tensors})],
        samples,
        lambda name, arrays: found[name].add(*arrays),
        num_threads=num_threads,
        stage=stage,
        progress=progress,
    )
    return found


def output_errors(
    original: Editor,
    quantized: Quantized,
    samples: Samples,
    *,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> list[OutputError]:
    """The error of each output of a model.

    Parameters
    ----------
    original : Editor
        The float model as it was given.
    quantized : Quantized
    samples : Samples
        Other ones than those of calibration.
    """
    names = {name: name for name in original.outputs}
    noise = {name: Noise() for name in names}
    agreed: dict[str, list[bool]] = {name: [] for name in names}

    def look(name: str, arrays: list[np.ndarray]) -> None:
        real, other = arrays
        noise[name].add(real, other)
        if real.ndim > 1 and real.shape[1] > 1 and real.size == real.shape[0] * real.shape[1]:
            rows = [a.reshape(a.shape[0], -1).argmax(axis=1) for a in arrays]
            agreed[name] += (rows[0] == rows[1]).tolist()

    observe(
        [(original, names), (quantized.editor, names)],
        samples,
        look,
        num_threads=num_threads,
        stage="outputs",
        progress=progress,
    )
    return [_output_error(name, noise[name], agreed[name]) for name in names]


def _output_error(name: str, noise: Noise, agreed: list[bool]) -> OutputError:
    if len(agreed) >= MIN_ROWS:
        return OutputError(name, "top-1 agreement", 1 - sum(agreed) / len(agreed), noise.decibels)
    return OutputError(name, "relative error", math.sqrt(noise.ratio), noise.decibels)
