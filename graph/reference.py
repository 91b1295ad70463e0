"""The reference backend: evaluates one node at a time, slowly and surely.

Operators with a NumPy rule in `luthier.graph.ops` are computed here. Everything else goes to the
evaluator that `luthier.onnx_frontend` installs, because only that package may import `onnx`
(see docs/adr/0002-reference-evaluator-is-installed.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from luthier.errors import UnsupportedError
from luthier.graph import ops
from luthier.graph.ir import Node
from luthier.graph.ops.common import TensorType, describe

Arrays = Sequence[np.ndarray | None]
Kernel = Callable[[Arrays], list[np.ndarray]]


class Evaluator(Protocol):
    """What stands behind the reference backend for operators without a NumPy rule."""

    def prepare(self, node: Node) -> Kernel:
        """A function that computes `node` from its inputs' arrays."""

    def infer(self, node: Node) -> list[TensorType]:
        """Dtypes and shapes of the outputs of `node`; UnsupportedError if they are not known."""


_evaluator: Evaluator | None = None


def install(evaluator: Evaluator) -> None:
    """Let `evaluator` stand behind the reference backend of this process."""
    global _evaluator
    _evaluator = evaluator


def _installed(node: Node) -> Evaluator:
    if _evaluator is None:
        raise UnsupportedError(
            f"{describe(node)}: no evaluator is installed (import luthier.onnx_frontend)"
        )
    return _evaluator


def prepare(node: Node) -> Kernel:
    """A function that computes `node`; worth keeping where a node runs more than once.

    Parameters
    ----------
    node : Node

    Returns
    -------
    callable
        Takes the inputs' arrays (None where absent), returns the outputs'. It raises
        InvalidModelError if the operator refuses its inputs.

    Raises
    ------
    UnsupportedError
        If the reference backend does not know the operator.
    """
    info = ops.find(node)
    compute = None if info is None else info.compute
    if compute is None or not all(v.is_static for v in node.outputs):
        return _installed(node).prepare(node)
    rule = compute

    def run(arrays: Arrays) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            results = rule(node, list(arrays))
        return _installed(node).prepare(node)(arrays) if results is None else results

    return run


def evaluate(node: Node, inputs: Arrays) -> list[np.ndarray]:
    """Compute the outputs of `node`; see `prepare` for the errors.

    Examples
    --------
    >>> relu = Node("Relu", [x], [y], name="relu", opset=21)
    >>> evaluate(relu, [np.array([-1.0, 2.0], np.float32)])
    [array([0., 2.], dtype=float32)]
    """
    return prepare(node)(inputs)


def infer(node: Node) -> list[TensorType]:
    """Output types of a node without a rule in `luthier.graph.ops`, by the evaluator's knowledge.

    Raises
    ------
    UnsupportedError
        If the types do not follow from the inputs' types and constants.
    InvalidModelError
        If the inputs do not fit the operator.
    """
    return _installed(node).infer(node)
