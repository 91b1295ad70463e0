"""Tuning: from workloads to the configs that are fastest on this machine.

Examples
--------
>>> from luthier import tuner
>>> tasks = tuner.extract(graph, num_threads=2)                            # doctest: +SKIP
>>> report = tuner.tune(tasks, tuner.Database(), luthier.native_target())  # doctest: +SKIP

What only looks up records is spared the rest: modules are loaded at first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.lazy import lazy_names
from luthier.tuner.extract import extract  # its module has its name

if TYPE_CHECKING:
    from luthier.tuner.api import LEVELS, Level, tune
    from luthier.tuner.choose import Choose, chooser, guesser, timer
    from luthier.tuner.cost.rank import record_estimates
    from luthier.tuner.database import Database, Found, default_path
    from luthier.tuner.device import device_of, kernels_hash
    from luthier.tuner.in_place import Built, Placed, rank_in_place
    from luthier.tuner.measure import LocalMeasurer, Measurer
    from luthier.tuner.progress import Progress
    from luthier.tuner.record import Config, Device, Estimates, Result, Trial, Verdict
    from luthier.tuner.report import Report, TaskReport
    from luthier.tuner.sampling import Effort
    from luthier.tuner.task import Task
    from luthier.tuner.whole_model import Comparison, compare, judge, remember

__all__ = [
    "LEVELS",
    "Built",
    "Choose",
    "Comparison",
    "Config",
    "Database",
    "Device",
    "Effort",
    "Estimates",
    "Found",
    "Level",
    "LocalMeasurer",
    "Measurer",
    "Placed",
    "Progress",
    "Report",
    "Result",
    "Task",
    "TaskReport",
    "Trial",
    "Verdict",
    "chooser",
    "compare",
    "default_path",
    "device_of",
    "extract",
    "guesser",
    "judge",
    "kernels_hash",
    "rank_in_place",
    "record_estimates",
    "remember",
    "timer",
    "tune",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Built": "in_place",
        "Choose": "choose",
        "Comparison": "whole_model",
        "Config": "record",
        "Database": "database",
        "Device": "record",
        "Effort": "sampling",
        "Estimates": "record",
        "Found": "database",
        "LEVELS": "api",
        "Level": "api",
        "LocalMeasurer": "measure",
        "Measurer": "measure",
        "Placed": "in_place",
        "Progress": "progress",
        "Report": "report",
        "Result": "record",
        "Task": "task",
        "TaskReport": "report",
        "Trial": "record",
        "Verdict": "record",
        "chooser": "choose",
        "compare": "whole_model",
        "default_path": "database",
        "device_of": "device",
        "guesser": "choose",
        "judge": "whole_model",
        "kernels_hash": "device",
        "rank_in_place": "in_place",
        "record_estimates": "cost.rank",
        "remember": "whole_model",
        "timer": "choose",
        "tune": "api",
    },
)
