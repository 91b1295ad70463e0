"""From a graph to its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from luthier.tuner.task import Task

if TYPE_CHECKING:
    from luthier.graph.ir import Graph

__all__ = ["extract"]


def extract(graph: Graph, num_threads: int) -> list[Task]:
    """Collapse the tunable nodes of an optimised graph into weighted tasks.

    Parameters
    ----------
    graph : luthier.graph.ir.Graph
        Bound (every shape concrete) and optimised.
    num_threads : int
        Threads of the plan; part of the workload.

    Returns
    -------
    list of Task
        One for each distinct workload key, in the order of first appearance.

    Examples
    --------
    >>> tasks = extract(graph, num_threads=2)               # doctest: +SKIP
    >>> [(t.key, t.weight) for t in tasks]                  # doctest: +SKIP
    """
    from luthier.graph import tunable_workloads

    found: dict[str, tuple[object, list[str]]] = {}
    for node, workload in tunable_workloads(graph, num_threads):
        found.setdefault(workload.key, (workload, []))[1].append(node)
    return [Task(workload, len(nodes), tuple(nodes)) for workload, nodes in found.values()]
