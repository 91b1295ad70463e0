"""Lowering: from an optimised graph to a plan."""

from __future__ import annotations

import math
from collections.abc import MutableMapping, Sequence

from luthier import limits
from luthier.errors import UnsupportedError
from luthier.graph import fallback
from luthier.graph.ir import Graph, Node, Value
from luthier.graph.lowering import Context, NotNative, Step, Storage, View, rule_for
from luthier.graph.lowering.chains import ConvChain, emit_chain, find_chains
from luthier.graph.lowering.context import Choose, Seconds, nbytes
from luthier.graph.lowering.conv import place_concat_inputs, reads_pixels
from luthier.graph.lowering.movement import lower_alias
from luthier.graph.ops.common import describe
from luthier.graph.plan import Plan
from luthier.graph.reference import Kernel
from luthier.kernels import _kernels
from luthier.kernels.workload import Workload
from luthier.target import Target

__all__ = ["BACKENDS", "lower", "tunable_workloads"]

BACKENDS = ("native", "reference")

WEIGHT_BYTES = 1 << 20
"""Smaller constants are not worth being dropped."""


def lower(
    graph: Graph,
    choose: Choose | None = None,
    num_threads: int = 1,
    backends: Sequence[str] = BACKENDS,
    packed: MutableMapping | None = None,
    max_error: float = limits.MAX_ERROR,
    consume: bool = False,
    seconds: Seconds | None = None,
    target: Target | None = None,
) -> Plan:
    """Make a plan of an optimised graph.

    Parameters
    ----------
    graph : Graph
        Bound and optimised.
    choose : callable, optional
        From a workload to (config, rung); a config of None is the untuned one. All untuned if left
        out.
    num_threads : int
    backends : sequence of str
        Tried in order for each node. A node's hint (`Node.backend`) goes first.
    packed : mutable mapping, optional
        Packed weights, which plans of one model share. The plans keep them alive, so that a
        `weakref.WeakValueDictionary` will do.
    max_error : float
        Bound on the error of untuned configs.
    consume : bool
        Whether the graph may lose its weights as they are packed, so that they are not in memory
        twice.
    seconds : callable, optional
        From a workload and a config to its recorded time, to tell why something was chosen.
    target : Target, optional
        The CPU that the plan is for. By default this machine; on another one it can be exported,
        not run.

    Raises
    ------
    UnsupportedError
        Some nodes run on none of the backends; all of them are listed.

    Examples
    --------
    >>> plan = lower(optimize(bind(load("model.onnx"), {"x": (1, 3, 224, 224)})))
    >>> [y] = plan.run([x])
    """
    choose = choose or (lambda workload: (None, "default"))
    packed = {} if packed is None else packed
    context = Context(choose, num_threads, packed, max_error, seconds, target)
    _emit(graph, context, backends, consume)
    return Plan(graph, context)


def tunable_workloads(graph: Graph, num_threads: int) -> list[tuple[str, Workload]]:
    """Name of the node, or nodes, and workload of everything that has a search space."""
    context = Context(lambda workload: (None, "default"), num_threads, None)
    _emit(graph, context, BACKENDS)
    return context.tunable


def _emit(graph: Graph, context: Context, backends: Sequence[str], consume: bool = False) -> None:
    _place(graph, context)
    readers = {v: len(nodes) for v, nodes in graph.users().items()} if consume else {}
    banded = _banded(graph, context) if "native" in backends else {}
    missing = []
    for node in graph.nodes:
        if node in banded:
            chain, rows, rung = banded[node]
            if node is chain.nodes[-1]:
                emit_chain(context, chain, rows, rung)
                for member in chain.nodes:
                    _release(context, member, readers)
            continue
        if not any(math.prod(v.shape) for v in node.outputs):
            continue  # there is nothing to compute
        reasons = []
        for backend in _order(node, backends):
            reason = (_native if backend == "native" else _reference)(context, node)
            if reason is None:
                break
            reasons.append(f"{backend}: {reason}")
        else:
            missing.append(f"{describe(node)}: {'; '.join(reasons) or 'no backend'}")
            continue
        if reasons and context.steps:
            context.steps[-1].reason = reasons[0]
        _release(context, node, readers)
    if missing:
        raise UnsupportedError(f"{len(missing)} nodes cannot run: " + " | ".join(missing))
    for value, view in _copied_outputs(graph, context):
        if value.dtype.hasobject:
            _call(context, _same(value), lambda arrays: [a for a in arrays if a is not None], view)
        elif view.storage.nbytes:
            context.copy_bytes(_same(value), value, view)


