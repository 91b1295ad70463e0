"""What a tuning run tells while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.tuner.record import Trial, Verdict
    from luthier.tuner.report import Report, TaskReport
    from luthier.tuner.task import Task

__all__ = ["Progress"]


class Progress:
    """An observer; derive from it and override what you want to hear of.

    Methods are called from the thread that tunes, between trials.
    """

    def on_task(self, task: Task, configs: int, limit: int) -> None:
        """A task is about to start: its space has `configs`, of which `limit` may be tried."""

    def on_trial(self, task: Task, trial: Trial, report: TaskReport) -> None:
        """A trial ended, or was recalled from the records; `report` is the task's state."""

    def on_confirm(self, task: Task, verdict: Verdict, report: TaskReport) -> None:
        """The best configs of a task were compared with its default."""

    def on_notice(self, text: str) -> None:
        """Something that the user should know, in one line."""

    def on_done(self, report: Report) -> None:
        """The run ended."""
