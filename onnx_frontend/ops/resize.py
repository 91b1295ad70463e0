"""Upsample, and Resize before opset 13."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Node
from luthier.graph.ops.common import dynamic
from luthier.onnx_frontend.names import Names


def upsample(node: Node, names: Names) -> None:
    """Upsample is the asymmetric Resize that rounds down; `scales` is an attribute in opset 7."""
    scales = node.attrs.pop("scales", None)
    if scales is not None:
        node.inputs.append(names.const(f"{node.name}.scales", np.array(scales, np.float32)))
    _asymmetric(node, "floor")


def opset_10(node: Node, names: Names) -> None:
    """Resize-10 is asymmetric; a nearest neighbour is rounded up where the map shrinks."""
    scales = node.inputs[1]
    rounding = "floor"
    if node.attrs.get("mode", "nearest") == "nearest":
        if scales is None or scales.data is None:
            raise dynamic(node, "scales of opset 10 that are not constant are not supported")
        if np.any(scales.data < 1):
            rounding = "ceil"
            if np.any(scales.data > 1):
                raise dynamic(node, "scales of opset 10 that grow and shrink are not supported")
    _asymmetric(node, rounding)


def _asymmetric(node: Node, rounding: str) -> None:
    mode = node.attrs.get("mode", "nearest")
    x, scales = node.inputs
    node.op, node.inputs = "Resize", [x, None, scales]
    node.attrs = {
        "mode": "linear" if mode == "bilinear" else mode,
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": rounding,
    }


def opset_11(node: Node, names: Names) -> None:
    """Resize-11: inputs that do not matter are empty; since 13 they are left out."""
    if node.attrs.get("coordinate_transformation_mode") == "tf_half_pixel_for_nn":
        raise dynamic(node, "tf_half_pixel_for_nn is not supported")
    node.inputs = [
        None if v is not None and v.data is not None and v.data.size == 0 else v
        for v in node.inputs
    ]
