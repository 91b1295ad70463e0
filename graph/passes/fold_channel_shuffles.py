"""Fold the channel shuffles of ShuffleNet into the order of weights."""

from __future__ import annotations

import numpy as np

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.ops.index import split_sizes
from luthier.graph.passes.rewrite import Rewriter, ints_of


def run(graph: Graph) -> bool:
    """Recognise shuffles as a Gather of channels, and let convolutions' weights take their order.

    A shuffle is Reshape, Transpose, Reshape: groups of channels change places with their members.
    A Split of it is a Gather a part. A convolution reads the channels of a Gather in the order in
    which they lie; where those are not neighbours because they are the second halves of two maps
    that a Concat joins, the convolution that makes the second map puts its halves in the other
    order. A depthwise convolution moves in front of the shuffle.
    """
    rw = Rewriter(graph)
    for node in rw.nodes("Transpose"):
        _recognise(rw, node)
    for node in rw.nodes("Split"):
        _split(rw, node)
    for node in rw.nodes("Concat"):
        _swap_halves(rw, node)
    for node in rw.nodes("Gather"):
        _sink(rw, node)
    for node in rw.nodes("Gather"):
        _absorb(rw, node)
    return rw.finish()


def _recognise(rw: Rewriter, node: Node) -> None:
    if list(node.attrs.get("perm", ())) != [0, 2, 1, 3, 4]:
        return
    first, last = node.inputs[0].producer, rw.only_reader(node.output)
    if first is None or last is None or {first.op, last.op} != {"Reshape"}:
        return
    x, shape = first.inputs[0], node.inputs[0].shape
    outer = (x.shape[:1], x.shape[2:])
    if len(x.shape) != 4 or last.output.shape != x.shape or outer != (shape[:1], shape[3:]):
        return
    index = np.arange(x.shape[1], dtype=np.int64).reshape(shape[1:3]).T.reshape(-1)
    _gather(rw, x, index, last.output)


def _gather(rw: Rewriter, x: Value, index: np.ndarray, into: Value) -> None:
    rw.emit("Gather", [x, rw.constant("channels", index, np.int64)], {"axis": 1}, into=into)


def _channels(node: Node) -> np.ndarray | None:
    """The channels that a Gather picks from a map, if that is what it does."""
    index = ints_of(node.inputs[1])
    map_shape = node.inputs[0].shape
    if index is None or len(map_shape) != 4 or len(node.inputs[1].shape) != 1:
        return None
    if node.attrs.get("axis", 0) % 4 != 1 or not all(0 <= i < map_shape[1] for i in index):
        return None
    return np.array(index, np.int64)


def _split(rw: Rewriter, node: Node) -> None:
    source = node.inputs[0].producer
    if source is None or source.op != "Gather" or source.domain:
        return
    index = _channels(source)
    axis, sizes = split_sizes(node)
    if index is None or axis != 1:
        return
    parts = np.split(index, np.cumsum(sizes)[:-1])
    for value, part in zip(list(node.outputs), parts, strict=True):
        _gather(rw, source.inputs[0], part, value)


def _is_plain(node: Node, value: Value) -> bool:
    """Whether `node` is a convolution of `value` by constant weights, and reads it just once."""
    return (
        node.op == "Conv"
        and not node.domain
        and node.inputs.count(value) == 1
        and node.inputs[0] is value
        and all(v is None or v.is_const for v in node.inputs[1:3])
        and (len(node.inputs) < 4 or bool(node.attrs.get("residual")))
    )


def _is_dense(node: Node, value: Value) -> bool:
    return _is_plain(node, value) and node.attrs.get("group", 1) == 1


def _reorder(rw: Rewriter, node: Node, order: np.ndarray, axis: int) -> list[Value | None]:
    """The inputs of a convolution whose weights (and bias, along axis 0) have another order."""
    weights = node.inputs[1]
    inputs = list(node.inputs)
    inputs[1] = rw.constant(weights.name, np.ascontiguousarray(weights.data.take(order, axis)))
    if axis == 0 and node.input(2) is not None and not _has_residual_only(node):
        inputs[2] = rw.constant(node.inputs[2].name, node.inputs[2].data[order])
    return inputs


def _has_residual_only(node: Node) -> bool:
    return len(node.inputs) == 3 and bool(node.attrs.get("residual"))


def _swap_halves(rw: Rewriter, node: Node) -> None:
    """[A1 A2 B1 B2] becomes [A1 A2 B2 B1] where somebody reads just A2 and B2."""
    y = node.output
    if len(node.inputs) != 2 or len(y.shape) != 4 or node.attrs["axis"] % 4 != 1:
        return
    quarter, rest = divmod(y.shape[1], 4)
    maker = node.inputs[1].producer
    if rest or quarter == 0 or maker is None or node.inputs[1].shape[1] != 2 * quarter:
        return
    if not _is_dense(maker, maker.inputs[0]) or maker.attrs.get("residual"):
        return
    if rw.only_reader(node.inputs[1]) is not node or rw.is_output(y):
        return
    picks = [_channels(r) if r.op == "Gather" and not r.domain else None for r in rw.readers(y)]
    second = {*range(quarter, 2 * quarter), *range(3 * quarter, 4 * quarter)}
    known = [p for p in picks if p is not None]
    if len(known) < len(picks) or not any(set(p.tolist()) == second for p in known):
        return
    rw.set_inputs(maker, _reorder(rw, maker, np.roll(np.arange(2 * quarter), -quarter), 0))
    place = np.arange(4 * quarter)
    place[2 * quarter :] = np.roll(place[2 * quarter :], quarter)
    for reader, index in zip(rw.readers(y), known, strict=True):
        rw.set_inputs(reader, [y, rw.constant("channels", place[index], np.int64)])


def _sink(rw: Rewriter, node: Node) -> None:
    """Let depthwise convolutions in front of others come before a Gather of all channels."""
    x, y, index = node.inputs[0], node.output, _channels(node)
    if index is None or sorted(index.tolist()) != list(range(x.shape[1])):
        return
    for reader in rw.readers(y):
        result = reader.output
        if not _is_plain(reader, y) or reader.attrs.get("residual"):
            continue
        if reader.inputs[1].shape[:2] != (x.shape[1], 1) or rw.is_output(result):
            continue
        if reader.attrs.get("group", 1) == x.shape[1] and all(
            _is_dense(r, result) for r in rw.readers(result)
        ):
            inputs = _reorder(rw, reader, np.argsort(index), 0)
            moved = rw.emit("Conv", [x, *inputs[1:]], reader.attrs, like=result)
            _gather(rw, moved, index, result)


def _absorb(rw: Rewriter, node: Node) -> None:
    """Let convolutions read neighbouring channels in the order in which they lie."""
    x, y, index = node.inputs[0], node.output, _channels(node)
    readers = [r for r in rw.readers(y) if _is_dense(r, y)]
    if index is None or not index.size or not readers:
        return
    low = int(index.min())
    if sorted(index.tolist()) != list(range(low, low + index.size)):
        return
    if index.size < x.shape[1]:
        bounds = [rw.constant("bound", [v], np.int64) for v in (low, low + index.size, 1)]
        x = rw.emit("Slice", [x, *bounds], like=y)
    for reader in readers:
        rw.set_inputs(reader, [x, *_reorder(rw, reader, np.argsort(index), 1)[1:]])
