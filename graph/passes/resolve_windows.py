"""Write out what convolutions and pools leave implicit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from luthier.graph.ir import Graph, Node
from luthier.graph.ops.conv import conv_window, transposed_window
from luthier.graph.ops.pool import pool_window
from luthier.graph.ops.quant import quantised_pool_window
from luthier.graph.ops.window import Window
from luthier.graph.passes.rewrite import Rewriter


def run(graph: Graph) -> bool:
    """Give convolutions and pools, the quantised ones too, explicit window attributes.

    Afterwards ``kernel_shape``, ``strides``, ``dilations``, ``pads`` (all begins, then all ends:
    top, left, bottom, right) and, for convolutions, ``group`` are present, ``auto_pad`` and
    ``output_shape`` are not, and ``ceil_mode`` only where padding cannot express it.
    """
    rw = Rewriter(graph)
    for domain, rules in _RESOLVED.items():
        for node in rw.nodes(*rules, domain=domain):
            _resolve(rw, node, rules[node.op](node))
    return rw.finish()


def _resolve(rw: Rewriter, node: Node, attrs: dict[str, Any] | None) -> None:
    if attrs is not None and attrs != node.attrs:
        node.attrs = attrs
        rw.changed = True


def _quantised_conv(node: Node) -> dict[str, Any]:
    window = conv_window(node, 3)
    return {**_common(node, window), "group": node.attrs.get("group", 1)}


def _quantised_pool(node: Node) -> dict[str, Any]:
    return _common(node, quantised_pool_window(node))


def _conv(node: Node) -> dict[str, Any]:
    window = conv_window(node)
    return {**_common(node, window), "group": node.attrs.get("group", 1)}


def _pool(node: Node) -> dict[str, Any]:
    window = pool_window(node)
    attrs = _common(node, window)
    if attrs.get("ceil_mode") and not attrs.get("count_include_pad"):
        _pad_to_ceil(attrs, node.inputs[0].shape[2:], window.output)
        attrs["ceil_mode"] = 0
    if not attrs.get("ceil_mode"):
        attrs.pop("ceil_mode", None)
    return attrs


def _conv_transpose(node: Node) -> dict[str, Any] | None:
    """Cutting more than there is (an output larger than the full one) stays implicit."""
    window = transposed_window(node)
    attrs = {**_common(node, window), "group": node.attrs.get("group", 1)}
    explicit = Node(node.op, node.inputs, node.outputs, attrs)
    return attrs if transposed_window(explicit).output == window.output else None


def _common(node: Node, window: Window) -> dict[str, Any]:
    attrs = {k: v for k, v in node.attrs.items() if k not in ("auto_pad", "output_shape")}
    for name, values in (
        ("kernel_shape", window.kernel),
        ("strides", window.strides),
        ("dilations", window.dilations),
        ("pads", window.pads),
    ):
        attrs[name] = list(values)
    return attrs


def _pad_to_ceil(attrs: dict[str, Any], image: tuple[int, ...], result: tuple[int, ...]) -> None:
    """Let the padding at the end give the number of windows that ceil_mode asked for."""
    pads, rank = attrs["pads"], len(image)
    for i, size in enumerate(image):
        stride = attrs["strides"][i]
        extent = (attrs["kernel_shape"][i] - 1) * attrs["dilations"][i] + 1
        least = (result[i] - 1) * stride + extent - size - pads[i]
        pads[rank + i] = min(max(pads[rank + i], least), least + stride - 1)


_RESOLVED: dict[str, dict[str, Callable[[Node], dict[str, Any] | None]]] = {
    "": {
        "AveragePool": _pool,
        "Conv": _conv,
        "ConvInteger": _conv,
        "ConvTranspose": _conv_transpose,
        "MaxPool": _pool,
        "QLinearConv": _quantised_conv,
    },
    "com.microsoft": {"QLinearAveragePool": _quantised_pool},
    "luthier": {"ConvIntegerToFloat": _conv},
}
