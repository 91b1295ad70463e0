"""The loop: budget, scheduling, records, resuming, interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import doubles
import pytest

from luthier.errors import ArgumentError, KernelError, RecordError
from luthier.tuner import Database, Device, LocalMeasurer, Progress, Task, tune
from luthier.tuner.loop import Loop
from luthier.tuner.record import OK, Reference, Result, Start, Times, Trial, Verdict, config_key
from luthier.tuner.strategies import LocalSearch, RandomSearch

BEST = {"algo": "direct", "mr": 6, "nv": 2, "kc": 128}


class Synthetic:
    """A measurer without a process: exact times from the doubles; `scale` per workload key."""

    kernels = "synthetic"

    def __init__(self, scale: dict[str, float] | None = None) -> None:
        self.scale = scale or {}
        self.measured: list[tuple[str, tuple]] = []

    def space(self, workload):
        return doubles.space(workload.op, workload)

    def measure(self, workload, config, reference, best=float("inf")) -> Result:
        self.measured.append((workload.key, config_key(config)))
        return self._result(workload, config, reference)

    def confirm(self, workload, configs, reference) -> list[Result]:
        return [self._result(workload, c, reference) for c in configs]

    def _result(self, workload, config, reference) -> Result:
        seconds = self.scale.get(workload.key, 1.0) * doubles.seconds(config)
        ratio = doubles.seconds(config) / doubles.seconds(reference)
        return Result(OK, times=Times(seconds), reference=Reference(reference, ratio, ratio, ratio))

    def close(self) -> None:
        raise AssertionError("a measurer given by the caller is the caller's to close")


def task(key: str = "gemm/a", weight: int = 1) -> Task:
    return Task(doubles.Workload(key), weight)


def loop(database: Database, device: Device, measurer, budget: float = 1e9, **arguments) -> Loop:
    return Loop(
        database,
        measurer,
        device,
        kernels=measurer.kernels,
        library="1",
        seed=0,
        budget=budget,
        progress=Progress(),
        **arguments,
    )


def test_a_run_finds_and_records_the_best(database: Database, device: Device) -> None:
    measurer = Synthetic()
    report = tune([task()], database, device, measurer=measurer, strategy="local", level="patient")
    (found,) = report.tasks
    assert found.config == BEST
    assert found.won
    assert found.trials == found.configs == len(measurer.measured) == 120
    assert found.ratio == pytest.approx(doubles.seconds(BEST) / doubles.seconds(found.default))
    assert report.ratio == pytest.approx(found.ratio)
    assert report.stopped == ""
    kinds = [type(r) for r in database.records()]
    assert kinds == [Start, Trial] * 120 + [Verdict]
    rung = database.lookup("gemm/a", device, kernels="synthetic", space="1")
    assert (rung.config, rung.rung) == (BEST, "exact")


def test_levels_bound_the_trials(database: Database, device: Device) -> None:
    counts = {}
    for seed, level in enumerate(("quick", "normal", "exhaustive")):
        report = tune(
            [task()],
            database,
            device,
            measurer=Synthetic(),
            level=level,
            strategy="random",
            seed=seed,
        )
        counts[level] = report.tasks[0].trials
    assert counts == {"quick": 24, "normal": 100, "exhaustive": 120}


def test_the_heavier_task_gets_more_trials(database: Database, device: Device) -> None:
    clock = iter(range(10_000))
    runner = loop(
        database,
        device,
        Synthetic({"gemm/small": 0.01}),
        budget=100,
        clock=lambda: float(next(clock)),
    )
    for key in ("gemm/small", "gemm/large"):
        runner.add(task(key), 100, RandomSearch)
    report = runner.run()
    small, large = (t.trials for t in report.tasks)
    assert report.stopped == "budget"
    assert large > 3 * small > 0


def test_the_budget_keeps_time_for_confirmation(database: Database, device: Device) -> None:
    clock = iter(range(10_000))
    runner = loop(database, device, Synthetic(), budget=100, clock=lambda: float(next(clock)))
    runner.add(task(), None, RandomSearch)
    report = runner.run()
    assert report.stopped == "budget"
    assert 0 < report.tasks[0].trials < 120
    assert report.tasks[0].verdict is not None


def test_equal_seeds_give_equal_runs(tmp_path: Path, device: Device) -> None:
    def run(name: str, seed: int) -> list:
        measurer = Synthetic({"gemm/b": 3.0})
        database = Database(tmp_path / name)
        tasks = [task("gemm/a", 2), task("gemm/b")]
        tune(tasks, database, device, measurer=measurer, level="quick", seed=seed)
        return measurer.measured

    first = run("1", 0)
    assert first == run("2", 0)
    assert first != run("3", 1)


class Interrupting(Synthetic):
    """Ctrl-C in the trial of that number."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def measure(self, *arguments, **more) -> Result:
        if len(self.measured) == self.at:
            self.at = -1
            raise KeyboardInterrupt
        return super().measure(*arguments, **more)


