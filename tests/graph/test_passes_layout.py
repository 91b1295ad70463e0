"""assign_layouts: what becomes NHWC, and where Transposes stay."""

from __future__ import annotations

import interp
import numpy as np
import pytest
from graphs import Builder, assert_close, check_golden, check_rewrite, check_untouched
from quantised_graphs import QuantisedBuilder

from luthier.graph.passes import (
    assign_layouts,
    cancel_transposes,
    drop_identities,
    fuse_quantised_epilogues,
)

WINDOW = {"strides": [1, 1], "dilations": [1, 1], "pads": [1, 1, 1, 1], "group": 1}


def conv(b, x, channels=4, kernel=3, **attrs):
    w = b.weight(channels, x.shape[1], kernel, kernel)
    pads = [kernel // 2] * 4
    window = {**WINDOW, "kernel_shape": [kernel, kernel], "pads": pads}
    return b.op("Conv", x, w, **{**window, **attrs})


def image(b, channels=3):
    return b.input("x", 1, channels, 6, 5)


def one_conv():
    b = Builder()
    return b.done(conv(b, image(b)))


def chain_with_followers():
    b = Builder()
    y = conv(b, image(b))
    y = b.op("Clip", y, b.const(0.0), b.const(6.0))
    y = b.op("Add", y, b.weight(4, 1, 1))
    y = b.op("Mul", b.const([2.0]), y)
    y = b.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2], dilations=[1, 1], pads=[0] * 4)
    return b.done(conv(b, b.op("Silu", y, domain="luthier"), 2, kernel=1))


def residual():
    b = Builder()
    x = conv(b, image(b))
    w = b.weight(4, 4, 3, 3)
    window = {**WINDOW, "kernel_shape": [3, 3]}
    fused = {"residual": 1, "activation": "relu", "activation_params": [0.0, 0.0]}
    return b.done(b.op("Conv", x, w, b.weight(4), x, **window, **fused))


def squeeze_and_excite():
    b = Builder()
    x = conv(b, image(b))
    pooled = b.op("ReduceMean", x, b.ints(2, 3))
    gate = b.op("Sigmoid", conv(b, conv(b, pooled, 2, 1), 4, 1))
    return b.done(b.op("Mul", x, gate))


def branches():
    b = Builder()
    x = image(b)
    left, right = b.op("Split", conv(b, x, 6), axis=1, num_outputs=2, results=2)
    y = b.op("Concat", left, x, b.op("Softmax", right, axis=1), b.weight(1, 1, 6, 5), axis=-3)
    return b.done(conv(b, y))


def slices_and_pads():
    b = Builder()
    y = conv(b, image(b))
    y = b.op("Slice", y, b.ints(1, 0), b.ints(6, 3), b.ints(2, 1), b.ints(2, 1))
    y = b.op("Pad", y, b.ints(0, 1, 0, 2, 0, 0, 3, 0), b.const(1.0))
    y = b.op("Pad", y, b.ints(1, 2), None, b.ints(-2))
    y = b.op("Slice", y, b.ints(0, 1), b.ints(1, 3))
    return b.done(conv(b, y))


def resizes():
    b = Builder()
    attrs = {
        "mode": "nearest",
        "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric",
    }
    y = b.op("Resize", conv(b, image(b)), None, b.const([1, 1, 2, 3]), **attrs)
    return b.done(b.op("Resize", y, None, None, b.ints(1, 4, 9, 20), **attrs))


def reductions():
    b = Builder()
    y = conv(b, image(b))
    return b.done(
        b.op("ReduceMean", y, b.ints(2, 3), keepdims=0),
        b.op("ReduceMax", y, b.ints(1), keepdims=0),
        b.op("ReduceSum", y, b.ints(-1), keepdims=0),
        b.op("ReduceMin", y, b.ints(-1, 1)),
    )


def comparisons():
    b = Builder()
    x, y = conv(b, image(b)), b.input("y", 4, 1, 1)
    bigger = b.op("Greater", x, y)
    return b.done(conv(b, b.op("Where", bigger, x, b.op("Sub", y, b.const(1.0)))))


def detection_head():
    """SSD heads permute to NHWC and flatten: nothing is left to move."""
    b = Builder()
    y = b.op("Transpose", conv(b, image(b)), perm=[0, 2, 3, 1])
    return b.done(b.op("Reshape", y, b.ints(1, -1, 2)))


def channels_last_model():
    """A model exported from an NHWC framework: its own Transposes meet ours."""
    b = Builder()
    x = b.input("x", 1, 6, 5, 3)
    y = conv(b, b.op("Transpose", x, perm=[0, 3, 1, 2]))
    return b.done(b.op("Transpose", b.op("Relu", y), perm=[0, 2, 3, 1]))


def column_sequence():
    """Text recognisers read columns: (N, C, 1, W) to (N, W, C)."""
    b = Builder()
    y = conv(b, b.input("x", 1, 3, 1, 8), kernel=1)
    y = b.op("Transpose", b.op("Reshape", y, b.ints(1, 4, 8)), perm=[0, 2, 1])
    return b.done(b.op("Softmax", y))


def one_channel():
    b = Builder()
    y = conv(b, b.input("x", 1, 1, 6, 5), 1)
    return b.done(b.op("Reshape", y, b.ints(5, 6)))


