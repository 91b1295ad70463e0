"""The bound on errors: what tuning keeps, and what sessions use of it."""

from __future__ import annotations

from dataclasses import replace

import doubles
import msgspec
import pytest

from luthier.errors import ArgumentError
from luthier.kernels import native_target
from luthier.kernels.spaces import VERSION
from luthier.tuner import Database, Device, chooser, device_of, kernels_hash, tune
from luthier.tuner.record import Check, Reference, Result, Times, Trial, Verdict
from luthier.tuner.task import Task

DEFAULT = {"algo": "direct", "mr": 6}
PRECISE = {"algo": "winograd2", "mr": 6}
FAST = {"algo": "winograd4", "mr": 6}
RATIOS = {"direct": 1.0, "winograd2": 0.7, "winograd4": 0.5}
ERRORS = {"direct": 2e-6, "winograd2": 2e-7, "winograd4": 3e-6}
TASK = Task(doubles.Workload("conv2d/a"), 1)


def result(config: dict) -> Result:
    ratio, error = RATIOS[config["algo"]], ERRORS[config["algo"]]
    times, compared = Times(1e-3 * ratio), Reference(DEFAULT, ratio, ratio, ratio)
    return Result("ok", times=times, reference=compared, check=Check(True, error, error))


class Measurer:
    """Three configs, of which the faster ones err."""

    kernels = "k1"

    def __init__(self) -> None:
        self.measured = 0

    def space(self, workload):
        knobs = {"algo": tuple(RATIOS), "mr": (6,)}
        return doubles.Space(knobs, [DEFAULT, PRECISE, FAST], DEFAULT)

    def measure(self, workload, config, reference, best=float("inf")) -> Result:
        self.measured += 1
        return result(config)

    def confirm(self, workload, configs, reference) -> list[Result]:
        return [result(config) for config in configs]


def run(database: Database, device: Device, max_error: float, measurer: Measurer):
    (found,) = tune(
        [TASK], database, device, measurer=measurer, strategy="random", max_error=max_error
    ).tasks
    return found


def test_tuning_keeps_what_errs_within_the_bound(database: Database, device: Device) -> None:
    measurer = Measurer()
    found = run(database, device, 1e-6, measurer)
    assert found.config == PRECISE
    assert found.candidates == (PRECISE,)
    assert found.statuses == {"ok": 2, "inaccurate": 1}
    # Records hold what was measured, whatever the bound: another run need not measure again.
    trials = [r for r in database.records() if isinstance(r, Trial)]
    assert {t.result.status for t in trials} == {"ok"}
    found = run(database, device, 1e-5, measurer)
    assert (found.config, measurer.measured) == (FAST, 3)
    assert run(database, device, 0.0, measurer).config == DEFAULT


def test_trials_beside_another_default_are_not_recalled(database: Database, device: Device) -> None:
    class Other(Measurer):
        def space(self, workload):
            return replace(super().space(workload), default=FAST)

        def measure(self, workload, config, reference, best=float("inf")) -> Result:
            made = super().measure(workload, config, reference, best)
            return msgspec.structs.replace(made, reference=Reference(reference, 1.0, 1.0, 1.0))

    run(database, device, 1e-5, Measurer())
    other = Other()
    run(database, device, 1e-5, other)
    assert other.measured == 3


def verdict(config: dict) -> Verdict:
    return Verdict(
        run="r",
        sequence=1,
        device=device_of(native_target()),
        kernels=kernels_hash(),
        workload=TASK.key,
        space=VERSION,
        config=config,
        result=result(config),
        won=True,
    )


def test_sessions_use_what_errs_within_the_bound(database: Database) -> None:
    database.append(verdict(FAST))
    assert database.error(TASK.key, FAST) == 3e-6
    assert database.error(TASK.key, PRECISE) is None
    assert database.error("conv2d/b", FAST) is None
    target = native_target()
    for bound, chosen in ((1e-5, (FAST, "exact")), (2e-6, (None, "default"))):
        assert chooser(database, target, max_error=bound)(TASK.workload) == chosen
        only = {TASK.key: FAST}
        assert chooser(database, target, only=only, max_error=bound)(TASK.workload) == chosen
    # Of what no record tells, the usual error counts.
    only = {TASK.key: PRECISE}
    for bound, chosen in ((1e-6, (PRECISE, "exact")), (9e-7, (None, "default"))):
        assert chooser(database, target, only=only, max_error=bound)(TASK.workload) == chosen
    # What sums as usual is within any bound.
    database.append(verdict(DEFAULT))
    assert chooser(database, target, max_error=0.0)(TASK.workload) == (DEFAULT, "exact")


@pytest.mark.parametrize("bound", [-1e-9, float("nan")])
def test_bounds_that_are_none(bound: float, database: Database, device: Device) -> None:
    with pytest.raises(ArgumentError, match="max_error must be zero or a positive number"):
        run(database, device, bound, Measurer())
