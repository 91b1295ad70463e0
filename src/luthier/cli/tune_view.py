"""What ``luthier tune`` shows: a live display, or lines where there is no terminal."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator

from luthier.tuner import Progress, Report, Task, TaskReport, Trial, Verdict

__all__ = ["Watch", "view"]


class Watch(Progress):
    """Keeps the state of the run, and prints what changes as lines."""

    def __init__(self, to_stderr: bool) -> None:
        self.stream = sys.stderr if to_stderr else sys.stdout
        self.reports: dict[str, TaskReport] = {}
        self.planned: dict[str, int] = {}
        self.total = 0

    def on_tasks(self, tasks: list[Task]) -> None:
        """The tasks are known, the search is about to start."""
        self.total = len(tasks)
        self.say(f"{self.total} tasks")

    def on_task(self, task: Task, configs: int, limit: int) -> None:
        self.planned[task.key] = limit
        self.say(f"task {len(self.planned)}/{self.total} {task.key}: {limit} of {configs} configs")

    def on_trial(self, task: Task, trial: Trial, report: TaskReport) -> None:
        before = min(report.history[:-1], default=1.0)
        self.reports[task.key] = report
        if report.best_ratio < before:
            self.say(
                f"{task.key}: trial {report.trials}, time ratio {report.best_ratio:.3f};"
                f" model {self.predicted:.3f}"
            )

    def on_confirm(self, task: Task, verdict: Verdict, report: TaskReport) -> None:
        outcome = f"{report.ratio:.3f} of the default's time" if report.won else "default stays"
        self.say(f"{task.key}: confirmed, {outcome}")

    def on_notice(self, text: str) -> None:
        self.say(text)

    def on_done(self, report: Report) -> None:
        self.say(f"searched for {report.seconds:.0f} s")

    def say(self, text: str) -> None:
        """One line."""
        print(text, file=self.stream, flush=True)

    @property
    def predicted(self) -> float:
        """Time of all tasks over their untuned time, by the best trials so far."""
        known = [
            (r.task.weight * r.seconds, r.best_ratio) for r in self.reports.values() if r.seconds
        ]
        before = math.fsum(w for w, _ in known)
        return math.fsum(w * r for w, r in known) / before if before else 1.0

    @property
    def trials(self) -> tuple[int, int]:
        """Trials done, and trials planned for all tasks."""
        return sum(r.trials for r in self.reports.values()), sum(self.planned.values())


class LiveWatch(Watch):
    """Draws the state of the run in place."""

    def __init__(self, to_stderr: bool, budget: float) -> None:
        super().__init__(to_stderr)
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self.budget, self.begin = budget, time.monotonic()

        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f} trials"),
            TextColumn("best {task.fields[best]}  model {task.fields[model]}"),
            TextColumn("{task.fields[left]}"),
            console=Console(stderr=to_stderr),
            transient=True,
        )
        self.line = self.bar.add_task("starting", total=1, best="-", model="-", left="")

    def on_task(self, task: Task, configs: int, limit: int) -> None:
        self.planned[task.key] = limit
        self._draw(task)

    def on_trial(self, task: Task, trial: Trial, report: TaskReport) -> None:
        self.reports[task.key] = report
        self._draw(task, report)

    def on_confirm(self, task: Task, verdict: Verdict, report: TaskReport) -> None:
        self._draw(task, report)

    def say(self, text: str) -> None:
        self.bar.console.print(text, markup=False, highlight=False)

    def _draw(self, task: Task, report: TaskReport | None = None) -> None:
        done, planned = self.trials
        number = list(self.planned).index(task.key) + 1
        self.bar.update(
            self.line,
            description=f"task {number}/{self.total} {task.key[:60]}",
            completed=done,
            total=max(planned, 1),
            best=f"{report.best_ratio:.3f}" if report else "-",
            model=f"{self.predicted:.3f}",
            left=self._left(),
        )

    def _left(self) -> str:
        """What is left of the budget."""
        left = self.budget - (time.monotonic() - self.begin)
        return f"{max(0.0, left):.0f} s left" if math.isfinite(left) else ""


@contextlib.contextmanager
def view(to_stderr: bool, budget: float) -> Iterator[Watch]:
    """The display that fits the stream; `budget` is the seconds that the search may take."""
    stream = sys.stderr if to_stderr else sys.stdout
    if not stream.isatty():
        yield Watch(to_stderr)
        return
    watch = LiveWatch(to_stderr, budget)
    with watch.bar:
        yield watch