def _release(context: Context, node: Node, readers: dict[Value, int]) -> None:
    """Drop the weights that `node` was the last to read and that no step reads as they are."""
    for value in node.inputs:
        if value in readers and value.data is not None and value not in context.views:
            readers[value] -= 1
            if readers[value] == 0 and value.data.nbytes >= WEIGHT_BYTES:
                value.data = None
                _kernels.trim_memory()


def _banded(graph: Graph, context: Context) -> dict[Node, tuple[ConvChain, int, str]]:
    """Of each node that is computed in bands: its chain, the rows of a band, and the rung."""
    found: dict[Node, tuple[ConvChain, int, str]] = {}
    for chain in find_chains(graph, context):
        config, rung = context.configure(chain.name, chain.workload)
        if config["rows"] and context.packed is not None:  # bands hold packed weights
            found |= dict.fromkeys(chain.nodes, (chain, config["rows"], rung))
        else:
            context.chains |= dict.fromkeys(chain.nodes, chain.workload)
    return found


def _order(node: Node, backends: Sequence[str]) -> list[str]:
    hint = [b for b in backends if b == node.backend]
    return hint + [b for b in backends if b not in hint]


def _native(context: Context, node: Node) -> str | None:
    """Emit the steps of `node`; return the reason if that cannot be."""
    rule = rule_for(node)
    if rule is None:
        return "no kernel"
    if any(v is not None and v.dtype.hasobject for v in (*node.inputs, *node.outputs)):
        return "strings"
    steps, views, tunable = len(context.steps), len(context.views), len(context.tunable)
    try:
        rule(context, node)
    except NotNative as reason:
        del context.steps[steps:], context.tunable[tunable:]
        while len(context.views) > views:
            context.views.popitem()  # the newest
        return str(reason)
    return None


def _reference(context: Context, node: Node) -> str | None:
    inner = [v for v in node.outputs if v.dtype.hasobject and v not in context.views]
    if inner:
        return f"{inner[0].name!r} holds strings inside the model"
    try:
        _call(context, node, fallback.prepare(node))
    except UnsupportedError as error:
        return str(error)
    return None


def _call(context: Context, node: Node, call: Kernel, to: View | None = None) -> None:
    """Append a call of the reference backend; its result goes `to` that place if given."""
    reads = [v and context.view(v) for v in node.inputs]
    writes = [context.view(v) for v in node.outputs] if to is None else [to]
    step = Step(node, "reference", kernel="reference", call=call, reads=reads, writes=writes)
    context.steps.append(step)


# -- places ----------------------------------------------------------------------------------------


def _place(graph: Graph, context: Context) -> None:
    """Say where inputs, outputs and parts of concatenations live before anything is emitted."""
    total = sum(nbytes(v) for v in (*graph.inputs, *graph.outputs))
    if total > limits.MAX_ARENA_BYTES:
        raise UnsupportedError(f"inputs and outputs take {total} bytes, over the limit")
    for i, value in enumerate(graph.inputs):
        context.views[value] = View(Storage(nbytes(value), buffer=1 + i))
    for j, value in enumerate(graph.outputs):
        if value.producer is not None and value not in context.views:
            buffer = 1 + len(graph.inputs) + j
            context.views[value] = View(Storage(nbytes(value), buffer=buffer))
    users = graph.users()
    outputs = set(graph.outputs)
    context.sliceable = {
        value
        for value, readers in users.items()
        if value not in outputs
        and all(reads_pixels(n) and value not in n.inputs[1:] for n in readers)
    }
    for node in reversed(graph.nodes):
        rule = rule_for(node)
        if rule is lower_alias:
            source = node.inputs[0]
            free = source.producer is not None and source not in context.views
            if free and node.output in context.views and len(users[source]) == 1:
                view = context.views[node.output]
                if not view.ld:
                    context.views[source] = view
        elif node.op == "Concat" and not node.domain:
            place_concat_inputs(context, node, users, outputs)


def _copied_outputs(graph: Graph, context: Context) -> list[tuple[Value, View]]:
    """Outputs that are inputs, constants, or another output once more."""
    found = []
    for j, value in enumerate(graph.outputs):
        buffer = 1 + len(graph.inputs) + j
        if context.view(value).storage.buffer != buffer:
            found.append((value, View(Storage(nbytes(value), buffer=buffer))))
    return found


def _same(value: Value) -> Node:
    """Stands for a copy of `value` to the outputs."""
    return Node("Identity", [value], [value], name=value.name)
