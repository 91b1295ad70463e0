"""Windows of convolutions and pools, against a count by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from luthier.graph.ir import Node
from luthier.graph.ops.window import resolve_pads, resolve_transposed, resolve_window


def node(**attrs: Any) -> Node:
    return Node("MaxPool", [], [], attrs, "n")


@pytest.mark.parametrize(
    ("attrs", "want"),
    [
        ({}, (0, 0, 0, 0)),
        ({"pads": [1, 2, 3, 4]}, (1, 2, 3, 4)),
        ({"auto_pad": "NOTSET", "pads": [1, 2, 3, 4]}, (1, 2, 3, 4)),
        ({"auto_pad": "VALID"}, (0, 0, 0, 0)),
        ({"auto_pad": "SAME_UPPER"}, (1, 0, 1, 1)),
        ({"auto_pad": "SAME_LOWER"}, (1, 1, 1, 0)),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (0, 0, 1, 0)),
        ({"auto_pad": "SAME_UPPER", "dilations": [2, 2]}, (2, 1, 2, 1)),
    ],
)
def test_resolve_pads(attrs: dict[str, Any], want: tuple[int, ...]) -> None:
    assert resolve_pads(node(**attrs), (8, 6), (3, 2)) == want


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "pad", "ceil"),
    list(itertools.product((5, 8), (1, 2, 3), (1, 2, 3), (1, 2), (0, 1), (0, 1))),
)
def test_positions(size: int, kernel: int, stride: int, dilation: int, pad: int, ceil: int) -> None:
    """With ceil_mode the last window may reach past the padding, but none may start in it."""
    reach = (kernel - 1) * dilation + 1
    end = size + 2 * pad
    starts = range(0, end, stride)
    if ceil:
        inside = [p for p in starts if p < size + pad and p - stride + reach < end]
    else:
        inside = [p for p in starts if p + reach <= end]
    attrs = {"strides": [stride], "dilations": [dilation], "pads": [pad, pad], "ceil_mode": ceil}
    window = resolve_window(node(**attrs), (size,), (kernel,))
    assert window.output == (len(inside),)
    assert (window.pads, window.strides, window.dilations) == ((pad, pad), (stride,), (dilation,))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("size", "kernel", "stride"), [(7, 3, 2), (8, 2, 1), (9, 5, 3), (4, 1, 2)])
def test_same_covers_the_input(mode: str, size: int, kernel: int, stride: int) -> None:
    window = resolve_window(node(auto_pad=mode, strides=[stride]), (size,), (kernel,))
    assert window.output == (-(-size // stride),)
    begin, end = window.pads
    assert 0 <= (end - begin if mode == "SAME_UPPER" else begin - end) <= 1


@pytest.mark.parametrize(
    ("attrs", "output", "pads"),
    [
        ({}, (9,), (0, 0)),
        ({"pads": [1, 2]}, (6,), (1, 2)),
        ({"output_padding": [1], "pads": [1, 1]}, (8,), (1, 1)),
        ({"output_shape": [6]}, (6,), (2, 1)),
        ({"output_shape": [6], "auto_pad": "SAME_UPPER"}, (6,), (1, 2)),
        ({"auto_pad": "SAME_UPPER"}, (8,), (0, 1)),
    ],
)
def test_transposed(attrs: dict[str, Any], output: tuple[int, ...], pads: tuple[int, ...]) -> None:
    window = resolve_transposed(node(strides=[2], **attrs), (4,), (3,))
    assert (window.output, window.pads) == (output, pads)


def test_transposed_is_the_adjoint() -> None:
    """A convolution over the result of the transposed one has the input's shape again."""
    for size, kernel, stride, pad in itertools.product((4, 7), (2, 3), (1, 2), (0, 1)):
        attrs = {"strides": [stride], "pads": [pad, pad]}
        output = resolve_transposed(node(**attrs), (size,), (kernel,)).output
        assert resolve_window(node(**attrs), output, (kernel,)).output == (size,)
        assert np.prod(output) > 0
