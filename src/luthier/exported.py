"""Exported models: what a session runs from a file of `luthier.export`."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from luthier.digest import content_digest
from luthier.graph import Graph
from luthier.graph.bundle import Bundle

if TYPE_CHECKING:
    from luthier.graph import Plan

__all__ = ["ExportedModel"]


class ExportedModel:
    """The counterpart of `luthier.model.Model` for an exported file.

    Attributes
    ----------
    name : str
    path : Path
    graph : Graph
        Inputs and outputs alone.
    bundle : Bundle
    digest : str
        Hash of the file's content.

    Raises
    ------
    ArgumentError, InvalidModelError, UnsupportedError
        As `luthier.graph.bundle.Bundle`.
    """

    has_one_plan = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.bundle = Bundle(path)
        self.name = self.bundle.name
        self.graph = Graph(self.bundle.inputs, self.bundle.outputs, name=self.name)

    @property
    def digest(self) -> str:
        return content_digest(self.path)

    def shapes(
        self, given: Mapping[str, Sequence[int]] | None = None
    ) -> dict[str, tuple[int, ...]]:
        """The shapes of the inputs; `given` ones take their place, for the plan to judge."""
        own = {v.name: tuple(v.shape) for v in self.bundle.inputs}
        return own | {name: tuple(shape) for name, shape in (given or {}).items()}

    def key(self, feeds: Mapping[str, np.ndarray]) -> Hashable:
        """There is one plan, which refuses other shapes."""
        return ()

    def plan(self) -> Plan:
        """That plan."""
        return self.bundle.plan()
