"""The verifier finds every kind of broken graph."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Builder

from luthier.errors import VerifyError
from luthier.graph.ir import Node, Value
from luthier.graph.verify import verify

FUSED = {"activation": "relu", "activation_params": [0.0, 0.0]}


def sample():
    """conv -> relu, matmul; a graph that is sound."""
    b = Builder()
    x = b.input("x", 1, 2, 4, 4)
    y = b.op("Conv", x, b.weight(2, 2, 1, 1))
    z = b.op("Relu", y)
    return b.done(z, b.op("MatMul", z, b.weight(4, 3)))


def node(graph, op):
    return next(n for n in graph.nodes if n.op == op)


def order(graph):
    graph.nodes.reverse()


def producer(graph):
    node(graph, "Relu").output.producer = graph.nodes[0]


def foreign_value(graph):
    node(graph, "Relu").inputs = [Value("other", np.dtype("float32"), (1, 2, 4, 4))]


def two_definitions(graph):
    graph.nodes.append(graph.nodes[0])


def undefined_output(graph):
    graph.outputs.append(Value("other", np.dtype("float32"), ()))


def constant_input(graph):
    graph.inputs[0].data = np.zeros((1, 2, 4, 4), np.float32)


def constant_result(graph):
    node(graph, "Relu").output.data = np.zeros((1, 2, 4, 4), np.float32)


def constant_of_other_type(graph):
    node(graph, "Conv").inputs[1].dtype = np.dtype("float64")


def name_of_value(graph):
    node(graph, "Relu").output.name = "x"


def name_of_node(graph):
    node(graph, "Relu").name = node(graph, "Conv").name


def shape(graph):
    node(graph, "Relu").output.shape = (1, 2, 4, 5)


def dtype(graph):
    node(graph, "Relu").output.dtype = np.dtype("float16")


def symbolic_shape(graph):
    node(graph, "Relu").output.shape = ("N", 2, 4, 4)


def no_inference(graph):
    node(graph, "Conv").attrs["kernel_shape"] = [2, 2]


def no_outputs(graph):
    graph.nodes.append(Node("Relu", [graph.inputs[0]], []))


def too_many_outputs(graph):
    relu = node(graph, "Relu")
    relu.outputs.append(Value("extra", np.dtype("float32"), (), producer=relu))


def activation_on_relu(graph):
    node(graph, "Relu").attrs = dict(FUSED)


def unknown_activation(graph):
    node(graph, "Conv").attrs.update(FUSED, activation="swish")


def activation_without_params(graph):
    node(graph, "Conv").attrs["activation"] = "relu"


def infinite_params(graph):
    node(graph, "Conv").attrs.update(FUSED, activation_params=[0.0, float("inf")])


def residual_without_input(graph):
    node(graph, "Conv").attrs["residual"] = 1


def residual_of_other_shape(graph):
    conv = node(graph, "Conv")
    conv.inputs += [None, conv.inputs[1]]
    conv.attrs["residual"] = 1


def bias_on_conv(graph):
    node(graph, "Conv").attrs["bias"] = 1


def bias_without_input(graph):
    node(graph, "MatMul").attrs["bias"] = 1


def bias_without_attribute(graph):
    matmul = node(graph, "MatMul")
    matmul.inputs.append(Value("bias", np.dtype("float32"), (3,), np.zeros(3, np.float32)))


def layout_on_relu(graph):
    node(graph, "Relu").attrs["layout"] = "NHWC"


def unknown_layout(graph):
    node(graph, "Conv").attrs["layout"] = "CHWN"


BREAKS = {
    order: "before it is defined",
    producer: "has another producer",
    foreign_value: "before it is defined",
    two_definitions: "again",
    undefined_output: "is not defined",
    constant_input: "is a constant",
    constant_result: "is a constant",
    constant_of_other_type: "not that of its data",
    name_of_value: "two values are named 'x'",
    name_of_node: "two nodes are named",
    shape: "is float32[1, 2, 4, 5], the operator gives float32[1, 2, 4, 4]",
    dtype: "is float16",
    symbolic_shape: "is not static",
    no_inference: "kernel_shape",
    no_outputs: "has no outputs",
    too_many_outputs: "has 2 outputs",
    activation_on_relu: "may not have the attribute activation",
    unknown_activation: "'swish' is unknown",
    activation_without_params: "activation_params None",
    infinite_params: "not two finite numbers",
    residual_without_input: "no residual",
    residual_of_other_shape: "no residual",
    bias_on_conv: "may not have the attribute bias",
    bias_without_input: "is no bias",
    bias_without_attribute: "third input",
    layout_on_relu: "may not have the attribute layout",
    unknown_layout: "'CHWN'",
}


def test_sound_graph():
    verify(sample())


def test_attributes_that_onnx_has():
    b = Builder()
    verify(b.done(b.op("LRN", b.input("x", 1, 2, 3, 3), size=3, bias=1.0)))


@pytest.mark.parametrize("damage", BREAKS, ids=lambda f: f.__name__)
def test_finds(damage):
    graph = sample()
    damage(graph)
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert BREAKS[damage] in str(caught.value)
    assert "\n" not in str(caught.value)