def flattened():
    b = Builder()
    y = b.op("Reshape", conv(b, image(b)), b.ints(1, -1))
    return b.done(b.op("MatMul", y, b.weight(120, 3)))


def transposed_convolution():
    b = Builder()
    x = image(b)
    w = b.weight(3, 2, 2, 2)
    window = {**WINDOW, "kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 0, 0]}
    y = b.op("ConvTranspose", x, w, b.weight(2), **window)
    attrs = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [1, 1], "dilations": [1, 1]}
    return b.done(b.op("AveragePool", y, **attrs), x)


def attention_over_pixels():
    """Operators that know nothing of layouts get NCHW, once."""
    b = Builder()
    y = conv(b, image(b))
    z = b.op("MatMul", y, b.weight(5, 5))
    return b.done(conv(b, b.op("Add", y, z)), z)


def quantised_maps():
    """A chain on bytes between a float image and a quantised mean."""
    b = QuantisedBuilder()
    x = b.qconv(b.q(b.input("x", 1, 4, 6, 5)), 4, 3)
    wide = b.ms("QLinearAdd", x, *b.by(), b.filters(4, 1, 1, dtype=np.uint8), *b.by(), *b.by())
    y = b.op("LookUp", wide, domain="luthier", table=np.arange(256)[::-1].astype(np.uint8))
    y = b.ms("QLinearAveragePool", y, *b.by(), *b.by(), kernel_shape=[2, 2], pads=[0] * 4)
    return b.done(b.ms("QLinearGlobalAveragePool", y, *b.by(), *b.by()))


def quantised_residual():
    b = QuantisedBuilder()
    x = b.bytes_input("x", 1, 4, 6, 5)
    sums = b.ms("QLinearAdd", x, *b.by(), b.qconv(x, 4), *b.by(0.3, 120), *b.by())
    graph = b.done(b.qconv(sums, 2))
    assert fuse_quantised_epilogues.run(graph)
    return graph


def dynamically_quantised():
    b = QuantisedBuilder()
    x = conv(b, image(b))
    q, scale, zero = b.op("DynamicQuantizeLinear", x, results=3)
    operands = q, b.filters(5, 4, 3, 3), scale, b.scales(5), zero, None, b.weight(5)
    return b.done(b.op("ConvIntegerToFloat", *operands, domain="luthier", **WINDOW))


def pool_of_channels_last():
    b = QuantisedBuilder()
    y = b.qconv(b.bytes_input("x", 1, 4, 6, 5), 4)
    y = b.op("Transpose", y, perm=[0, 2, 3, 1])
    attrs = {"kernel_shape": [2, 2], "pads": [0] * 4, "layout": "NHWC"}
    return b.done(b.ms("QLinearAveragePool", y, *b.by(), *b.by(), **attrs))


def no_windows():
    b = Builder()
    x = b.input("x", 1, 2, 3, 4)
    return b.done(b.op("Transpose", b.op("Relu", x), perm=[0, 2, 3, 1]))


def implicit_window():
    b = Builder()
    return b.done(b.op("Conv", image(b), b.weight(4, 3, 3, 3)))


CASES = {
    one_conv: 2,
    chain_with_followers: 2,
    residual: 2,
    squeeze_and_excite: 2,
    branches: 2,
    slices_and_pads: 2,
    resizes: 2,
    reductions: 2,
    comparisons: 2,
    detection_head: 1,
    channels_last_model: 0,
    column_sequence: 1,
    one_channel: 0,
    flattened: 2,
    transposed_convolution: 2,
    attention_over_pixels: 4,
    quantised_maps: 1,
    quantised_residual: 2,
    dynamically_quantised: 2,
    pool_of_channels_last: 1,
}
"""Graph -> Transposes left once the passes that cancel them have run."""


@pytest.mark.parametrize("build", CASES, ids=lambda f: f.__name__)
def test_keeps_values(build):
    graph = check_rewrite(assign_layouts, build)
    feeds = interp.random_feeds(graph)
    before = interp.run(graph, *feeds)
    while cancel_transposes.run(graph) or drop_identities.run(graph):
        pass
    assert_close(interp.run(graph, *feeds), before, 1e-6)
    assert sum(n.op == "Transpose" for n in graph.nodes) == CASES[build]


@pytest.mark.parametrize("build", [no_windows, implicit_window], ids=lambda f: f.__name__)
def test_leaves_alone(build):
    check_untouched(assign_layouts, build)


def test_golden():
    check_golden(assign_layouts, list(CASES))


def test_shares_the_transpose_of_a_value():
    b = Builder()
    x = image(b)
    graph = b.done(conv(b, x), conv(b, x, 2), conv(b, x, 5))
    assert assign_layouts.run(graph)
    assert sum(v is x for n in graph.nodes for v in n.inputs) == 1
    assert all(n.attrs["layout"] == "NHWC" for n in graph.nodes if n.op == "Conv")


def test_keeps_weights_as_they_are():
    b = Builder()
    graph = b.done(conv(b, image(b)))
    weight = graph.nodes[0].inputs[1]
    assert assign_layouts.run(graph)
    (node,) = (n for n in graph.nodes if n.op == "Conv")
    assert node.inputs[1] is weight
    assert node.output.shape == (1, 6, 5, 4)
    assert weight.shape == (4, 3, 3, 3)
