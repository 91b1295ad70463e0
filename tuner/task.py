"""What there is to tune: a workload with the weight that the model gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """One workload of a model.

    Attributes
    ----------
    workload : luthier.kernels.Workload
        Shapes, dtypes and attributes; `workload.key` is its text.
    weight : int
        How often one run of the model computes it.
    nodes : tuple of str
        The nodes that do.
    """

    workload: Any
    weight: int = 1
    nodes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The workload's text, the key of its records."""
        return self.workload.key