def test_ctrl_c_keeps_and_confirms_what_was_found(database: Database, device: Device) -> None:
    report = tune([task()], database, device, measurer=Interrupting(20), strategy="local")
    assert report.stopped == "interrupted"
    assert report.tasks[0].trials == 20
    assert report.tasks[0].won
    assert "interrupted" in report.notices[0]


@pytest.mark.parametrize(
    ("strategy", "level"), [("bayes", "quick"), ("local", "normal"), ("random", "normal")]
)
def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, device: Device, strategy: str, level: str
) -> None:
    """Both parts together measure what an uninterrupted run does, in the same order."""
    whole, parts = Database(tmp_path / "whole"), Database(tmp_path / "parts")
    arguments = {"strategy": strategy, "level": level}
    once, first, second, third = Synthetic(), Interrupting(17), Synthetic(), Synthetic()
    tune([task()], whole, device, measurer=once, **arguments)
    tune([task()], parts, device, measurer=first, **arguments)
    report = tune([task()], parts, device, measurer=second, **arguments)
    assert report.tasks[0].recalled == 17
    assert first.measured + second.measured == once.measured
    again = tune([task()], parts, device, measurer=third, **arguments)
    assert third.measured == []
    assert again.tasks[0].config == report.tasks[0].config


def test_a_config_that_ended_the_tuner_is_not_tried_again(
    database: Database, device: Device
) -> None:
    class PowerLoss(Synthetic):
        def measure(self, *arguments, **more) -> Result:
            if len(self.measured) == 10:
                raise SystemExit
            return super().measure(*arguments, **more)

    first, second = PowerLoss(), Synthetic()
    with pytest.raises(SystemExit):
        tune([task()], database, device, measurer=first, level="quick")
    blamed = database.records()[-1]
    assert isinstance(blamed, Start)
    report = tune([task()], database, device, measurer=second, level="quick")
    assert report.tasks[0].statuses == {"ok": 23, "killed": 1}
    assert config_key(blamed.config) not in [c for _, c in second.measured]


def test_more_trials_use_those_of_a_quicker_level(database: Database, device: Device) -> None:
    quick, normal = Synthetic(), Synthetic()
    tune([task()], database, device, measurer=quick, level="quick", strategy="local")
    report = tune([task()], database, device, measurer=normal, level="normal", strategy="local")
    assert not set(quick.measured) & set(normal.measured)
    assert report.tasks[0].recalled == 24
    assert report.tasks[0].trials == 100 == 24 + len(normal.measured)


def test_other_kernels_are_measured_afresh(database: Database, device: Device) -> None:
    tune([task()], database, device, measurer=Synthetic(), level="quick", strategy="local")
    newer = Synthetic()
    newer.kernels = "newer"
    report = tune([task()], database, device, measurer=newer, level="quick", strategy="local")
    assert report.tasks[0].recalled == 0
    assert any("1 record of other kernels" in n for n in report.notices)
    # The old winner is the first to be tried after the default.
    first = [r for r in database.records() if isinstance(r, Trial) and r.kernels == "newer"][:2]
    assert [t.source for t in first] == ["default", "transfer"]


def test_a_failing_default_ends_its_task_alone(
    database: Database, device: Device, measurer: LocalMeasurer
) -> None:
    tasks = [task("gemm/wrong=4"), task("gemm/wrong=6")]
    report = tune(tasks, database, device, measurer=measurer, level="quick", strategy="random")
    broken, sound = report.tasks
    assert broken.trials == 1
    assert broken.failure.startswith("the default config failed: wrong")
    assert broken.config == broken.default
    assert sound.trials == 24
    assert sound.statuses["wrong"] > 0
    # A wrong answer is a hundred times faster here, and never wins.
    assert sound.config["mr"] != 6
    assert sound.won


def test_crashes_and_hangs_do_not_stop_a_run(
    database: Database, device: Device, measurer: LocalMeasurer
) -> None:
    measurer.timeout = 1.0
    tasks = [task("gemm/crash=8/hang=1")]
    report = tune(tasks, database, device, measurer=measurer, level="quick", strategy="random")
    statuses = report.tasks[0].statuses
    assert statuses.total() == 24
    assert statuses["crash"] > 0
    assert statuses["run_timeout"] > 0
    assert report.tasks[0].won


def test_a_device_that_cannot_measure_is_an_error(database: Database, device: Device) -> None:
    class Lost(Synthetic):
        def measure(self, *arguments, **more) -> Result:
            return Result("device_lost", "worker does not start: exit code 1")

    with pytest.raises(KernelError, match=r"gemm/a: cannot measure: worker does not start"):
        tune([task()], database, device, measurer=Lost())
    assert tune([task()], database, device, measurer=Synthetic(), level="quick").tasks[0].won


