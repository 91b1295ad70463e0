"""Plans that take over the weights of their graph."""

from __future__ import annotations

import numpy as np

from luthier.graph import lower
from luthier.graph.ir import Graph, Node, Value
from luthier.graph.lowering.lower import WEIGHT_BYTES


def products(shared: bool) -> tuple[Graph, list[Value]]:
    """x @ a @ b, with one weight twice or two different ones, of just the size that counts."""
    size = int((WEIGHT_BYTES / 4) ** 0.5)
    rng = np.random.default_rng(0)
    f32 = np.dtype(np.float32)

    def weight(name: str) -> Value:
        return Value(name, f32, (size, size), rng.standard_normal((size, size), np.float32))

    x, y, z = (Value(name, f32, (3, size)) for name in "xyz")
    a = weight("a")
    b = a if shared else weight("b")
    graph = Graph([x], [z])
    graph.nodes = [Node("MatMul", [x, a], [y]), Node("MatMul", [y, b], [z])]
    return graph, [a, b]


def test_weights_are_dropped_once_nobody_reads_them() -> None:
    for shared in (False, True):
        graph, weights = products(shared)
        x = np.random.default_rng(1).standard_normal(graph.inputs[0].shape, np.float32)
        expected = x @ weights[0].data @ weights[1].data
        kept = lower(graph).run([x])[0]
        assert all(w.data is not None for w in weights)
        [found] = lower(graph, consume=True).run([x])
        assert all(w.data is None for w in weights)
        np.testing.assert_array_equal(found, kept)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-2)
