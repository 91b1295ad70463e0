"""The graph: values, nodes and the few edits that every pass needs.

A graph holds ONNX operators in the form of the newest opset (the importer upgrades older
forms), plus the attributes that fusion adds. After `luthier.graph.bind` every shape is a tuple
of ints.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Dim = int | str | None
"""One dimension: a size, a symbolic name, or unknown."""


@dataclass(eq=False, slots=True)
class Value:
    """One tensor: a graph input, a constant, or a node's output.

    Attributes
    ----------
    name : str
        Unique in its graph.
    dtype : numpy.dtype or None
        None while unknown.
    shape : tuple of Dim or None
        None while even the rank is unknown.
    data : numpy.ndarray or None
        The content, if the value is a constant.
    producer : Node or None
        The node that computes it; None for inputs and constants.
    """

    # Any: what is known of them depends on the stage (binding, folding), which types cannot say.
    name: str
    dtype: Any = None
    shape: Any = None
    data: Any = None
    producer: Any = None

    @property
    def is_const(self) -> bool:
        return self.data is not None

    @property
    def is_static(self) -> bool:
        """Whether dtype and every dimension are known."""
        return (
            self.dtype is not None
            and self.shape is not None
            and all(isinstance(d, int) for d in self.shape)
        )


@dataclass(eq=False, slots=True)
class Node:
    """One operator.

    Attributes
    ----------
    op : str
        ONNX operator name, such as ``"Conv"``.
    inputs : list of Value or None
        None stands for an optional input left out.
    outputs : list of Value
    attrs : dict
        Plain Python values: int, float, str, lists of them, ndarray, Graph.
    name : str
        Unique in its graph; the ONNX name where there was one.
    domain : str
        ``""`` is ai.onnx.
    opset : int
        The opset version whose semantics the node has.
    backend : str or None
        A hint: the backend that must run this node ("native" or "reference").
    """

    op: str
    inputs: list[Any]  # Value or None; a rule knows which of its inputs must be there
    outputs: list[Value]
    attrs: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""
    opset: int = 0
    backend: str | None = None

    def input(self, i: int) -> Any:
        """Input `i`, or None where it is absent."""
        return self.inputs[i] if i < len(self.inputs) else None

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]


class Graph:
    """A list of nodes in topological order, with named inputs and outputs."""

    def __init__(
        self,
        inputs: Iterable[Value] = (),
        outputs: Iterable[Value] = (),
        nodes: Iterable[Node] = (),
        name: str = "",
    ) -> None:
        self.name = name
        self.inputs: list[Value] = list(inputs)
        self.outputs: list[Value] = list(outputs)
        self.nodes: list[Node] = list(nodes)
        self._counter = 0

    # -- reading -----------------------------------------------------------------------------

    def values(self) -> Iterator[Value]:
        """Every value once: inputs, then constants and results in node order."""
        seen: set[int] = set()
        chain = [self.inputs]
        for node in self.nodes:
            chain.append([v for v in node.inputs if v is not None])
            chain.append(node.outputs)
        chain.append(self.outputs)
        for group in chain:
            for value in group:
                if id(value) not in seen:
                    seen.add(id(value))
                    yield value

    def users(self) -> dict[Value, list[Node]]:
        """For each value, the nodes that read it (once per node). Graph outputs are not users."""
        table: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in {id(v): v for v in node.inputs if v is not None}.values():
                table.setdefault(value, []).append(node)
        return table

    # -- editing -----------------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        """A name that no value of this graph has, starting with `stem`."""
        taken = {v.name for v in self.values()}
        while True:
            self._counter += 1
            name = f"{stem}.{self._counter}"
            if name not in taken:
                return name

    def constant(self, stem: str, data: np.ndarray) -> Value:
        """A new constant; it enters the graph when a node reads it."""
        data = np.asarray(data)
        return Value(self.fresh(stem), data.dtype, tuple(data.shape), data)

    def replace_uses(self, old: Value, new: Value) -> None:
        """Let every reader of `old`, graph outputs included, read `new` instead."""
        for node in self.nodes:
            node.inputs = [new if v is old else v for v in node.inputs]
        self.outputs = [new if v is old else v for v in self.outputs]

    def prune(self) -> int:
        """Drop nodes whose results nobody reads; return how many went."""
        live = set(self.outputs)
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if any(v in live for v in node.outputs):
                kept.append(node)
                live.update(v for v in node.inputs if v is not None)
        gone = len(self.nodes) - len(kept)
        self.nodes = kept[::-1]
        return gone

    def sort(self) -> None:
        """Put the nodes in topological order, keeping the present order where it is one."""
        done: set[Node] = set()
        order: list[Node] = []
        for root in self.nodes:
            stack = [root]
            while stack:
                node = stack[-1]
                if node in done:
                    stack.pop()
                    continue
                missing = [
                    v.producer
                    for v in node.inputs
                    if v is not None and v.producer is not None and v.producer not in done
                ]
                if missing:
                    stack.extend(reversed(missing))
                else:
                    done.add(node)
                    order.append(node)
                    stack.pop()
        self.nodes = order
