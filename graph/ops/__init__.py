"""The operators that the graph layer knows, one explicit table a domain.

Rules read the types of a node's inputs and return the types of its outputs; they are written for
the newest form of each operator, as `luthier.onnx_frontend` delivers it.
"""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.graph.ops import (
    conv,
    create,
    einsum,
    elementwise,
    gemm,
    index,
    norm,
    pool,
    qlinear,
    quant,
    reduce,
    resize,
    rnn,
    shape,
    signal,
)
from luthier.graph.ops.common import OpInfo, TensorType

__all__ = ["TABLES", "OpInfo", "TensorType", "find"]

TABLES: dict[str, dict[str, OpInfo]] = {
    "": {
        **conv.OPS,
        **create.OPS,
        **einsum.OPS,
        **elementwise.OPS,
        **gemm.OPS,
        **index.OPS,
        **norm.OPS,
        **pool.OPS,
        **qlinear.OPS,
        **quant.OPS,
        **reduce.OPS,
        **resize.OPS,
        **rnn.OPS,
        **shape.OPS,
        **signal.OPS,
    },
    "com.microsoft": {**qlinear.MICROSOFT, **quant.MICROSOFT},
    "luthier": {"Silu": OpInfo(elementwise.same), **qlinear.OWN, **quant.OWN},
}
"""Domain -> operator -> what is known of it. ``luthier`` holds the operators that passes make."""


def find(node: Node) -> OpInfo | None:
    """The entry of `node`'s operator, None if there is no rule for it.

    Examples
    --------
    >>> info = find(node)
    >>> dtype, shape = info.infer(node)[0]
    """
    return TABLES.get(node.domain, {}).get(node.op)
