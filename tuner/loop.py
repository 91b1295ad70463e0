"""The tuning loop: which task gets the next trial, and what is written when."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from luthier.errors import KernelError
from luthier.limits import MAX_ERROR
from luthier.tuner.database import Database
from luthier.tuner.measure import Measurer
from luthier.tuner.progress import Progress
from luthier.tuner.record import (
    Config,
    Costs,
    Device,
    Result,
    Start,
    Trial,
    Verdict,
    config_key,
)
from luthier.tuner.report import Report, TaskReport
from luthier.tuner.strategies import Strategy
from luthier.tuner.task import Task

__all__ = ["Loop"]

BURST = 4
"""Trials in a row for one task: its runners stay warm in the worker."""
WINDOW = 8
"""Trials over which the recent gain of a task is taken."""
CONFIRMED = 5
"""Configs compared with the default at the end of a task, at most."""
CONFIRM_SHARE = 0.1
"""Share of the budget kept for confirmation."""
CANDIDATES = 3
"""Configs of a task that are to be tried in the model, at most."""
WIN = 0.99
"""A config wins if the upper bound of its time ratio is below this."""


@dataclass
class _State:
    """A task in the loop."""

    task: Task
    strategy: Strategy
    report: TaskReport
    space: str
    limit: int
    earlier: dict[object, Trial | Start]
    fresh: int = 0
    ranking: list[Trial] = field(default_factory=list)
    done: bool = False

    @property
    def cost(self) -> float:
        """Seconds of one model run that go into this task now."""
        report = self.report
        return self.task.weight * (report.seconds or 0.0) * report.best_ratio

    @property
    def priority(self) -> float:
        """Expected reduction of the model's time by the next trial.

        Two guesses, weighed as in L. Zheng et al., "Ansor" (OSDI 2020), section 6: the recent
        gain goes on, or the next n trials halve what n trials have reached.
        """
        history = self.report.history
        recent = history[-WINDOW:]
        gain = (recent[0] - recent[-1]) / len(recent)
        full = self.task.weight * (self.report.seconds or 0.0)
        return 0.2 * full * gain + 0.8 * self.cost / len(history)


class Loop:
    """Runs strategies over several tasks that share a budget.

    `luthier.tuner.tune` is the way in; the parameters are explained there.
    """

    def __init__(
        self,
        database: Database,
        measurer: Measurer,
        device: Device,
        *,
        kernels: str,
        library: str,
        seed: int,
        budget: float,
        progress: Progress,
        max_error: float = MAX_ERROR,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database = database
        self.measurer = measurer
        self.progress = progress
        self.report = Report()
        self._budget = budget
        self._max_error = max_error
        self._clock = clock
        self._begin = clock()
        self._sequence = 0
        self._states: list[_State] = []
        self._common: dict[str, Any] = {
            "run": uuid.uuid4().hex[:12],
            "device": device,
            "kernels": kernels,
            "library": library,
            "seed": seed,
        }

    def add(self, task: Task, trials: int | None, strategy: type[Strategy]) -> None:
        """Take a task in; `trials` None is the whole space."""
        space = self.measurer.space(task.workload)
        limit = len(space.configs) if trials is None else min(trials, len(space.configs))
        device, kernels, seed = (self._common[k] for k in ("device", "kernels", "seed"))
        same = {"kernels": kernels, "space": space.version, "seed": seed}
        earlier = self.database.trials(task.key, device, **same)
        seeds = self.database.seeds(task.key, device, **same)
        self._states.append(
            _State(
                task,
                strategy(space, trials=limit, seed=seed, seeds=seeds),
                TaskReport(task, len(space.configs), space.default),
                space.version,
                limit,
                {config_key(r.config): r for r in earlier},
            )
        )
        self.report.tasks.append(self._states[-1].report)
        self.progress.on_task(task, len(space.configs), limit)

    def run(self) -> Report:
        """Search, confirm, report. The first Ctrl-C ends the search, the second everything."""
        self._inspect()
        try:
            try:
                self._search()
            except KeyboardInterrupt:
                self.report.stopped = "interrupted"
                self.notice("interrupted: confirming what was found, again to stop at once")
            self._confirm()
        except KeyboardInterrupt:
            self.report.stopped = "interrupted"
        self.report.seconds = self._clock() - self._begin
        self.progress.on_done(self.report)
        return self.report

    def notice(self, text: str) -> None:
        """Tell the user, and keep it for the report."""
        self.report.notices.append(text)
        self.progress.on_notice(text)

    def _inspect(self) -> None:
        """Tell of what is in the records and not used."""
        device, kernels = self._common["device"], self._common["kernels"]
        spaces = {s.task.key: s.space for s in self._states}
        stale = self.database.stale(device, kernels=kernels, spaces=spaces)
        if stale:
            records = "record" if stale == 1 else "records"
            self.notice(f"{stale} {records} of other kernels: used as starting points only")
        self.database.check()
        if self.database.problems:
            first = self.database.problems[0]
            self.notice(f"{len(self.database.problems)} unreadable records, the first: {first}")

    # -- searching ---------------------------------------------------------------------------

    def _search(self) -> None:
        for state in self._states:
            self._steps(state, 1)
        while active := [s for s in self._states if not s.done]:
            if self._spent(1 - CONFIRM_SHARE):
                self.report.stopped = "budget"
                return
            self._steps(max(active, key=lambda s: s.priority), BURST)

    def _spent(self, share: float) -> bool:
        return self._clock() - self._begin >= share * self._budget

    def _steps(self, state: _State, count: int) -> None:
        for _ in range(count):
            if state.done or self._spent(1 - CONFIRM_SHARE):
                return
            self._step(state)

    def _step(self, state: _State) -> None:
        begin = time.perf_counter()
        config = state.strategy.ask()
        if config is None:
            state.done = True
            return
        suggest = time.perf_counter() - begin
        earlier = self._recall(state, config)
        if earlier is not None:
            self._take(state, earlier, recalled=True)
            return
        # The first config that is not recalled: here the earlier run had gone another way (other
        # level or strategy), or had ended. Whatever else it found is told before going on.
        for other in list(state.earlier.values()):
            known = self._recall(state, other.config)
            if known is not None and state.report.trials < state.limit:
                self._take(state, known, recalled=True)
        state.earlier.clear()
        if not state.done:
            self._take(state, self._measure(state, config, suggest), recalled=False)

    def _recall(self, state: _State, config: Config) -> Trial | None:
        """The trial of an earlier run. A start without an end is blamed on its config."""
        record = state.earlier.pop(config_key(config), None)
        is_default = config == state.report.default
        if isinstance(record, Start):
            if is_default:  # without its time there is nothing to compare with: try again
                return None
            result = Result("killed", "the tuning run ended during this trial")
            trial = self._line(Trial, state, config=config, source="recall", result=result)
            self.database.append(trial)
            return trial
        if record is None or (is_default and not record.result.ok):
            return None
        compared = record.result.reference
        if compared is not None and compared.config != state.report.default:
            return None  # with another bound on errors the default may have been another
        return record

    def _measure(self, state: _State, config: Config, suggest: float) -> Trial:
        source, prediction = state.strategy.source, state.strategy.prediction
        # On the disk before the run: if the machine goes down, this config is to blame.
        self.database.append(self._line(Start, state, config=config), sync=True)
        begin = time.perf_counter()
        default = state.report.default
        best = math.inf if config == default else state.report.best_ratio
        try:
            result = self.measurer.measure(state.task.workload, config, default, best)
        except KeyboardInterrupt:
            # Not the config's fault: the line keeps the start from being blamed on it.
            result = Result("device_lost", "interrupted")
        trial = self._line(
            Trial,
            state,
            config=config,
            source=source,
            result=result,
            costs=Costs(round(time.perf_counter() - begin, 4), round(suggest, 4)),
            prediction=prediction,
        )
        self.database.append(trial)
        if result.error == "interrupted":
            raise KeyboardInterrupt
        if result.status == "device_lost":
            raise KernelError(f"{state.task.key}: cannot measure: {result.error}")
        state.fresh += 1
        return trial

    def _take(self, state: _State, trial: Trial, *, recalled: bool) -> None:
        result, report = self._judged(trial), state.report
        state.strategy.tell(trial.config, result)
        report.add(trial.config, result, recalled=recalled)
        if result.ok:
            state.ranking.append(trial)
        if trial.config == report.default and not result.ok:
            report.failure = f"the default config failed: {result.status}: {result.error}"
            self.notice(f"{state.task.key}: {report.failure}")
            state.done = True
        if report.trials >= state.limit:
            state.done = True
        self.progress.on_trial(state.task, trial, report)

    def _judged(self, trial: Trial) -> Result:
        """The result as this run has to see it: an error that is too large is a failure."""
        from luthier.kernels.spaces import within

        check = trial.result.check
        measured = check.max_rel if check else None
        if not trial.result.ok or within(trial.config, self._max_error, measured):
            return trial.result
        return Result("inaccurate", f"error above {self._max_error:g}", check=check)

    # -- confirming --------------------------------------------------------------------------

    def _confirm(self) -> None:
        """Confirm the tasks in the order of what they promise, while the budget lasts."""
        states = [s for s in self._states if s.report.trials and not s.report.failure]
        states.sort(key=_promise, reverse=True)
        for state in states:
            state.report.candidates = tuple(_ranked(state)[:CANDIDATES])
        count = CONFIRMED
        for turn, state in enumerate(states):
            left = self._begin + self._budget - self._clock()
            if turn and left <= 0:  # the most promising one is worth a little more time
                self.report.stopped = self.report.stopped or "budget"
                return
            begin = self._clock()
            verdict = self._known_verdict(state) or self._verdict(state, count)
            if verdict is not None:
                state.report.verdict = verdict
                self.progress.on_confirm(state.task, verdict, state.report)
            # Where time is short, fewer configs of each task are confirmed, but of all tasks.
            cost = (self._clock() - begin) / (count + 1)
            share = (left - cost * (count + 1)) / max(1, len(states) - turn - 1)
            if cost > 0:
                count = int(min(CONFIRMED, max(1, share / cost - 1)))

    def _known_verdict(self, state: _State) -> Verdict | None:
        if state.fresh:
            return None
        known = self.database.verdict(
            state.task.key,
            self._common["device"],
            kernels=self._common["kernels"],
            space=state.space,
        )
        return known if known and known.max_error == self._max_error else None

    def _verdict(self, state: _State, count: int) -> Verdict | None:
        """Compare the best configs with the default; None if nothing could be compared."""
        default = state.report.default
        best = _ranked(state)[:count]
        results = self.measurer.confirm(state.task.workload, best, default)
        compared = [
            (r.reference.hi, config, r)
            for config, r in zip(best, results, strict=True)
            if r.ok and r.reference
        ]
        if best and not compared:
            self.notice(f"{state.task.key}: confirmation failed: {results[0].error}")
            return None
        # If nothing even looked better, the default's own trial settles the matter.
        own = [(1.0, t.config, t.result) for t in state.ranking if t.config == default]
        compared.sort(key=lambda entry: entry[0])
        state.report.candidates = tuple(config for _, config, _ in compared[:CANDIDATES])
        bound, config, result = (compared or own)[0]
        won = bound < WIN
        found = {"config": config, "result": result, "won": won, "max_error": self._max_error}
        verdict = self._line(Verdict, state, **found)
        self.database.append(verdict, sync=True)
        return verdict

    def _line(self, kind: type[Any], state: _State, **fields: Any) -> Any:
        self._sequence += 1
        return kind(
            **self._common,
            sequence=self._sequence,
            workload=state.task.key,
            space=state.space,
            **fields,
        )


def _ranked(state: _State) -> list[Config]:
    """The configs whose trials were faster than the default's, the fastest first."""
    faster = [t for t in state.ranking if (t.result.ratio or 1) < 1]
    faster.sort(key=lambda t: t.result.ratio or 1)
    return [t.config for t in faster if t.config != state.report.default]


def _promise(state: _State) -> float:
    report = state.report
    return state.task.weight * (report.seconds or 0.0) * (1 - report.best_ratio)
