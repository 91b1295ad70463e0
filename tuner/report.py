"""The outcome of a tuning run."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from luthier.tuner.record import Config, Result, Verdict
from luthier.tuner.task import Task

__all__ = ["Report", "TaskReport"]


@dataclass
class TaskReport:
    """What is known of one task.

    Attributes
    ----------
    task : Task
    configs : int
        Size of the space.
    default : dict
        The untuned config.
    trials, recalled : int
        Trials in all, and those of them that came from the records of an earlier run.
    best : dict or None
        The best config by its trial.
    best_ratio : float
        Its time over the default's, by its trial; 1 while nothing is better.
    seconds : float or None
        Seconds of one call with the default.
    statuses : Counter
        Trials of each status.
    history : list of float
        `best_ratio` after each trial.
    verdict : Verdict or None
        The confirmation, once there was one.
    candidates : tuple of dict
        The configs that are worth a try in the model, the most promising first.
    failure : str
        Why the task could not be tuned, if so.
    """

    task: Task
    configs: int
    default: Config
    trials: int = 0
    recalled: int = 0
    best: Config | None = None
    best_ratio: float = 1.0
    seconds: float | None = None
    statuses: Counter[str] = field(default_factory=Counter)
    history: list[float] = field(default_factory=list)
    verdict: Verdict | None = None
    candidates: tuple[Config, ...] = ()
    failure: str = ""

    @property
    def won(self) -> bool:
        """Whether a config was confirmed to be faster than the default."""
        return self.verdict is not None and self.verdict.won

    @property
    def config(self) -> Config:
        """The config to use."""
        return self.verdict.config if self.verdict and self.verdict.won else self.default

    @property
    def ratio(self) -> float:
        """Confirmed time of `config` over the default's."""
        return self.interval[0]

    @property
    def interval(self) -> tuple[float, float, float]:
        """Confirmed ratio and its 95 % interval; ones where the default stays."""
        reference = self.verdict.result.reference if self.verdict else None
        if reference is None or not self.won:
            return 1.0, 1.0, 1.0
        return reference.ratio, reference.lo, reference.hi

    def add(self, config: Config, result: Result, *, recalled: bool) -> None:
        """Take note of one trial."""
        self.trials += 1
        self.recalled += recalled
        self.statuses[result.status] += 1
        if config == self.default:
            self.seconds = result.seconds
        if result.ok and result.ratio is not None and result.ratio < self.best_ratio:
            self.best, self.best_ratio = config, result.ratio
        self.history.append(self.best_ratio)


@dataclass
class Report:
    """The outcome of a run over several tasks.

    Attributes
    ----------
    tasks : list of TaskReport
    seconds : float
        How long the run took.
    stopped : str
        ``""`` if every task got its trials, or else ``"budget"`` or ``"interrupted"``.
    notices : list of str
        What the user should know, one line each.
    """

    tasks: list[TaskReport] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str = ""
    notices: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Predicted time of all tasks over the untuned time, by the confirmed configs."""
        known = [(t.task.weight * t.seconds, t.ratio) for t in self.tasks if t.seconds]
        before = math.fsum(w for w, _ in known)
        return math.fsum(w * r for w, r in known) / before if before else 1.0
