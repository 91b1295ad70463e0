"""`tune`: from a model file to records that make it faster on this machine or a device."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luthier import tuner
from luthier.errors import ArgumentError
from luthier.feeds import example_feeds
from luthier.graph import lower
from luthier.kernels.cpu import native_target
from luthier.kernels.spaces import allow
from luthier.model import Model
from luthier.session import default_threads

if TYPE_CHECKING:
    from luthier.graph import Plan
    from luthier.target import Target
    from luthier.tuner.remote import RemoteMeasurer

__all__ = ["Outcome", "tune"]

EMULATOR = "qemu"

NOWHERE = "none"

CHECK_EFFORT = tuner.Effort(sample=1e-6, samples=1, most=1, rounds=1)
"""Of an emulated device: answers count, times say nothing."""

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
    records : Path or None
        Where the records are; None if the device is emulated, which says nothing of time.
    estimates : list of luthier.tuner.Estimates or None
        Those that take the most time first; None if something was measured.
    error : float or None
        Where products may round their factors: how much outputs of the whole model differ from
        those of float32 at most, as a share of their range, on the inputs it was tuned with.
    """

    report: tuner.Report
    kept: dict[str, tuner.Placed]
    comparison: tuner.Comparison | None
    records: Path | None
    estimates: list[tuner.Estimates] | None = None
    error: float | None = None


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
    device: str = "local",
    records: str | os.PathLike[str] | None = None,
    level: str = "normal",
    budget: float | None = None,
    seed: int = 0,
    progress: tuner.Progress | None = None,
    max_error: float | None = None,
    precision: str = "fp32",
    on_tasks: Callable[[list[tuner.Task]], None] | None = None,
) -> Outcome:
    """Tune the kernels of a model, and keep what makes it faster.

    On this machine the whole model has the last word. A device behind ssh times kernels alone; all
    that win there are kept. Without a device the configs are ranked by a cost model, and the best
    ones recorded as estimated: plans for the target use them until something is measured, and
    whoever tunes on such a device begins with them.

    Parameters
    ----------
    model : path or Model
    shapes : mapping of str to sequence of int, optional
        Input shapes to tune for. By default those of the first test set beside the model, or the
        declared ones.
    num_threads : int, optional
        As for `luthier.InferenceSession`; on another device by default all of its cores.
    target : Target, optional
        By default the device. A device has to have the same instruction sets; for ``"qemu"`` it
        says which core is emulated.
    device : str
        ``"local"``, ``"ssh://[user@]host[:port]"``, ``"qemu"``: an emulated Arm core on which
        answers are checked, and nothing is recorded; or ``"none"``: nothing runs at all.
        ``"local"`` is that as well if the target is another CPU than this one.
    records : path, optional
        By default the user's own file of records.
    level, budget, seed, progress
        As for `luthier.tuner.tune`.
    max_error, precision
        As for `luthier.InferenceSession`. A session of the same precision uses what is found if
        its own `max_error` allows.
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
    _, max_error = allow(native_target(), precision, max_error)
    model = model if isinstance(model, Model) else Model(model)
    feeds = example_feeds(model, shapes, seed)
    if device == NOWHERE or (device == "local" and not _is_here(target)):
        target = replace(target or native_target(), precision=precision)
        threads = num_threads or (default_threads() if _is_here(target) else target.cores)
        tasks = tuner.extract(model.specialise(feeds), threads)
        if on_tasks:
            on_tasks(tasks)
        return _estimated(tasks, target, tuner.Database(records), max_error)
    with contextlib.ExitStack() as stack:
        measurer = None
        if device != "local":
            effort = CHECK_EFFORT if device == EMULATOR else tuner.LEVELS[level].effort
            measurer = stack.enter_context(_connected(device, target, effort, progress, max_error))
        here = measurer.target if measurer else native_target()
        target = replace(_agreed(target, here, device), precision=precision)
        if measurer:
            measurer.target = target
        threads = num_threads or _threads(target, device)
        if device == EMULATOR:
            records = Path(stack.enter_context(tempfile.TemporaryDirectory()), "records.jsonl")
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
            strategy="random" if device == EMULATOR else "bayes",
            measurer=measurer,
            progress=None if device == EMULATOR else progress,
            max_error=max_error,
        )
    if device == EMULATOR:
        return Outcome(report, {}, None, None)
    if measurer:
        won = [t for t in report.tasks if t.won and t.config]
        alone = {t.task.key: tuner.Placed(t.config, *t.interval) for t in won}
        return Outcome(report, alone, None, database.path)
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
        plan = lower(graph, choose, threads, packed=packed, max_error=max_error, target=target)
        return _Built(plan, arrays)

    seconds = min(VERIFY_SECONDS, (budget or tuner.LEVELS[level].budget) / 10)
    kept, comparison = tuner.judge(report.tasks, build, seconds=seconds)
    tuner.remember(database, target, kept=kept, comparison=comparison, **identity)
    error = None
    if precision != "fp32":
        exact = lower(model.specialise(feeds), num_threads=threads).run(arrays)
        error = _difference(build({k: p.config for k, p in kept.items()}).run(), exact)
    return Outcome(report, kept, comparison, database.path, error=error)


def _difference(outputs: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> float:
    """The largest difference of floats, as a share of an output's range; infinite where only one
    side is finite."""
    worst = 0.0
    for mine, right in zip(outputs, exact, strict=True):
        if right.dtype.kind != "f" or not right.size:
            continue
        finite = np.isfinite(right)
        if not np.array_equal(finite, np.isfinite(mine)):
            return float("inf")
        right, mine = right[finite].astype(np.float64), mine[finite].astype(np.float64)
        span = float(np.ptp(right)) if right.size else 0.0
        worst = max(worst, float(np.abs(mine - right).max(initial=0.0)) / (span or 1.0))
    return worst


def _is_here(target: Target | None) -> bool:
    """Whether this machine may count as the target."""
    here = native_target()
    return (
        target is None
        or (target.arch, target.isas) == (here.arch, here.isas)
        or (target.name == "arm" and here.arch == target.arch)
    )


def _estimated(
    tasks: list[tuner.Task], target: Target, database: tuner.Database, max_error: float
) -> Outcome:
    """What a cost model says."""
    if target.name == "arm":
        raise ArgumentError(
            "target arm is every Arm core: name one with --cpu NAME to have its plan estimated, or"
            " a device with --device ssh://user@host to measure on"
        )
    found = tuner.record_estimates(tasks, database, target, max_error=max_error)
    return Outcome(tuner.Report(), {}, None, database.path, found)


def _connected(
    device: str,
    target: Target | None,
    effort: tuner.Effort,
    progress: tuner.Progress | None,
    max_error: float,
) -> RemoteMeasurer:
    from luthier.tuner.link import emulator, over_ssh
    from luthier.tuner.remote import RemoteMeasurer

    notice = progress.on_notice if progress else None
    if device != EMULATOR:
        return RemoteMeasurer(over_ssh(device), effort, max_error=max_error, on_notice=notice)
    if target is None:
        raise ArgumentError("device qemu: say which core to emulate, with --cpu NAME")
    return RemoteMeasurer(
        emulator(target), effort, timeout=120, target=target, max_error=max_error, on_notice=notice
    )


def _agreed(target: Target | None, here: Target, device: str) -> Target:
    """The target of the records: the machine itself, or what it may count as."""
    if target is None or (target.name == "arm" and here.arch == target.arch):
        return here
    if (target.arch, target.isas) == (here.arch, here.isas):
        return target
    raise ArgumentError(
        f"target {target.name} ({target.arch}, {target.isa}) cannot be measured on {device}"
        f" ({here.arch}, {here.isa})"
    )


def _threads(target: Target, device: str) -> int:
    if device == "local":
        return default_threads()
    return min(2, target.cores) if device == EMULATOR else target.cores
