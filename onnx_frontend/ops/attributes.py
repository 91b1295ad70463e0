"""Upgrades that only move, rename or add attributes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.ops.common import dynamic
from luthier.onnx_frontend.names import Names

Edit = Callable[[Node, Names], None]


def ints_to_inputs(*attrs: str) -> Edit:
    """Attributes that are lists of ints become the inputs after the first; absent ones None."""

    def edit(node: Node, names: Names) -> None:
        for attr in attrs:
            values = node.attrs.pop(attr, None)
            node.inputs.append(
                None if values is None else names.ints(f"{node.name}.{attr}", values)
            )
        _trim(node)

    return edit


def scalars_to_inputs(*attrs: str) -> Edit:
    """Attributes that are floats become the inputs after the first, of the first one's dtype."""

    def edit(node: Node, names: Names) -> None:
        first = node.inputs[0]
        dtype = np.dtype(np.float32) if first is None or first.dtype is None else first.dtype
        for attr in attrs:
            value = node.attrs.pop(attr, None)
            node.inputs.append(
                None
                if value is None
                else names.const(f"{node.name}.{attr}", _clamped(value, dtype))
            )
        _trim(node)

    return edit


def _clamped(value: float, dtype: np.dtype) -> np.ndarray:
    """`value` as `dtype`: the old default of Clip.max, 3.4e38, is infinite as float16."""
    with np.errstate(over="ignore"):
        return np.array(value).astype(dtype)


def _trim(node: Node) -> None:
    while node.inputs and node.inputs[-1] is None:
        node.inputs.pop()


def rename(op: str) -> Edit:
    """The operator has got another name."""

    def edit(node: Node, names: Names) -> None:
        node.op = op

    return edit


def refuse(reason: str) -> Edit:
    """The old form is not supported."""

    def edit(node: Node, names: Names) -> None:
        raise dynamic(node, reason)

    return edit


def pad(node: Node, names: Names) -> None:
    """Pad before opset 11: `pads` and `value` are attributes."""
    ints_to_inputs("pads")(node, names)
    scalars_to_inputs("value")(node, names)


def split_count(node: Node, names: Names) -> None:
    """Split before opset 18: without sizes the number of parts is that of the outputs."""
    if len(node.inputs) == 1:
        node.attrs["num_outputs"] = len(node.outputs)


def top_k(node: Node, names: Names) -> None:
    """TopK before opset 10: `k` is an attribute."""
    node.inputs.append(names.ints(f"{node.name}.k", [node.attrs.pop("k")]))


def dft_axis(node: Node, names: Names) -> None:
    """DFT before opset 20: `axis` is an attribute, 1 by default."""
    length = node.input(1)
    axis = names.ints(f"{node.name}.axis", node.attrs.pop("axis", 1))
    node.inputs = [node.inputs[0], length, axis]


def grid_sample_mode(node: Node, names: Names) -> None:
    """GridSample before opset 20 has other words for its modes."""
    mode = node.attrs.get("mode", "bilinear")
    node.attrs["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)


def roi_align_mode(node: Node, names: Names) -> None:
    """RoiAlign before opset 16 does not shift coordinates by half a pixel."""
    node.attrs["coordinate_transformation_mode"] = "output_half_pixel"
