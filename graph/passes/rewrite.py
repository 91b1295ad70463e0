"""What the passes share: a graph under edit, and small questions about values.

A `Rewriter` keeps the readers of every value up to date while nodes come and go, so that a pass
costs time linear in the graph. Constants are never changed in place: graphs bound to different
shapes share them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from luthier.graph.ir import Graph, Node, Value

__all__ = ["Rewriter", "constant_of", "fits_float", "ints_of", "is_float", "scalar_of", "squeezed"]

_NUMBER = re.compile(r"(\.\d+)+$")


class Rewriter:
    """One pass over one graph.

    Parameters
    ----------
    graph : Graph
        Changed in place. New nodes go to the end; `finish` restores the topological order.
    """

    def __init__(self, graph: Graph) -> None:
        graph.prune()
        self.graph = graph
        self.changed = False
        self._outputs = set(graph.outputs)
        self._names = {v.name for v in graph.values()}
        self._names.update(n.name for n in graph.nodes)
        self._counters: dict[str, int] = {}
        self._readers: dict[Value, dict[Node, None]] = {}
        self._gone: set[Node] = set()
        self._opset = max((n.opset for n in graph.nodes if not n.domain), default=0)
        for node in graph.nodes:
            self._read(node)

    # -- reading -----------------------------------------------------------------------------

    def nodes(self, *ops: str, domain: str = "") -> Iterator[Node]:
        """The nodes present when the walk began and still alive, of these operators."""
        for node in list(self.graph.nodes):
            if node not in self._gone and node.domain == domain and (not ops or node.op in ops):
                yield node

    def readers(self, value: Value) -> list[Node]:
        """The nodes that read `value`, once each."""
        return list(self._readers.get(value, ()))

    def is_output(self, value: Value) -> bool:
        """Whether `value` is an output of the graph."""
        return value in self._outputs

    def only_reader(self, value: Value) -> Node | None:
        """The one node that reads `value`; None if there are others or the graph returns it."""
        readers = self._readers.get(value, {})
        if len(readers) != 1 or value in self._outputs:
            return None
        return next(iter(readers))

    # -- editing -----------------------------------------------------------------------------

    def name(self, stem: str) -> str:
        """A name that nothing in the graph has yet: `stem` and a number instead of its own."""
        stem = _NUMBER.sub("", stem)
        while True:
            self._counters[stem] = self._counters.get(stem, 0) + 1
            name = f"{stem}.{self._counters[stem]}"
            if name not in self._names:
                self._names.add(name)
                return name

    def constant(self, stem: str, data: Any, dtype: Any = None) -> Value:
        """A new constant; it enters the graph when a node reads it."""
        array = np.asarray(data, dtype)
        return Value(self.name(stem), array.dtype, tuple(array.shape), array)

    def emit(
        self,
        op: str,
        inputs: Sequence[Value | None],
        attrs: dict[str, Any] | None = None,
        *,
        like: Value | None = None,
        shape: Sequence[int] | None = None,
        dtype: np.dtype | None = None,
        into: Value | None = None,
        domain: str = "",
    ) -> Value:
        """Add a node with one result and return the result.

        Parameters
        ----------
        like : Value, optional
            Gives the stem of the result's name, and its shape and dtype where those are absent;
            the first input by default.
        into : Value, optional
            An existing value that the new node computes from now on; the node that computed it
            goes. So graph outputs keep their names.
        """
        if into is not None:
            old = into.producer
            out = into
            name = old.name if old is not None else self.name(op)
        else:
            like = like or next(v for v in inputs if v is not None)
            out = Value(
                self.name(like.name),
                dtype or like.dtype,
                tuple(like.shape if shape is None else shape),
            )
            old, name = None, out.name
        node = Node(op, list(inputs), [out], dict(attrs or {}), name, domain, self._opset)
        out.producer = node
        self.graph.nodes.append(node)
        self._read(node)
        if old is not None:
            old.outputs = [v for v in old.outputs if v is not out]
            self._sweep(old)
        self.changed = True
        return out

    def reshape(self, source: Value, shape: Sequence[int] | None = None, into: Any = None) -> Value:
        """Add a Reshape to `shape`, or to the shape of the existing value `into`."""
        shape = tuple(into.shape if shape is None else shape)
        attrs = {"allowzero": 1} if 0 in shape else {}
        target = self.constant("shape", shape, np.int64)
        return self.emit("Reshape", [source, target], attrs, shape=shape, into=into)

    def set_inputs(self, node: Node, inputs: Sequence[Value | None]) -> None:
        """Let `node` read `inputs` instead of its present ones."""
        before = self._unread(node)
        node.inputs = list(inputs)
        self._read(node)
        self._sweep_producers(before)
        self.changed = True

    def set_output(self, node: Node, value: Value) -> None:
        """Let `node`, of one result that nobody else needs, compute `value` instead of it."""
        old = value.producer
        node.outputs = [value]
        value.producer = node
        if old is not None:
            old.outputs = [v for v in old.outputs if v is not value]
            self._sweep(old)
        self.changed = True

    def drop(self, node: Node) -> None:
        """Remove `node`; its results are left without a producer, its inputs stay."""
        for value in node.outputs:
            value.producer = None
        node.outputs = []
        self._unread(node)
        self._gone.add(node)
        self.changed = True

    def freeze(self, node: Node, arrays: Sequence[np.ndarray]) -> None:
        """Turn the results of `node` into constants."""
        for value, data in zip(node.outputs, arrays, strict=False):
            value.producer, value.data = None, data
        node.outputs = []
        self._sweep(node)
        self.changed = True

    def forward(self, old: Value, new: Value) -> bool:
        """Let every reader of `old` read `new`; False if the interface of the graph forbids it.

        Where the graph returns `old`, the producer of `new` computes `old` and the readers of
        `new` move over, so that the output keeps its name; that needs a `new` that is neither
        constant, nor input, nor output.
        """
        if old in self._outputs:
            if new.producer is None or new in self._outputs:
                return False
            producer = new.producer
            former = old.producer
            producer.outputs = [old if v is new else v for v in producer.outputs]
            old.producer = producer
            if former is not None:
                former.outputs = [v for v in former.outputs if v is not old]
            self._move_readers(new, old)
            if former is not None:
                self._sweep(former)
        else:
            self._move_readers(old, new)
            if old.producer is not None:
                self._sweep(old.producer)
        self.changed = True
        return True

    def finish(self) -> bool:
        """Drop what died, restore the order, and return whether anything changed."""
        if self.changed:
            self.graph.nodes = [n for n in self.graph.nodes if n not in self._gone]
            self.graph.sort()
            self.graph.prune()
        return self.changed

    # -- bookkeeping -------------------------------------------------------------------------

    def _read(self, node: Node) -> None:
        for value in node.inputs:
            if value is not None:
                self._readers.setdefault(value, {})[node] = None

    def _unread(self, node: Node) -> list[Value]:
        values = [v for v in node.inputs if v is not None]
        for value in values:
            self._readers[value].pop(node, None)
        return values

    def _move_readers(self, old: Value, new: Value) -> None:
        for node in self._readers.pop(old, {}):
            node.inputs = [new if v is old else v for v in node.inputs]
            self._readers.setdefault(new, {})[node] = None

    def _sweep_producers(self, values: Sequence[Value]) -> None:
        for value in values:
            if value.producer is not None:
                self._sweep(value.producer)

    def _sweep(self, node: Node) -> None:
        """Drop `node`, and then its producers, where nobody reads their results any more."""
        stack = [node]
        while stack:
            node = stack.pop()
            if node in self._gone or any(
                self._readers.get(v) or v in self._outputs for v in node.outputs
            ):
                continue
            self._gone.add(node)
            for value in self._unread(node):
                if value.producer is not None:
                    stack.append(value.producer)


def constant_of(value: Value | None) -> np.ndarray | None:
    """The content of a constant; None for anything else."""
    return None if value is None else value.data


def scalar_of(value: Value | None) -> float | None:
    """The one element of a numeric constant of one element; None for anything else."""
    if (
        value is None
        or value.data is None
        or value.data.size != 1
        or value.data.dtype.kind not in "fiu"
    ):
        return None
    return float(value.data.reshape(()))


def ints_of(value: Value | None) -> list[int] | None:
    """The elements of an integer constant as a list; None for anything else."""
    if value is None or value.data is None or value.data.dtype.kind not in "iu":
        return None
    return [int(i) for i in value.data.reshape(-1)]


def is_float(*values: Value | None) -> bool:
    """Whether all of them are float32, the type that the native kernels compute in."""
    return all(v is not None and v.dtype == np.float32 for v in values)


def fits_float(array: np.ndarray | np.float64) -> bool:
    """Whether a float64 result of weight arithmetic is still finite in float32."""
    return bool(np.all(np.abs(array) <= np.finfo(np.float32).max))


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """The dimensions other than one."""
    return tuple(d for d in shape if d != 1)
