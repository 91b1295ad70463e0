"""`quantize`: from a float model and samples to an int8 model and what it costs."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import ArgumentError, UnsupportedError
from luthier.model import Model
from luthier.onnx_frontend import quantize as models
from luthier.quantizer.calibrate import calibrate, mean_errors
from luthier.quantizer.evaluate import OutputError, layer_noise, output_errors
from luthier.quantizer.execute import Progress
from luthier.quantizer.histogram import METHODS, PERCENTILE
from luthier.quantizer.samples import Pixels, Samples, open_samples

__all__ = ["LayerNoise", "Outcome", "quantize"]

ACTIVATIONS = ("uint8", "int8")
HELD_OUT = 4
"""One sample in so many is held out of calibration, to judge the result by."""


@dataclass(frozen=True)
class LayerNoise:
    """A quantised layer.

    Attributes
    ----------
    node, op : str
    output : str
        The float tensor that it stands for.
    snr_db : float or None
        Signal-to-noise ratio of that tensor on held-out samples; None if it is exact.
    own_snr_db : float or None
        The same if this layer alone were quantised: how much noise is its own.
    """

    node: str
    op: str
    output: str
    snr_db: float | None
    own_snr_db: float | None


@dataclass(frozen=True)
class Outcome:
    """A quantised model, written.

    Attributes
    ----------
    path : Path
    bytes_before, bytes_after : int
        Sizes of the files.
    calibrated, held_out : int
        Numbers of samples.
    disjoint : bool
        Whether the held-out samples are others than those of calibration. With fewer than four
        samples they are the same.
    layers : list of LayerNoise
        Those that are int8, in order.
    left_float : list of str
        Nodes that were left in float to keep the error within `max_drop`.
    outputs : list of OutputError
    """

    path: Path
    bytes_before: int
    bytes_after: int
    calibrated: int
    held_out: int
    disjoint: bool
    layers: list[LayerNoise]
    left_float: list[str]
    outputs: list[OutputError]

    @property
    def drop(self) -> float:
        """The largest of the outputs' drops."""
        return max(o.drop for o in self.outputs)


