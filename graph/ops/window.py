"""Sliding windows: what convolutions and pools read of their attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.graph.ir import Node
from luthier.graph.ops.common import Shape, invalid, require


@dataclass(frozen=True, slots=True)
class Window:
    """A window with every default resolved, one entry a spatial dimension.

    Attributes
    ----------
    kernel, strides, dilations : tuple of int
    pads : tuple of int
        All begins, then all ends: (top, left, bottom, right) in two dimensions.
    output : tuple of int
        Number of window positions. With ceil_mode the last one may reach past the padding.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    output: tuple[int, ...]


def window_ints(node: Node, name: str, count: int, default: int, least: int) -> tuple[int, ...]:
    """The attribute `name` as `count` ints of at least `least`, `default` where it is absent."""
    values = tuple(node.attrs.get(name) or (default,) * count)
    legal = len(values) == count and all(least <= v < 1 << 31 for v in values)
    require(legal, node, f"{name} {list(values)} is not legal for {count} spatial dimensions")
    return values


def resolve_pads(
    node: Node,
    spatial: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Explicit padding of a convolution or pool, `auto_pad` resolved.

    Parameters
    ----------
    node : Node
    spatial : sequence of int
        The input's spatial dimensions, such as (H, W).
    kernel : sequence of int
    strides, dilations : sequence of int, optional
        Read from the node where absent.

    Returns
    -------
    tuple of int
        All begins, then all ends: (top, left, bottom, right) in two dimensions. ceil_mode adds
        nothing here: it changes the number of window positions only.
    """
    count = len(spatial)
    strides = strides or window_ints(node, "strides", count, 1, 1)
    dilations = dilations or window_ints(node, "dilations", count, 1, 1)
    mode = node.attrs.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", ""):
        return window_ints(node, "pads", 2 * count, 0, 0)
    if mode == "VALID":
        return (0,) * (2 * count)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise invalid(node, f"auto_pad {mode!r} is unknown")
    begins, ends = [], []
    for size, k, stride, dilation in zip(spatial, kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        less, more = total // 2, total - total // 2
        begins.append(less if mode == "SAME_UPPER" else more)
        ends.append(more if mode == "SAME_UPPER" else less)
    return (*begins, *ends)


def resolve_window(node: Node, spatial: Shape, kernel: Sequence[int]) -> Window:
    """The window of a convolution or pool over an input of the given spatial shape.

    Raises
    ------
    InvalidModelError
        If an attribute does not fit, or the window is larger than the padded input.
    """
    count = len(spatial)
    kernel = tuple(kernel)
    require(
        len(kernel) == count and min(kernel) > 0,
        node,
        f"kernel {list(kernel)} does not fit spatial shape {list(spatial)}",
    )
    strides = window_ints(node, "strides", count, 1, 1)
    dilations = window_ints(node, "dilations", count, 1, 1)
    pads = resolve_pads(node, spatial, kernel, strides, dilations)
    ceil = bool(node.attrs.get("ceil_mode", 0))
    output = []
    for i, size in enumerate(spatial):
        room = size + pads[i] + pads[i + count] - (kernel[i] - 1) * dilations[i] - 1
        require(room >= 0, node, f"kernel {list(kernel)} is larger than the input {list(spatial)}")
        positions = (-(-room // strides[i]) if ceil else room // strides[i]) + 1
        if ceil and (positions - 1) * strides[i] >= size + pads[i]:
            positions -= 1  # a window that starts in the padding at the end is left out
        output.append(positions)
    return Window(kernel, strides, dilations, pads, tuple(output))


def resolve_transposed(node: Node, spatial: Shape, kernel: Sequence[int]) -> Window:
    """The window of a ConvTranspose: `output` is the shape of its result, `pads` are cut from it.

    Raises
    ------
    InvalidModelError
        If an attribute does not fit, or nothing would be left.
    """
    count = len(spatial)
    kernel = tuple(kernel)
    require(len(kernel) == count and min(kernel) > 0, node, f"kernel {list(kernel)} does not fit")
    strides = window_ints(node, "strides", count, 1, 1)
    dilations = window_ints(node, "dilations", count, 1, 1)
    extra = window_ints(node, "output_padding", count, 0, 0)
    full = [
        (size - 1) * strides[i] + extra[i] + (kernel[i] - 1) * dilations[i] + 1
        for i, size in enumerate(spatial)
    ]
    mode = node.attrs.get("auto_pad", "NOTSET") or "NOTSET"
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise invalid(node, f"auto_pad {mode!r} is unknown")
    if node.attrs.get("output_shape"):
        output = window_ints(node, "output_shape", count, 0, 1)
    elif mode.startswith("SAME"):
        output = tuple(size * stride for size, stride in zip(spatial, strides, strict=True))
    else:
        pads = resolve_pads(node, spatial, kernel, strides, dilations)
        output = tuple(f - pads[i] - pads[i + count] for i, f in enumerate(full))
        require(min(output) > 0, node, f"pads {list(pads)} leave nothing of {full}")
        return Window(kernel, strides, dilations, pads, output)
    totals = [max(0, f - out) for f, out in zip(full, output, strict=True)]
    less, more = [t // 2 for t in totals], [t - t // 2 for t in totals]
    begins, ends = (less, more) if mode == "SAME_UPPER" else (more, less)
    return Window(kernel, strides, dilations, (*begins, *ends), output)
