"""`tune`: from a model file to records that make it faster on this machine."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luthier import tuner
from luthier.errors import ArgumentError
from luthier.feeds import example_feeds
from luthier.graph import lower
from luthier.kernels.cpu import native_target
from luthier.limits import MAX_ERROR
from luthier.model import Model
from luthier.session import default_threads

if TYPE_CHECKING:
    from luthier.graph import Plan
    from luthier.target import Target

__all__ = ["Outcome", "tune"]

VERIFY_SECONDS = 5.0
"""Of each comparison of the whole model, at most; at most a tenth of the budget."""


@dataclass(frozen=True)
class Outcome:
    """What a tuning run came to.

    Attributes
    ----------
    report : luthier.tuner.Report
        Of the search, task by task.
    kept : dict of str to luthier.tuner.Placed
        The configs that are used from now on, by workload key, as they did in the model.
    comparison : luthier.tuner.Comparison or None
        Of the whole model, tuned and untuned; None if nothing is kept.
    records : Path
        Where the records are.
    """

    report: tuner.Report
    kept: dict[str, tuner.Placed]
    comparison: tuner.Comparison | None
    records: Path


@dataclass(frozen=True)
class _Built:
    """A plan and its inputs, as `luthier.tuner.judge` runs them."""

    plan: Plan
    arrays: Sequence[np.ndarray]

    def run(self) -> Any:
        return self.plan.run(self.arrays)

    def profile(self) -> Counter[str]:
        times: Counter[str] = Counter()
        for node, seconds in zip(
            self.plan.nodes, self.plan.profile(self.arrays, repeats=1), strict=True
        ):
            times.update(dict.fromkeys(node.tasks, seconds))
        return times


def tune(
    model: str | os.PathLike[str] | Model,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    num_threads: int | None = None,
    target: Target | None = None,
    records: str | os.PathLike[str] | None = None,
    level: str = "normal",
    budget: float | None = None,
    seed: int = 0,
    progress: tuner.Progress | None = None,
    max_error: float = MAX_ERROR,
    on_tasks: Callable[[list[tuner.Task]], None] | None = None,
) -> Outcome:
    """Tune the kernels of a model to this machine, and keep what makes the whole model faster.

    Parameters
    ----------
    model : path or Model
    shapes : mapping of str to sequence of int, optional
        Input shapes to tune for. By default those of the first test set beside the model, or the
        declared ones.
    num_threads : int, optional
        As for `luthier.InferenceSession`.
    target : Target, optional
        By default this machine. Any other target has to be of the same architecture.
    records : path, optional
        By default the user's own file of records.
    level, budget, seed, progress, max_error
        As for `luthier.tuner.tune`. A session uses what is found if its own `max_error` allows.
    on_tasks : callable, optional
        Is told the tasks before the search starts.

    Returns
    -------
    Outcome

    Raises
    ------
    LuthierError
        As `luthier.InferenceSession` and `luthier.tuner.tune`.

    Examples
    --------
    >>> outcome = tune("model.onnx", num_threads=2, budget=60)  # doctest: +SKIP
    >>> outcome.comparison.ratio                                # doctest: +SKIP
    0.83
    """
    here = native_target()
    target = target or here
    if (target.arch, target.isas) != (here.arch, here.isas):
        raise ArgumentError(
            f"target {target.name} ({target.arch}, {target.isa}) cannot be measured on this machine"
            f" ({here.arch}, {here.isa})"
        )
    model = model if isinstance(model, Model) else Model(model)
    threads = num_threads or default_threads()
    feeds = example_feeds(model, shapes, seed)
    database = tuner.Database(records)
    tasks = tuner.extract(model.specialise(feeds), threads)
    if on_tasks:
        on_tasks(tasks)
    report = tuner.tune(
        tasks,
        database,
        target,
        level=level,
        budget=budget,
        seed=seed,
        progress=progress,
        max_error=max_error,
    )
    identity: dict[str, Any] = {
        "model": model.digest,
        "shapes": {name: array.shape for name, array in feeds.items()},
        "threads": threads,
    }
    packed: dict[Any, Any] = {}
    arrays = [np.asarray(feeds[v.name], order="C") for v in model.graph.inputs]

    def build(configs: Mapping[str, tuner.Config]) -> _Built:
        choose = tuner.chooser(database, target, only=configs, max_error=max_error)
        graph = model.specialise(feeds)
        plan = lower(graph, choose, threads, packed=packed, max_error=max_error)
        return _Built(plan, arrays)

    seconds = min(VERIFY_SECONDS, (budget or tuner.LEVELS[level].budget) / 10)
    kept, comparison = tuner.judge(report.tasks, build, seconds=seconds)
    tuner.remember(database, target, kept=kept, comparison=comparison, **identity)
    return Outcome(report, kept, comparison, database.path)