def quantize(
    model: str | os.PathLike[str],
    data: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    method: str = "percentile",
    percentile: float = PERCENTILE,
    per_channel: bool = True,
    format: str = "qdq",
    activations: str = "uint8",
    exclude: Collection[str] = (),
    max_drop: float | None = None,
    equalize: bool = False,
    bias_correction: bool = False,
    samples: int | None = None,
    held_out: Any = None,
    pixels: Pixels | None = None,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Quantise a float32 model to int8 and write it as standard ONNX.

    Parameters
    ----------
    model : path
    data : path or sequence
        Samples to calibrate with: see `luthier.quantizer.open_samples`.
    output : path, optional
        By default beside the model, ``NAME.int8.onnx``.
    method : str
        How the range of an activation is chosen: ``"minmax"``, ``"percentile"``, ``"entropy"`` or
        ``"mse"``.
    percentile : float
        For that method.
    per_channel : bool
        Whether weights have a scale for each output channel.
    format : str
        ``"qdq"`` or ``"qoperator"``.
    activations : str
        ``"uint8"`` or ``"int8"``. Weights are always int8.
    exclude : collection of str
        Names of nodes that stay float.
    max_drop : float, optional
        Leave layers in float, those of most noise of their own first, until no output's drop is
        larger.
    equalize : bool
        Equalise the channels of neighbouring convolutions first.
    bias_correction : bool
        Take the mean error of rounded weights out of the biases.
    samples : int, optional
        At most so many of `data`, evenly spread.
    held_out : path or sequence, optional
        Samples to judge the result by. By default every fourth of `data`.
    pixels : Pixels, optional
        What to do with pictures.
    num_threads : int, optional
        As for `luthier.InferenceSession`.
    progress : callable, optional
        Is told the stage, and how much of it is done, of how much.

    Returns
    -------
    Outcome

    Raises
    ------
    ArgumentError
        An argument is out of its range, samples do not fit the model, or `output` is the model.
    InvalidModelError, UnsupportedError
        As `luthier.onnx_frontend.load`; also if nothing in the model can be int8.

    Examples
    --------
    >>> outcome = quantize("model.onnx", "pictures", max_drop=0.01)  # doctest: +SKIP
    >>> outcome.drop, outcome.bytes_before / outcome.bytes_after     # doctest: +SKIP
    (0.0, 3.86)
    """
    for name, value, known in (
        ("method", method, METHODS),
        ("format", format, models.FORMATS),
        ("activations", activations, ACTIVATIONS),
    ):
        if value not in known:
            raise ArgumentError(f"unknown {name} {value!r}, choose from: {', '.join(known)}")
    if not 50 <= percentile <= 100:
        raise ArgumentError(f"percentile must be from 50 to 100, got {percentile}")
    if max_drop is not None and not 0 <= max_drop <= 1:
        raise ArgumentError(f"max_drop must be from 0 to 1, got {max_drop}")
    source = Path(model)
    target = source.with_suffix(".int8.onnx") if output is None else Path(output)
    if target.exists() and source.exists() and target.samefile(source):
        raise ArgumentError(f"{target}: the output would overwrite the model")
    original = models.prepare(source)
    loaded = Model(source)
    used, judged = _split(open_samples(data, loaded, pixels), samples)
    disjoint = held_out is not None or len(judged) < len(used)
    if held_out is not None:
        judged = open_samples(held_out, loaded, pixels)

    editor = original.copy()
    if equalize:
        models.equalize(editor)
    chosen = models.select(editor, exclude)
    if not chosen.nodes:
        raise UnsupportedError(f"{source.name}: no float32 Conv, Gemm or MatMul to quantise")
    dtype = np.dtype(activations)
    params = calibrate(
        editor,
        chosen,
        used,
        method=method,
        percentile=percentile,
        dtype=dtype,
        num_threads=num_threads,
        progress=progress,
    )
    errors: dict[str, np.ndarray] = {}
    if bias_correction:
        errors = mean_errors(
            editor,
            chosen,
            params,
            used,
            per_channel=per_channel,
            num_threads=num_threads,
            progress=progress,
        )
    by_tensor = {name: params[root] for name, root in chosen.tensors.items()}

    def make(left: Collection[str], form: str = "qdq") -> models.Quantized:
        selection, corrected = models.select(editor, {*exclude, *left}), editor.copy()
        models.shift_biases(corrected, {n: e for n, e in errors.items() if n in selection.nodes})
        return models.write(corrected, selection, by_tensor, per_channel=per_channel, form=form)

    def judge(left: Collection[str]) -> list[OutputError]:
        return output_errors(
            original, make(left), judged, num_threads=num_threads, progress=progress
        )

    def noise_of(left: Collection[str]) -> list[LayerNoise]:
        selection = models.select(editor, {*exclude, *left})
        alone = models.quantize_alone(editor, selection, by_tensor, per_channel=per_channel)
        noise, own = (
            layer_noise(
                editor, made, judged, num_threads=num_threads, stage=stage, progress=progress
            )
            for made, stage in ((make(left), "layers"), (alone, "layers alone"))
        )
        ops = {node.name: node.op_type for node in editor.nodes}
        return [
            LayerNoise(name, ops[name], output, noise[output].decibels, own[output].decibels)
            for name, output in selection.nodes.items()
            if ops[name] not in models.PASSING
        ]

    layers, outputs, left = noise_of(()), judge(()), list[str]()
    if max_drop is not None and max(o.drop for o in outputs) > max_drop:
        ranked = [n.node for n in sorted(layers, key=_own_snr)]
        left, outputs = _leave_float(ranked, judge, max_drop)
        layers = noise_of(left) if len(left) < len(ranked) else []
    size = models.save(make(left, format).editor, target)
    return Outcome(
        target, source.stat().st_size, size, len(used), len(judged), disjoint, layers, left, outputs
    )


def _split(found: Samples, limit: int | None) -> tuple[Samples, Samples]:
    """The samples to calibrate with, and those to judge by."""
    count = len(found) if limit is None else min(limit, len(found))
    if count < 1:
        raise ArgumentError(f"samples must be positive, got {limit}")
    spread = np.linspace(0, len(found) - 1, count).round().astype(int).tolist()
    if count < HELD_OUT:
        return found.pick(spread), found.pick(spread)
    kept = [i for n, i in enumerate(spread) if n % HELD_OUT != HELD_OUT - 1]
    return found.pick(kept), found.pick(spread[HELD_OUT - 1 :: HELD_OUT])


def _own_snr(layer: LayerNoise) -> float:
    return math.inf if layer.own_snr_db is None else layer.own_snr_db


def _leave_float(
    ranked: Sequence[str],
    judge: Callable[[Collection[str]], list[OutputError]],
    max_drop: float,
) -> tuple[list[str], list[OutputError]]:
    """The shortest head of `ranked` found with which no output drops by more than `max_drop`.

    The head is doubled until it is long enough, and then halved towards the last that was not:
    about twice the logarithm of the number of layers is how often the model is judged.
    """

    def good(outputs: list[OutputError]) -> bool:
        return max(o.drop for o in outputs) <= max_drop

    short, count = 0, 1
    while not good(outputs := judge(ranked[:count])) and count < len(ranked):
        short, count = count, min(2 * count, len(ranked))
    while count - short > 1:
        middle = (short + count) // 2
        tried = judge(ranked[:middle])
        if good(tried):
            count, outputs = middle, tried
        else:
            short = middle
    return list(ranked[:count]), outputs
