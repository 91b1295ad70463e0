"""The text form of graphs."""

from __future__ import annotations

import numpy as np
from graphs import Builder

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.printer import print_graph


def test_inputs_constants_nodes_outputs():
    b = Builder()
    x = b.input("x", 1, 2, 4, 4)
    y = b.op("Conv", x, b.weight(3, 2, 3, 3), None, pads=[1, 1, 1, 1], auto_pad="NOTSET")
    left, right = b.op("Split", y, b.ints(1, 2), results=2, axis=1)
    z = b.op("Silu", left, domain="luthier")
    assert print_graph(b.done(z, right)) == (
        "inputs %x: f32[1,2,4,4]\n"
        "@c1: f32[3,2,3,3]\n"
        "@c3: i64[2] = [1,2]\n"
        "%conv2: f32[1,3,4,4] = Conv(%x, @c1, _) {auto_pad=NOTSET, pads=[1,1,1,1]}\n"
        "%split4: f32[1,1,4,4], %split4_1: f32[1,2,4,4] = Split(%conv2, @c3) {axis=1}\n"
        "%silu5: f32[1,1,4,4] = luthier.Silu(%split4)\n"
        "outputs %silu5, %split4_1\n"
    )


def test_unbound_types():
    x = Value("x", np.dtype(np.float16), ("N", None, 3))
    y = Value("y")
    graph = Graph([x], [y], [Node("Mystery", [x], [y], {"size": 0.5})])
    assert print_graph(graph) == (
        "inputs %x: f16[N,?,3]\n%y: ?[...] = Mystery(%x) {size=0.5}\noutputs %y\n"
    )


def test_array_and_graph_attributes():
    x, y, z = (Value(n, np.dtype(bool), ()) for n in "xyz")
    body = Graph([], [z], [Node("Not", [x], [z])])
    attrs = {
        "then_branch": body,
        "small": np.array([1, 2], np.int8),
        "large": np.zeros((3, 3), np.uint8),
    }
    assert print_graph(Graph([x], [y], [Node("If", [x], [y], attrs)])) == (
        "inputs %x: bool[]\n"
        "%y: bool[] = If(%x) {large=u8[3,3], small=i8[2]=[1,2]}\n"
        "  then_branch:\n"
        "    inputs \n"
        "    %z: bool[] = Not(%x)\n"
        "    outputs %z\n"
        "outputs %y\n"
    )
