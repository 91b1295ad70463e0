"""The pass that folds channel shuffles into weights."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import Builder, check_golden, check_rewrite, check_untouched

from luthier.graph.passes import fold_channel_shuffles

CHANNELS = 8


def shuffle(b, x, groups=2, perm=(0, 2, 1, 3, 4)):
    n, c, h, w = x.shape
    y = b.op("Reshape", x, b.ints(n, groups, c // groups, h, w))
    return b.op("Reshape", b.op("Transpose", y, perm=list(perm)), b.ints(n, c, h, w))


def conv(b, x, out, group=1, size=1, **attrs):
    pads = [size // 2] * 4
    weights = b.weight(out, x.shape[1] // group, size, size)
    return b.op("Conv", x, weights, b.weight(out), group=group, pads=pads, **attrs)


def shuffle_alone():
    b = Builder()
    return b.done(shuffle(b, b.input("x", 1, 6, 2, 3), groups=3))


def shuffle_before_convolutions():
    b = Builder()
    y = shuffle(b, b.op("Relu", b.input("x", 1, 6, 3, 3)))
    return b.done(conv(b, y, 4, size=3), conv(b, y, 2))


def shuffle_before_depthwise():
    b = Builder()
    y = shuffle(b, b.op("Relu", b.input("x", 1, 6, 3, 3)))
    return b.done(conv(b, conv(b, y, 6, group=6, size=3), 4))


def unit_of_shufflenet():
    b = Builder()
    x = b.input("x", 1, CHANNELS, 3, 3)
    left, right = b.op("Relu", x), conv(b, x, CHANNELS)
    y = shuffle(b, b.op("Concat", left, right, axis=1))
    first, second = b.op("Split", y, b.ints(CHANNELS, CHANNELS), results=2, axis=1)
    return b.done(first, conv(b, second, 4))


def result_that_is_returned():
    """Whose order nobody may change."""
    b = Builder()
    x = b.input("x", 1, CHANNELS, 3, 3)
    y = b.op("Concat", b.op("Relu", x), conv(b, x, CHANNELS), axis=1)
    _, second = b.op("Split", shuffle(b, y), b.ints(CHANNELS, CHANNELS), results=2, axis=1)
    return b.done(y, conv(b, second, 4))


BUILDS = [
    shuffle_alone,
    shuffle_before_convolutions,
    shuffle_before_depthwise,
    unit_of_shufflenet,
    result_that_is_returned,
]


@pytest.mark.parametrize("build", BUILDS, ids=lambda b: b.__name__)
def test_keeps_the_meaning(build):
    check_rewrite(fold_channel_shuffles, build)


def test_golden():
    check_golden(fold_channel_shuffles, BUILDS)


@pytest.mark.parametrize("build", [shuffle_before_depthwise, unit_of_shufflenet])
def test_nothing_moves_in_front_of_convolutions(build):
    graph = build()
    fold_channel_shuffles.run(graph)
    before = [n.inputs[0].producer for n in graph.nodes if n.op == "Conv"]
    assert {p.op for p in before if p is not None} <= {"Relu", "Slice", "Conv"}


def other_permutation():
    b = Builder()
    x = b.op("Reshape", b.input("x", 1, 6, 2, 2), b.ints(1, 2, 3, 2, 2))
    y = b.op("Transpose", x, perm=[0, 2, 1, 4, 3])
    return b.done(b.op("Reshape", y, b.ints(1, 6, 2, 2)))


def other_shape():
    b = Builder()
    x = b.op("Reshape", b.input("x", 1, 6, 2, 2), b.ints(1, 2, 3, 2, 2))
    y = b.op("Transpose", x, perm=[0, 2, 1, 3, 4])
    return b.done(b.op("Reshape", y, b.ints(1, 3, 8)))


def weights_that_are_computed():
    b = Builder()
    y = b.op("Gather", b.input("x", 1, 3, 2, 2), b.ints(2, 0, 1), axis=1)
    return b.done(b.op("Conv", y, b.op("Neg", b.weight(2, 3, 1, 1)), pads=[0] * 4, group=1))


def channels_apart():
    b = Builder()
    y = b.op("Gather", b.input("x", 1, 4, 2, 2), b.ints(3, 0), axis=1)
    return b.done(conv(b, y, 2))


@pytest.mark.parametrize(
    "build",
    [other_permutation, other_shape, weights_that_are_computed, channels_apart],
    ids=lambda b: b.__name__,
)
def test_leaves_alone(build):
    check_untouched(fold_channel_shuffles, build)


def test_channels_that_repeat_stay():
    b = Builder()
    y = b.op("Gather", b.input("x", 1, 3, 2, 2), b.ints(0, 0, 2), axis=1)
    graph = b.done(conv(b, y, 2))
    assert not fold_channel_shuffles.run(graph)
    assert np.array_equal(graph.nodes[0].inputs[1].data, [0, 0, 2])