def test_bad_arguments(database: Database, device: Device) -> None:
    for arguments, message in (
        ({"level": "extreme"}, "unknown level 'extreme'"),
        ({"budget": 0}, "budget must be positive seconds, got 0"),
        ({"budget": float("nan")}, "budget must be positive"),
        ({"strategy": "luck"}, "unknown strategy 'luck'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            tune([task()], database, device, measurer=Synthetic(), **arguments)
    assert not database.path.exists()


def test_an_unwritable_file_is_noticed_before_anything_is_measured(device: Device) -> None:
    measurer = Synthetic()
    with pytest.raises(RecordError, match=r"/proc/none/records\.jsonl: cannot write"):
        tune([task()], Database("/proc/none/records.jsonl"), device, measurer=measurer)
    assert measurer.measured == []


def test_two_runs_do_not_share_a_file(database: Database, device: Device) -> None:
    with database.tuning_lock(), pytest.raises(RecordError, match="in use by another process"):
        tune([task()], Database(database.path), device, measurer=Synthetic())


def test_progress_hears_everything(database: Database, device: Device) -> None:
    heard: list[str] = []

    class Listener(Progress):
        def on_task(self, task, configs, limit) -> None:
            heard.append(f"task {task.key} {configs} {limit}")

        def on_trial(self, task, trial, report) -> None:
            heard.append(f"trial {report.trials}")

        def on_confirm(self, task, verdict, report) -> None:
            heard.append(f"confirm {verdict.won}")

        def on_done(self, report) -> None:
            heard.append("done")

    tune([task()], database, device, measurer=Synthetic(), level="quick", progress=Listener())
    trials = [f"trial {i}" for i in range(1, 25)]
    assert heard == ["task gemm/a 120 24", *trials, "confirm True", "done"]


TUNER = """
import sys
sys.path.insert(0, sys.argv[2])
import doubles
from doubles import QUICK
from luthier.tuner import Database, Device, LocalMeasurer, Task, tune

tasks = [Task(doubles.Workload("gemm/a")), Task(doubles.Workload("gemm/b"))]
device = Device("cpu-1 of board-1", "cpu-1", "neon")
with LocalMeasurer(QUICK, module="doubles", space=doubles.space) as measurer:
    tune(tasks, Database(sys.argv[1]), device, measurer=measurer, level="quick", strategy="random")
"""


def test_a_killed_process_loses_nothing(database: Database, device: Device) -> None:
    here = str(Path(__file__).parent)
    environment = {**os.environ, "PYTHONPATH": here, "DOUBLES_PAUSE": "0.01"}
    command = [sys.executable, "-c", TUNER, str(database.path), here]
    for target in (7, 23):
        process = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 60
        while len(_trials(database)) < target and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(_trials(database)) >= 23
    before = _trials(database)
    with database.path.open("ab") as file:  # as a power loss might leave it
        file.write(b'{"kind":"trial","run":"12')
    subprocess.run(command, env=environment, check=True)
    after = _trials(database)
    assert len(database.problems) == 1
    assert [t for t in after if t in before] == before
    # Every config has one result, and at most one a kill is blamed on its config.
    for key in ("gemm/a", "gemm/b"):
        configs = [config_key(t.config) for t in after if t.workload == key]
        assert len(configs) == len(set(configs)) == 24
    statuses = [t.result.status for t in after]
    assert statuses.count("killed") <= 2
    assert statuses.count("ok") + statuses.count("killed") == 48
    verdicts = [r for r in database.records() if isinstance(r, Verdict)]
    assert {v.workload for v in verdicts} == {"gemm/a", "gemm/b"}


def _trials(database: Database) -> list[Trial]:
    return [r for r in database.records() if isinstance(r, Trial)]


def test_a_dangling_start_of_the_default_is_no_verdict(database: Database, device: Device) -> None:
    """Without the default there is nothing to compare with: it is tried again."""

    class PowerLoss(Synthetic):
        def measure(self, *arguments, **more) -> Result:
            raise SystemExit

    second = Synthetic()
    with pytest.raises(SystemExit):
        tune([task()], database, device, measurer=PowerLoss(), level="quick", strategy="local")
    report = tune([task()], database, device, measurer=second, level="quick", strategy="local")
    assert report.tasks[0].statuses == {"ok": 24}
    assert report.tasks[0].won


def test_local_search_is_enough(database: Database, device: Device) -> None:
    runner = loop(database, device, Synthetic())
    runner.add(task(), 60, LocalSearch)
    assert runner.run().tasks[0].config == BEST
