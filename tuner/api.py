"""`tune`: the way in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from luthier.errors import ArgumentError
from luthier.limits import MAX_ERROR
from luthier.tuner.cost.rank import KEPT, record_estimates
from luthier.tuner.database import Database
from luthier.tuner.device import device_of
from luthier.tuner.loop import Loop
from luthier.tuner.measure import LocalMeasurer, Measurer
from luthier.tuner.progress import Progress
from luthier.tuner.report import Report
from luthier.tuner.sampling import Effort
from luthier.tuner.strategies import RandomSearch, strategy_class
from luthier.tuner.task import Task

__all__ = ["LEVELS", "Level", "tune"]


@dataclass(frozen=True)
class Level:
    """How thoroughly to search.

    Attributes
    ----------
    trials : int or None
        Most trials a task; None is every config.
    budget : float
        Seconds of the whole run, unless the caller says otherwise.
    effort : Effort
        Time of one trial.
    """

    trials: int | None
    budget: float
    effort: Effort


ESTIMATED = "estimated"

LEVELS = {
    ESTIMATED: Level(1 + KEPT, 60, Effort()),
    "quick": Level(24, 60, Effort(sample=0.002, most=9)),
    "normal": Level(100, 600, Effort()),
    "patient": Level(300, 3600, Effort(rounds=16)),
    "exhaustive": Level(None, float("inf"), Effort(rounds=16)),
}


def tune(
    tasks: Iterable[Task],
    database: Database,
    target: Any,
    *,
    level: str = "normal",
    budget: float | None = None,
    seed: int = 0,
    strategy: str = "bayes",
    measurer: Measurer | None = None,
    progress: Progress | None = None,
    max_error: float = MAX_ERROR,
) -> Report:
    """Search the best config of every task, and write what is found to the database.

    A run that was killed is continued by a run with the same seed: recorded trials are not
    measured again. Ctrl-C ends the search; what was found until then is confirmed and kept.

    Parameters
    ----------
    tasks : iterable of Task
        As `luthier.tuner.extract` makes them.
    database : Database
    target : luthier.target.Target
        The device that the measurer runs on.
    level : str
        ``"estimated"``, ``"quick"``, ``"normal"``, ``"patient"`` or ``"exhaustive"``: the default
        and the five configs that are estimated to be the best, 24, 100 or 300 trials a task, or
        the whole space.
    budget : float, optional
        Seconds for all tasks together; a tenth is kept for confirmation. By default 60, 60, 600,
        3600 and without bound.
    seed : int
        With a measurer that always answers the same, equal seeds give equal runs.
    strategy : str
        ``"bayes"``, ``"local"`` or ``"random"``; exhaustive runs try everything in random order.
    measurer : Measurer, optional
        By default a `LocalMeasurer` with the level's effort.
    progress : Progress, optional
        Is told what happens.
    max_error : float
        Largest error that the algorithm of a layer may add, as a share of its output's range.
        Convolutions by Winograd are tried where they usually err by less, and kept where they do.

    Returns
    -------
    Report

    Raises
    ------
    ArgumentError
        Unknown level or strategy, a budget that is not positive, or a negative `max_error`.
    RecordError
        The database cannot be written, or another run is writing it; nothing was measured.
    KernelError
        No config can be measured at all.

    Examples
    --------
    >>> report = tune(tasks, Database(), luthier.native_target(), budget=60)   # doctest: +SKIP
    >>> [(t.task.key, t.ratio) for t in report.tasks]                          # doctest: +SKIP
    """
    from luthier.kernels.spaces import check_max_error, space

    check_max_error(max_error)
    if level not in LEVELS:
        raise ArgumentError(f"unknown level {level!r}, choose from: {', '.join(LEVELS)}")
    chosen = LEVELS[level]
    if budget is not None and not budget > 0:
        raise ArgumentError(f"budget must be positive seconds, got {budget}")
    searcher, notice = strategy_class(strategy)
    if chosen.trials is None:
        searcher, notice = RandomSearch, ""
    database.check_writable()
    own = measurer is None
    measurer = measurer or LocalMeasurer(
        chosen.effort, space=partial(space, target=target, max_error=max_error)
    )
    try:
        with database.tuning_lock():
            if level == ESTIMATED:
                tasks = list(tasks)
                record_estimates(tasks, database, target, max_error=max_error)
            loop = Loop(
                database,
                measurer,
                device_of(target),
                kernels=measurer.kernels,
                library=version("luthier"),
                seed=seed,
                budget=chosen.budget if budget is None else budget,
                progress=progress or Progress(),
                max_error=max_error,
            )
            if notice:
                loop.notice(notice)
            for task in tasks:
                loop.add(task, chosen.trials, searcher)
            return loop.run()
    finally:
        if own:
            measurer.close()
