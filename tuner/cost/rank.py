"""Spaces in the order of what their configs are estimated to take."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from luthier.kernels.spaces import space
from luthier.limits import MAX_ERROR
from luthier.target import Target
from luthier.tuner.cost.estimate import estimate, is_modelled
from luthier.tuner.cost.factors import family_of, fitted
from luthier.tuner.database import Database
from luthier.tuner.device import device_of, kernels_hash
from luthier.tuner.record import Config, Estimates, Guess
from luthier.tuner.task import Task

__all__ = ["KEPT", "estimate_task", "ranked", "record_estimates"]

KEPT = 5
"""Configs of a task that are worth measuring: with so many, the best is near the optimum."""


def ranked(workload: Any, configs: list[Config], target: Target) -> list[Guess]:
    """The configs with their estimates, the fastest first; equal ones in their order."""
    guesses = []
    for config in configs:
        found = estimate(workload, config, target)
        guesses.append(Guess(config, found.seconds, found.parts))
    return sorted(guesses, key=lambda g: g.seconds)


def estimate_task(task: Task, target: Target, *, max_error: float = MAX_ERROR) -> Estimates | None:
    """The record of what is estimated for a task; None for chains and precisions, whose untuned
    choice stays.

    Parameters
    ----------
    task : Task
    target : Target
        What the workload is to run on; it need not be there.
    max_error : float
        As for `luthier.kernels.spaces.space`.

    Examples
    --------
    >>> from luthier.kernels import Workload
    >>> from luthier.target import profile
    >>> w = Workload.parse("gemm/f32/b1m64n64k64/packed/epi=bias/t1")
    >>> found = estimate_task(Task(w), profile("raspberry-pi-4"))
    >>> len(found.best), found.confidence
    (5, 'low')
    """
    workload = task.workload
    if not is_modelled(workload):
        return None
    offered = space(workload.op, workload, target, max_error)
    order = ranked(workload, offered.configs, target)
    family = fitted().families[family_of(workload)]
    return Estimates(
        run=uuid.uuid4().hex[:12],
        sequence=0,
        device=device_of(target),
        kernels=kernels_hash(),
        library=version("luthier"),
        workload=task.key,
        space=offered.version,
        best=tuple(order[:KEPT]),
        default=next(g for g in order if g.config == offered.default),
        configs=len(order),
        core=fitted().core,
        correlation=family.correlation,
    )


def record_estimates(
    tasks: Iterable[Task], database: Database, target: Target, *, max_error: float = MAX_ERROR
) -> list[Estimates]:
    """Estimate every task that has a model, and write what is found to the database.

    Returns
    -------
    list of Estimates
        Those first that would take the most time of a model untuned.
    """
    database.check_writable()
    found = []
    for task in tasks:
        estimates = estimate_task(task, target, max_error=max_error)
        if estimates is not None:
            database.append(estimates)
            found.append((task.weight * estimates.default.seconds, estimates))
    found.sort(key=lambda pair: -pair[0])
    return [estimates for _, estimates in found]
