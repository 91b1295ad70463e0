"""Graphs made by hand, and what every test of a pass does with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import interp
import numpy as np
import pytest

from luthier.graph import ops
from luthier.graph.ir import Graph, Node, Value
from luthier.graph.printer import print_graph
from luthier.graph.verify import verify

GOLDEN = Path(__file__).parents[1] / "golden"
OPSET = 21


class Builder:
    """Adds nodes whose result types follow from the operators' rules."""

    def __init__(self, seed: int = 0) -> None:
        self.graph = Graph()
        self.rng = np.random.default_rng(seed)
        self.count = 0

    def input(self, name: str, *shape: int, dtype: Any = np.float32) -> Value:
        value = Value(name, np.dtype(dtype), shape)
        self.graph.inputs.append(value)
        return value

    def const(self, data: Any, dtype: Any = np.float32) -> Value:
        self.count += 1
        array = np.asarray(data, dtype)
        return Value(f"c{self.count}", array.dtype, array.shape, array)

    def weight(self, *shape: int, dtype: Any = np.float32) -> Value:
        """A constant of normal numbers."""
        return self.const(self.rng.standard_normal(shape), dtype)

    def positive(self, *shape: int) -> Value:
        """A constant of numbers between one half and two."""
        return self.const(self.rng.uniform(0.5, 2, shape))

    def ints(self, *data: int) -> Value:
        return self.const(data, np.int64)

    def op(self, op: str, *inputs: Value | None, results: int = 1, domain: str = "", **attrs: Any):
        """Add a node; the result, or a tuple of them."""
        self.count += 1
        name = f"{op.lower()}{self.count}"
        outputs = [Value(name if i == 0 else f"{name}_{i}") for i in range(results)]
        node = Node(op, list(inputs), outputs, attrs, name, domain, OPSET)
        for value, (dtype, shape) in zip(outputs, ops.find(node).infer(node), strict=False):
            value.dtype, value.shape, value.producer = dtype, tuple(shape), node
        self.graph.nodes.append(node)
        return outputs[0] if results == 1 else tuple(outputs)

    def done(self, *outputs: Value) -> Graph:
        self.graph.outputs = list(outputs)
        verify(self.graph)
        return self.graph


Build = Callable[[], Graph]


def check_rewrite(module: ModuleType, build: Build, tolerance: float = 1e-5) -> Graph:
    """The pass changes the graph once, keeps its interface and its values; the new graph."""
    graph = build()
    feeds = interp.random_feeds(graph)
    before = interp.run(graph, *feeds)
    interface = [(v.name, v.dtype, v.shape) for v in (*graph.inputs, *graph.outputs)]
    shared = {v: v.data.copy() for v in graph.values() if v.data is not None}
    assert module.run(graph), "nothing changed"
    verify(graph)
    assert interface == [(v.name, v.dtype, v.shape) for v in (*graph.inputs, *graph.outputs)]
    assert_close(interp.run(graph, *feeds), before, tolerance)
    for value, data in shared.items():
        assert np.array_equal(value.data, data), f"{value.name} was changed in place"
    again = print_graph(graph)
    while module.run(graph):
        assert print_graph(graph) != again, "reports a change where there is none"
        again = print_graph(graph)
        verify(graph)
    assert_close(interp.run(graph, *feeds), before, tolerance)
    return graph


def check_untouched(module: ModuleType, build: Build) -> None:
    """The pass leaves the graph alone and says so."""
    graph = build()
    text = print_graph(graph)
    assert not module.run(graph)
    assert print_graph(graph) == text


def check_golden(module: ModuleType, builds: Sequence[Build]) -> None:
    """The text before and after one run of the pass is that of the golden file."""
    parts = []
    for build in builds:
        graph = build()
        before = print_graph(graph)
        module.run(graph)
        parts.append(f"# {build.__name__}: before\n{before}# after\n{print_graph(graph)}")
    compare_golden(pass_name(module), "\n".join(parts))


def compare_golden(name: str, text: str) -> None:
    """The text is that of the golden file; LUTHIER_UPDATE_GOLDEN=1 writes the file instead."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("LUTHIER_UPDATE_GOLDEN") == "1":
        path.write_text(text)
    assert path.exists(), f"{path} is missing: run once with LUTHIER_UPDATE_GOLDEN=1"
    assert text == path.read_text()


def pass_name(module: ModuleType) -> str:
    """``fold_pads``."""
    return module.__name__.rpartition(".")[2]


def pairs(table: dict[ModuleType, list[Build]]) -> list:
    """Parameters (module, build) with readable ids."""
    return [
        pytest.param(module, build, id=f"{pass_name(module)}-{build.__name__}")
        for module, builds in table.items()
        for build in builds
    ]


def assert_close(got: list[np.ndarray], want: list[np.ndarray], tolerance: float) -> None:
    """Equal types; values equal within `tolerance` of the largest wanted magnitude."""
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        if b.size:
            scale = max(float(np.abs(b.astype(np.float64)).max()), 1e-3)
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)
