"""Fold a Pad of zeros into the padding of the convolution or average pool that reads it."""

from __future__ import annotations

from luthier.graph.ir import Graph, Node
from luthier.graph.passes.rewrite import Rewriter, ints_of, scalar_of


def run(graph: Graph) -> bool:
    """Rewrite Pad + Conv and Pad + AveragePool with explicit window attributes.

    The Pad must add zeros, and only around the image. An average pool must count the padding, or
    have none of its own.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("Conv", "AveragePool"):
        pad = node.inputs[0].producer
        own = None if "layout" in node.attrs else node.attrs.get("pads")
        if pad is None or pad.op != "Pad" or pad.domain or own is None:
            continue
        extra = _zeros_around_image(pad)
        if extra is None:
            continue
        pads = [a + b for a, b in zip(own, extra, strict=True)]
        if node.op == "AveragePool":
            counts = node.attrs.get("count_include_pad", 0)
            if node.attrs.get("ceil_mode") or (any(own) and not counts):
                continue
            node.attrs = {**node.attrs, "pads": pads, "count_include_pad": 1}
        else:
            node.attrs = {**node.attrs, "pads": pads}
        rw.set_inputs(node, [pad.inputs[0], *node.inputs[1:]])
    return rw.finish()


def _zeros_around_image(pad: Node) -> list[int] | None:
    """Begins and ends along the spatial axes, or None if `pad` does anything else."""
    rank = len(pad.output.shape)
    amounts = ints_of(pad.input(1))
    if pad.attrs.get("mode", "constant") != "constant" or amounts is None:
        return None
    if pad.input(2) is not None and scalar_of(pad.input(2)) != 0:
        return None
    axes = range(rank) if pad.input(3) is None else ints_of(pad.input(3))
    if axes is None:
        return None
    begins, ends = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        begins[axis], ends[axis] = amounts[i], amounts[len(amounts) // 2 + i]
    if min(begins + ends) < 0 or any(begins[:2] + ends[:2]):
        return None
    return begins[2:] + ends[2:]
