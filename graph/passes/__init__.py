"""The passes, and the order in which they run.

A pass is a module with ``run(graph) -> bool``: it edits a bound graph in place and says whether
anything changed.
"""

from __future__ import annotations

from types import ModuleType

from luthier.graph.ir import Graph
from luthier.graph.passes import (
    assign_layouts,
    cancel_transposes,
    convert_fp16,
    dequantize_constants,
    drop_identities,
    fold_batch_norm,
    fold_channel_shuffles,
    fold_constants,
    fold_input_scales,
    fold_pads,
    fuse_dynamic_quantised,
    fuse_epilogues,
    fuse_quantised,
    fuse_quantised_epilogues,
    join_scales,
    lower_batch_norm,
    lower_composites,
    move_quantisers,
    normalise_gemm,
    normalise_quantised,
    recognise_activations,
    recognise_layer_norm,
    resolve_windows,
    sink_transposes,
    tabulate_quantised,
    widen_conv1d,
)
from luthier.graph.verify import verify

__all__ = ["PIPELINE", "optimize"]

PIPELINE: tuple[tuple[ModuleType, ...], ...] = (
    (convert_fp16,),
    (
        fold_constants,
        drop_identities,
        lower_composites,
        cancel_transposes,
        recognise_layer_norm,
        recognise_activations,
    ),
    (
        normalise_quantised,
        move_quantisers,
        tabulate_quantised,
        fuse_quantised,
        fuse_dynamic_quantised,
    ),
    (dequantize_constants,),
    (resolve_windows, normalise_gemm, fold_pads, fold_batch_norm),
    (lower_batch_norm, fold_input_scales, drop_identities),
    (fuse_epilogues, fuse_quantised_epilogues),
    (widen_conv1d, fold_channel_shuffles),
    (assign_layouts,),
    (join_scales,),
    (fold_constants, sink_transposes, cancel_transposes, drop_identities),
)
"""Groups of passes in order. A group runs until nothing changes."""

_MAX_ROUNDS = 16


def optimize(graph: Graph, check: bool = True) -> Graph:
    """Run the pipeline.

    Parameters
    ----------
    graph : Graph
        Bound: every shape is concrete. Changed in place.
    check : bool
        Whether to verify the graph first and after each pass that changed it.

    Returns
    -------
    Graph
        The same graph.

    Raises
    ------
    VerifyError
        If a pass broke the graph: a bug in luthier.

    Examples
    --------
    >>> graph = optimize(bind(load("model.onnx"), {"x": (1, 3, 224, 224)}))
    """
    graph.prune()
    if check:
        verify(graph)
    for group in PIPELINE:
        for _ in range(_MAX_ROUNDS):
            if not any([_step(module, graph, check) for module in group]):
                break
    return graph


def _step(module: ModuleType, graph: Graph, check: bool) -> bool:
    changed: bool = module.run(graph)
    graph.prune()
    if changed and check:
        verify(graph)
    return changed
