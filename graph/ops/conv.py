"""Convolutions and transposed ones. Shapes follow the attribute `layout`."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    OpInfo,
    Shape,
    TensorType,
    dtype_of,
    invalid,
    join_map,
    require,
    shape_of,
    split_map,
)
from luthier.graph.ops.window import Window, resolve_transposed, resolve_window


def _kernel(node: Node, weight: Shape) -> Shape:
    kernel = weight[2:]
    declared = tuple(node.attrs.get("kernel_shape") or kernel)
    if declared != kernel:
        raise invalid(node, f"kernel_shape {list(declared)} does not fit weight {list(weight)}")
    return kernel


def _operands(node: Node, w: int) -> tuple[int, int, Shape, Shape, int]:
    """N, C and spatial shape of the input, shape of the weight (input `w`), group count."""
    n, c, spatial = split_map(node, shape_of(node, 0))
    weight = shape_of(node, w)
    require(
        len(weight) == len(spatial) + 2,
        node,
        f"weight {list(weight)} does not fit input {list(shape_of(node, 0))}",
    )
    groups = node.attrs.get("group", 1)
    require(groups > 0, node, f"group {groups} is not positive")
    return n, c, spatial, weight, groups


def _check_bias(node: Node, i: int, channels: int) -> None:
    if node.input(i) is not None and not node.attrs.get("residual", 0):
        bias = shape_of(node, i)
        require(bias == (channels,), node, f"bias {list(bias)} does not fit {channels} channels")


def conv_window(node: Node, w: int = 1) -> Window:
    """The window of a Conv, ConvInteger or QLinearConv whose weight is input `w`."""
    _, _, spatial, weight, _ = _operands(node, w)
    return resolve_window(node, spatial, _kernel(node, weight))


def conv_shape(node: Node, w: int) -> Shape:
    """Shape of a convolution whose weight is input `w`."""
    n, c, _, weight, groups = _operands(node, w)
    require(
        c == weight[1] * groups,
        node,
        f"input has {c} channels, weight {list(weight)} with group {groups} needs"
        f" {weight[1] * groups}",
    )
    require(weight[0] % groups == 0, node, f"{weight[0]} channels do not split into {groups}")
    return join_map(node, n, weight[0], conv_window(node, w).output)


def _conv(node: Node) -> list[TensorType]:
    dtype, other = dtype_of(node, 0), dtype_of(node, 1)
    require(dtype == other, node, f"input is {dtype}, weight is {other}")
    shape = conv_shape(node, 1)
    _check_bias(node, 2, shape_of(node, 1)[0])
    return [(dtype, shape)]


def transposed_window(node: Node) -> Window:
    """The window of a ConvTranspose."""
    _, _, spatial, weight, _ = _operands(node, 1)
    return resolve_transposed(node, spatial, _kernel(node, weight))


def _conv_transpose(node: Node) -> list[TensorType]:
    n, c, _, weight, groups = _operands(node, 1)
    require(
        c == weight[0], node, f"input has {c} channels, weight {list(weight)} needs {weight[0]}"
    )
    require(c % groups == 0, node, f"{c} channels do not split into {groups}")
    channels = weight[1] * groups
    _check_bias(node, 2, channels)
    return [(dtype_of(node, 0), join_map(node, n, channels, transposed_window(node).output))]


OPS: dict[str, OpInfo] = {
    "Conv": OpInfo(_conv, keep=True),
    "ConvTranspose": OpInfo(_conv_transpose, keep=True),
}
