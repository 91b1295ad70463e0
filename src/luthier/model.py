"""A loaded model, and its graphs for concrete inputs."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np

from luthier import onnx_frontend
from luthier.digest import content_digest
from luthier.errors import ArgumentError, UnsupportedError
from luthier.graph import Graph, Value, bind, default_shapes, optimize
from luthier.graph.bundle import is_bundle

__all__ = ["Model"]

Shapes = dict[str, tuple[int, ...]]

_SMALL = 64
"""Inputs of at most so many numbers may stand for shapes, and be taken as constants."""

_MAX_SWITCHES = 4
"""An input that decides on branches is taken as a constant until it has had more contents."""


class Model:
    """A model as its file has it.

    Parameters
    ----------
    source : path or bytes

    Attributes
    ----------
    name : str
    path : Path or None
        None if the model came as bytes.
    graph : Graph
        Shapes as declared.
    digest : str
        Hash of the file's content: the model's name in tuning records.

    Raises
    ------
    ArgumentError, InvalidModelError, UnsupportedError
        As `luthier.onnx_frontend.load`.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        self.path = None if isinstance(source, bytes) else Path(source)
        if self.path is not None and is_bundle(self.path):
            raise ArgumentError(f"{self.path}: is exported; its ONNX model is needed here")
        self.graph = onnx_frontend.load(source)
        self.name = self.graph.name
        self.digest = content_digest(source)
        self._by_value: tuple[str, ...] = ()
        self._switches: dict[str, set[bytes]] = {}  # inputs that decide on branches: contents seen

    def shapes(self, given: Mapping[str, Sequence[int]] | None = None) -> Shapes:
        """Concrete shapes of all inputs: those given, or else the declared ones with a batch of 1.

        Raises
        ------
        ArgumentError
            A dimension is neither given nor declared; the message says how to give it.
        """
        given = given or {}
        rest = Graph([v for v in self.graph.inputs if v.name not in given])
        return {name: tuple(shape) for name, shape in given.items()} | default_shapes(rest)

    @property
    def has_one_plan(self) -> bool:
        """Whether every run has the same shapes, on whose content nothing depends.

        One number may also be fed as an array of one, so that scalars have no certain shape.
        """
        return not self._by_value and all(v.is_static and v.shape for v in self.graph.inputs)

    @property
    def by_value(self) -> tuple[str, ...]:
        """Names of inputs on whose content the graphs made so far depend."""
        return self._by_value

    def drop_weights(self) -> None:
        """Keep only the inputs and outputs of the graph: no more of it will be asked for."""
        for value in self.graph.values():
            value.data = None  # nodes and values refer to each other, and so outlive the graph
        inputs, outputs = (
            [Value(v.name, v.dtype, v.shape) for v in values]
            for values in (self.graph.inputs, self.graph.outputs)
        )
        self.graph = Graph(inputs, outputs, name=self.name)

    def key(self, feeds: Mapping[str, np.ndarray]) -> Hashable:
        """Equal for feeds that the same specialised graph serves."""
        contents = tuple(feeds[name].tobytes() for name in self._by_value)
        return tuple(feeds[v.name].shape for v in self.graph.inputs), contents

    def specialise(self, feeds: Mapping[str, np.ndarray]) -> Graph:
        """A new graph, bound to these feeds and optimised.

        Where shapes inside the model depend on the content of its inputs, small inputs are taken
        as constants, those of integers first, and `key` tells feeds with another content apart.
        So are small inputs that decide which branch of an If is taken, as long as they have few
        different contents: the model then has one branch, to which every pass applies.

        Raises
        ------
        ArgumentError, InvalidModelError, UnsupportedError
            As `luthier.graph.bind`.
        """
        shapes = {name: array.shape for name, array in feeds.items()}
        try:
            bound = bind(self.graph, shapes, {n: feeds[n] for n in self._by_value})
        except UnsupportedError:
            for kinds in ("biu", "biuf"):  # floats may be the scales of a Resize
                small = tuple(
                    name
                    for name, array in feeds.items()
                    if array.dtype.kind in kinds and array.size <= _SMALL
                )
                if set(small) > set(self._by_value):
                    self._by_value = small
                    for name in small:
                        self._switches.pop(name, None)
                    return self.specialise(feeds)
            raise
        if self._switch(bound, feeds):
            return self.specialise(feeds)
        _detach_constant_inputs(bound)
        return optimize(bound)

    def _switch(self, bound: Graph, feeds: Mapping[str, np.ndarray]) -> bool:
        """Whether the inputs to be taken by value have changed, for branches' sake."""
        for name in _deciding_inputs(bound):
            if feeds[name].size <= _SMALL and feeds[name].dtype.kind in "biu":
                self._switches.setdefault(name, set())
        for name, contents in self._switches.items():
            contents.add(feeds[name].tobytes())
        few = {n for n, contents in self._switches.items() if len(contents) <= _MAX_SWITCHES}
        few |= set(self._by_value) - self._switches.keys()
        wanted = tuple(v.name for v in self.graph.inputs if v.name in few)
        changed = wanted != self._by_value
        self._by_value = wanted
        return changed


def _deciding_inputs(graph: Graph) -> set[str]:
    """Names of the inputs on which alone the conditions of a graph's Ifs depend."""
    names = set()
    for node in graph.nodes:
        if node.op != "If" or node.domain:
            continue
        found, open_values = set(), [node.inputs[0]]
        seen = set(open_values)
        while open_values:
            value = open_values.pop()
            if value.producer is None:
                found.add(value)
                continue
            inner = [v for v in value.producer.inputs if v is not None and v not in seen]
            seen.update(inner)
            open_values += inner
        sources = {v for v in found if not v.is_const}
        if sources <= set(graph.inputs):
            names |= {v.name for v in sources}
    return names


def _detach_constant_inputs(graph: Graph) -> None:
    """Let inputs that were bound by value be inputs that nobody reads, as verified graphs need."""
    for i, value in enumerate(graph.inputs):
        if value.is_const:
            name = value.name
            value.name = graph.fresh(name)
            graph.inputs[i] = Value(name, value.dtype, value.shape)
