"""Chains of convolutions, computed band by band where that is chosen.

A band of rows goes through all members of a chain before the next one is begun, so that what
lies between them stays in the cache, and takes a few rows of memory instead of whole maps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from luthier.graph.ir import Graph, Node, Value
from luthier.graph.lowering.context import Context, NotNative, View
from luthier.graph.lowering.conv import conv_workload, lower_conv
from luthier.kernels.fields import stage_array
from luthier.kernels.spaces import default_config, usual_error
from luthier.kernels.workload import Chain

__all__ = ["ConvChain", "emit_chain", "find_chains"]

MAX_MEMBERS = 8

MAX_WEIGHTS_BYTES = 512 << 10
"""Every band reads all weights of a chain again, so that they have to stay in the cache."""

MIN_MAP_BYTES = 256 << 10
"""A map between two members that is smaller stays in any cache as a whole."""


@dataclass(frozen=True)
class ConvChain:
    """Nodes of which each but the last is read by the next one alone, and what they compute."""

    nodes: tuple[Node, ...]
    workload: Chain

    @property
    def name(self) -> str:
        """The names of the nodes."""
        return " > ".join(node.name for node in self.nodes)


def find_chains(graph: Graph, context: Context) -> list[ConvChain]:
    """The chains of a graph; none has a node in common with another.

    A chain ends after a residual, where its output is read by anything but one convolution, and
    where that one would make it too long or its weights too large.
    """
    users = graph.users()
    runs: list[list[tuple[Node, Any]]] = []
    ending_in: dict[Value, list[tuple[Node, Any]]] = {}
    for node in graph.nodes:
        workload = _member(node, context)
        if workload is None:
            continue
        run = ending_in.pop(node.inputs[0], [])
        if not run or not _fits(run, node):
            run = []
            runs.append(run)
        run.append((node, workload))
        value = node.output
        inside = value not in graph.outputs and len(users[value]) == 1 and not workload.residual
        if inside and users[value][0].inputs.count(value) == 1:
            ending_in[value] = run
    pairs = [tuple(zip(*run, strict=True)) for run in runs if len(run) > 1]
    return [ConvChain(nodes, Chain(members)) for nodes, members in pairs]


def _member(node: Node, context: Context) -> Any:
    """The workload of a node that can be a member of a chain, or None."""
    if node.op != "Conv" or node.domain or node.backend == "reference":
        return None
    has_residual = bool(node.attrs.get("residual"))
    bias = None if has_residual and len(node.inputs) == 3 else node.input(2)
    if (bias is not None and not bias.is_const) or not math.prod(node.output.shape):
        return None
    try:
        w: Any = conv_workload(node, context.num_threads)
    except NotNative:
        return None
    if usual_error(default_config(w, context.target)):
        return None  # Winograd's tiles would lie elsewhere in each band, and gain less
    span = (w.r - 1) * w.dilations[0] + 1
    top, bottom = w.pads[0], (w.oh - 1) * w.strides[0] - w.pads[0]
    return w if top < span and bottom < w.h else None  # every window has a row of the image


def _fits(run: list[tuple[Node, Any]], node: Node) -> bool:
    weights = sum(math.prod(n.inputs[1].shape) for n in (*(n for n, _ in run), node))
    between = 4 * math.prod(node.inputs[0].shape[1:])
    small = 4 * weights <= MAX_WEIGHTS_BYTES
    return len(run) < MAX_MEMBERS and small and between >= MIN_MAP_BYTES


def emit_chain(ctx: Context, chain: ConvChain, rows: int, rung: str) -> None:
    """Append the one step that computes a chain in bands of `rows` rows."""
    first = len(ctx.steps)
    with ctx.exact():
        for node in chain.nodes:
            lower_conv(ctx, node)
    members = ctx.steps[first:]
    del ctx.steps[first:]
    stages: list[tuple[str, dict[str, Any]]] = []
    constants: list[View | None] = []
    for member in members:
        slots = {k: v for k, v in member.fields.items() if k not in ("x", "y", "residual")}
        views = {k: v for k, v in slots.items() if isinstance(v, View)}
        constants += views.values()
        slots |= {k: v.constant() for k, v in views.items()} | {"threads": 1}
        stages.append((member.op, slots))
    between = [node.output for node in chain.nodes[:-1]]
    reads = [v for node in chain.nodes for v in node.inputs if v not in between]
    node = Node("Chain", reads, chain.nodes[-1].outputs, {"layout": "NHWC"}, chain.name)
    step = ctx.emit(
        node,
        "chain",
        x=members[0].fields["x"],
        y=members[-1].fields["y"],
        residual=members[-1].fields["residual"],
        stages=ctx.constant(stage_array(stages)),
        count=len(stages),
        rows=rows,
    )
    step.reads = constants  # `stages` points to them
    step.kernel = " > ".join(member.kernel for member in members)
    step.config, step.rung, step.workload = {"rows": rows}, rung, chain.workload
    step.tasks = (chain.workload.key, *(m.workload.key for m in members if m.workload))
