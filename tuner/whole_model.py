"""The last word: a tuned plan is used only if the whole model runs faster by it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.tuner.database import Database
from luthier.tuner.device import device_of, kernels_hash
from luthier.tuner.in_place import Built, Placed, rank_in_place
from luthier.tuner.record import Config, ModelVerdict
from luthier.tuner.report import TaskReport
from luthier.tuner.stats import bootstrap_interval

__all__ = ["Comparison", "compare", "judge", "remember"]

Run = Callable[[], Any]

PATIENCE = 3

DECIDING = ("chain", "precision")
"""Operators that decide where the time of other workloads goes, or which of them are computed."""


@dataclass(frozen=True)
class Comparison:
    """Time of the tuned model over the untuned one, with its 95 % interval and both medians."""

    ratio: float
    lo: float
    hi: float
    tuned: float
    untuned: float
    rounds: int


def compare(
    run_tuned: Run,
    run_untuned: Run,
    *,
    seconds: float = 3.0,
    least: int = 7,
    most: int = 200,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Compare two callables by interleaved rounds: tuned, untuned, untuned, tuned.

    Parameters
    ----------
    run_tuned, run_untuned : callable
        One run of the model each.
    seconds : float
        Rounds go on for about so long,
    least, most : int
        but are at least and at most so many.
    clock : callable

    Returns
    -------
    Comparison
        The median of the rounds' ratios, with its bootstrap interval.
    """
    run_tuned(), run_untuned()  # warm
    tuned: list[float] = []
    untuned: list[float] = []

    def timed(run: Run) -> float:
        begin = clock()
        run()
        return clock() - begin

    begin = clock()
    while len(tuned) < least or (len(tuned) < most and clock() - begin < seconds):
        first, second, third, fourth = (
            timed(run) for run in (run_tuned, run_untuned, run_untuned, run_tuned)
        )
        tuned.append((first + fourth) / 2)
        untuned.append((second + third) / 2)
    logs = np.log(np.asarray(tuned) / np.asarray(untuned))
    lo, hi = bootstrap_interval(logs, lambda x: float(np.median(x)))
    return Comparison(
        math.exp(float(np.median(logs))),
        math.exp(lo),
        math.exp(hi),
        float(np.median(tuned)),
        float(np.median(untuned)),
        len(tuned),
    )


def judge(
    tasks: Sequence[TaskReport],
    build: Callable[[Mapping[str, Config]], Built],
    *,
    seconds: float = 3.0,
    rank: Callable[..., dict[str, Placed]] = rank_in_place,
    compare: Callable[..., Comparison] = compare,
) -> tuple[dict[str, Placed], Comparison | None]:
    """Find which tuned configs to keep, by running the whole model.

    The candidates of each task are ranked in their place first, those of chains and precisions
    after those of their members, with these. A member that the untuned model does not have has the
    config that won alone. Those that win are then tried together, with more patience if the model
    looks faster but not with confidence. While it is not faster with confidence, the less certain
    half is given up.

    Parameters
    ----------
    tasks : sequence of TaskReport
    build : callable
        Makes the model with the configs of a mapping by workload key, and defaults for all others.
    seconds : float
        For the ranking and for each comparison; the patient one takes three times as long.
    rank, compare : callable
        As `luthier.tuner.in_place.rank_in_place` and `luthier.tuner.whole_model.compare`.

    Returns
    -------
    kept : dict of str to Placed
        By workload key; empty if the untuned model is to stay.
    comparison : Comparison or None
        Of the kept plan with the untuned one; None if nothing is kept.
    """
    placed: dict[str, Placed] = {}
    absent: dict[str, Placed] = {}
    for deciding in (False, True):
        group = [t for t in tasks if (t.task.workload.op in DECIDING) == deciding]
        candidates = {t.task.key: t.candidates for t in group if t.candidates}
        if not candidates:
            continue
        best = {key: p.config for key, p in (absent | placed).items()}
        ranked = rank(candidates, lambda c, best=best: build({**best, **c}), seconds=seconds)
        placed |= {key: p for key, p in ranked.items() if p.hi < 1}
        absent |= {
            t.task.key: Placed(t.config, *t.interval)
            for t in group
            if t.won and t.task.key not in ranked
        }
    decided = [t.task.workload for t in tasks if t.task.key in placed]
    members = {w.key for d in decided for w in getattr(d, "members", ())}
    placed |= {key: p for key, p in absent.items() if key in members}
    winners = sorted(placed, key=lambda k: placed[k].hi)
    if not winners:
        return {}, None
    untuned = build({})
    patient = True
    while winners:
        kept = {key: placed[key] for key in winners}
        tuned = build({key: choice.config for key, choice in kept.items()})
        found = compare(tuned.run, untuned.run, seconds=seconds)
        if patient and found.ratio < 1 <= found.hi:
            found = compare(tuned.run, untuned.run, seconds=PATIENCE * seconds)
        patient = False
        if found.hi < 1:
            return kept, found
        winners = winners[: len(winners) // 2]
    return {}, None


def remember(
    database: Database,
    target: Any,
    *,
    model: str,
    shapes: dict[str, tuple[int, ...]],
    threads: int,
    kept: Mapping[str, Placed],
    comparison: Comparison | None,
) -> ModelVerdict:
    """Append the outcome of `judge`; sessions of this model then use just the kept configs."""
    ratio, lo, hi = (comparison.ratio, comparison.lo, comparison.hi) if comparison else (1, 1, 1)
    verdict = ModelVerdict(
        run="",
        sequence=0,
        device=device_of(target),
        kernels=kernels_hash(),
        model=model,
        shapes=shapes,
        threads=threads,
        ratio=ratio,
        lo=lo,
        hi=hi,
        kept={key: choice.config for key, choice in sorted(kept.items())},
    )
    database.append(verdict, sync=True)
    return verdict
