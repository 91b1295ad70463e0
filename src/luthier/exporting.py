"""Exports plans: a model, ready to run on this or another CPU without its ONNX file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luthier.errors import ArgumentError, UnsupportedError
from luthier.feeds import random_feeds
from luthier.graph import lower
from luthier.graph.bundle import Entry, write_bundle
from luthier.graph.lowering.context import Choose
from luthier.kernels.cpu import native_target
from luthier.kernels.spaces import allow
from luthier.kernels.workload import Chain, Workload
from luthier.model import Model
from luthier.session import config_chooser, default_threads, open_records
from luthier.target import Target, profile

__all__ = ["export"]


def export(
    model: str | os.PathLike[str] | bytes | Model,
    path: str | os.PathLike[str],
    *,
    targets: Sequence[str | Target] = ("native",),
    shapes: Mapping[str, Sequence[int]] | None = None,
    num_threads: int | None = None,
    records: str | os.PathLike[str] | None = "default",
    max_error: float | None = None,
    precision: str = "fp32",
) -> list[Entry]:
    """Write the plans of a model for one or several CPUs into one file.

    Parameters
    ----------
    model : path, bytes or Model
        An ONNX model.
    path : path
        The file to write, by custom ``NAME.luthier``. It is opened by `InferenceSession`, and by
        the C library of ``luthier export --standalone``.
    targets : sequence of str or Target
        ``"native"`` is this machine, other names are profiles. Which of the plans suits is found
        when the file is opened.
    shapes : mapping of str to sequence of int, optional
        Shapes of inputs where the model leaves them open; the plans are for these alone.
    num_threads : int, optional
        Threads of a run. By default as a session has here, and as many as a profile has cores.
    records : path or None
        Tuning records, as `InferenceSession` takes them.
    max_error, precision
        As `InferenceSession` takes them.

    Returns
    -------
    list of Entry
        The plans written, in the order of preference.

    Raises
    ------
    ArgumentError, InvalidModelError
        As `InferenceSession`.
    UnsupportedError
        Some nodes have no kernel; all of them are listed.

    Examples
    --------
    >>> luthier.export("model.onnx", "model.luthier", targets=["raspberry-pi-4"])  # doctest: +SKIP
    """
    allow(native_target(), precision, max_error)
    model = model if isinstance(model, Model) else Model(model)
    wanted = [_target(t) for t in targets]
    if not wanted:
        raise ArgumentError("no target to export for")
    feeds = random_feeds(model, shapes)
    graph = model.specialise(feeds)
    if model.by_value:
        raise UnsupportedError(
            f"{model.name}: steps depend on the content of inputs: {', '.join(model.by_value)}"
        )
    bound = {name: array.shape for name, array in feeds.items()}
    database = open_records(records)
    packed: dict[Any, np.ndarray] = {}
    entries = []
    for target in sorted(wanted, key=lambda t: -len((*t.isas, *t.features))):
        native = target == native_target()
        threads = num_threads or (default_threads() if native else target.cores)
        allowed, bound_error = allow(target, precision, max_error)
        choose = config_chooser(
            database,
            allowed,
            model=model.digest,
            shapes=bound,
            threads=threads,
            max_error=bound_error,
        )
        plan = lower(
            graph, _apart(choose), threads, packed=packed, max_error=bound_error, target=allowed
        )
        entries.append(Entry(target, threads, plan))
    write_bundle(path, model.name, graph.inputs, graph.outputs, entries)
    return entries


def _target(given: str | Target) -> Target:
    if isinstance(given, Target):
        return given
    return native_target() if given == "native" else profile(given)


def _apart(choose: Choose) -> Choose:
    """The same choice, but that chains of convolutions are not computed in bands: what such a step
    points to would have pointers inside, which files have not."""

    def choose_apart(workload: Workload) -> Any:
        return ({"rows": 0}, "default") if isinstance(workload, Chain) else choose(workload)

    return choose_apart
