"""New names and values for what the importer adds to a graph."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Node, Value


class Names:
    """Hands out names that nothing in the model has.

    Parameters
    ----------
    taken : set of str
        Every name in the model file.
    """

    def __init__(self, taken: set[str]) -> None:
        self._taken = taken
        self._count = 0

    def fresh(self, stem: str) -> str:
        """A new name that starts with `stem`."""
        while True:
            self._count += 1
            name = f"{stem}.{self._count}"
            if name not in self._taken:
                self._taken.add(name)
                return name

    def const(self, stem: str, data: np.ndarray) -> Value:
        """A constant of the given content."""
        data.flags.writeable = False
        return Value(self.fresh(stem), data.dtype, data.shape, data)

    def ints(self, stem: str, values: int | list[int]) -> Value:
        """A constant of int64."""
        return self.const(stem, np.array(values, np.int64))

    def apply(
        self, like: Node, op: str, inputs: list[Value | None], outputs: int = 1, **attrs: object
    ) -> Node:
        """A new node that belongs to `like`, with new output values."""
        node = Node(op, inputs, [], dict(attrs), self.fresh(like.name), "", like.opset)
        node.outputs = [
            Value(self.fresh(like.outputs[0].name), producer=node) for _ in range(outputs)
        ]
        return node
