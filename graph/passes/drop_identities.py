"""Drop operators that return their input unchanged."""

from __future__ import annotations

from collections.abc import Callable

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.passes.rewrite import Rewriter, constant_of, ints_of

_REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")


def run(graph: Graph) -> bool:
    """Let the readers of a no-op read its input.

    A no-op between a graph input (or constant) and a graph output stays: the output needs a node.
    """
    rw = Rewriter(graph)
    for node in rw.nodes(*_SOURCES):
        source = _SOURCES[node.op](node)
        result = node.output
        if (
            source is not None
            and source.dtype == result.dtype
            and source.shape == result.shape
            and not any(rw.readers(v) or rw.is_output(v) for v in node.outputs[1:])
        ):
            rw.forward(result, source)
    return rw.finish()


def _same(node: Node) -> Value | None:
    """For operators that are no-ops wherever shape and dtype do not change."""
    return node.input(0)


def _only_operand(node: Node) -> Value | None:
    return node.input(0) if len(node.inputs) == 1 else None


def _one_part(node: Node) -> Value | None:
    return node.input(0) if len(node.outputs) == 1 else None


def _add(node: Node) -> Value | None:
    return _without(node, 0.0, commutes=True)


def _sub(node: Node) -> Value | None:
    return _without(node, 0.0, commutes=False)


def _mul(node: Node) -> Value | None:
    return _without(node, 1.0, commutes=True)


def _div(node: Node) -> Value | None:
    return _without(node, 1.0, commutes=False)


def _without(node: Node, neutral: float, commutes: bool) -> Value | None:
    """The other operand, if one is constantly `neutral`."""
    if node.attrs.get("activation"):
        return None
    a, b = node.inputs
    if _all_are(b, neutral):
        return a
    return b if commutes and _all_are(a, neutral) else None


def _all_are(value: Value | None, number: float) -> bool:
    data = constant_of(value)
    return data is not None and data.dtype.kind in "fiu" and bool((data == number).all())


def _clip(node: Node) -> Value | None:
    return node.input(0) if node.input(1) is None and node.input(2) is None else None


def _dropout(node: Node) -> Value | None:
    training = node.input(2)
    if training is not None and (training.data is None or training.data.any()):
        return None
    return node.input(0)


def _pad(node: Node) -> Value | None:
    pads = ints_of(node.input(1))
    return node.input(0) if pads is not None and not any(pads) else None


def _reduce(node: Node) -> Value | None:
    """With the shape kept, only dimensions of one were reduced."""
    return node.input(0) if node.attrs.get("keepdims", 1) else None


def _resize(node: Node) -> Value | None:
    """At scale one, every mode but cropping reads each pixel at its own place."""
    if node.attrs.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return None
    scales = constant_of(node.input(2))
    if scales is not None and scales.size:
        return node.input(0) if (scales == 1).all() else None
    return node.input(0) if constant_of(node.input(3)) is not None else None


def _slice(node: Node) -> Value | None:
    """With the shape kept, a positive step is one."""
    steps = [1] if node.input(4) is None else ints_of(node.input(4))
    return node.input(0) if steps is not None and min(steps, default=1) > 0 else None


def _transpose(node: Node) -> Value | None:
    source = node.input(0)
    if source is None or source.shape is None:
        return None
    perm = node.attrs.get("perm", list(range(len(source.shape)))[::-1])
    return source if list(perm) == sorted(perm) else None


_SOURCES: dict[str, Callable[[Node], Value | None]] = {
    "Add": _add,
    "Cast": _same,
    "Clip": _clip,
    "Concat": _only_operand,
    "Div": _div,
    "Dropout": _dropout,
    "Expand": _same,
    "Flatten": _same,
    "Identity": _same,
    "Max": _only_operand,
    "Mean": _only_operand,
    "Min": _only_operand,
    "Mul": _mul,
    "Pad": _pad,
    "Reshape": _same,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _one_part,
    "Squeeze": _same,
    "Sub": _sub,
    "Sum": _only_operand,
    "Tile": _same,
    "Transpose": _transpose,
    "Unsqueeze": _same,
    **dict.fromkeys(_REDUCTIONS, _reduce),
}
