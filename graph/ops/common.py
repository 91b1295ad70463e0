"""What every operator's rule needs: errors that name the node, and typed reading of inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from luthier.errors import InvalidModelError, UnsupportedError
from luthier.graph.ir import Node, Value

Shape = tuple[int, ...]
TensorType = tuple[np.dtype, Shape]
"""What inference knows of one output: dtype and concrete shape."""

BOOL = np.dtype(np.bool_)
INT32 = np.dtype(np.int32)
INT64 = np.dtype(np.int64)
FLOAT32 = np.dtype(np.float32)

_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class OpInfo:
    """What the graph layer knows of one operator.

    Attributes
    ----------
    infer : callable
        ``infer(node)`` gives dtype and shape of every output from the inputs' static types.
        Raises InvalidModelError where they do not fit, UnsupportedError where the shape
        depends on values that are known only at run time.
    compute : callable or None
        ``compute(node, arrays)`` evaluates the node in NumPy; None as its result hands the node
        to the reference backend. Present where shape arithmetic or constants need it.
    by_shape : bool
        Whether the result depends on the shapes of the inputs alone.
    view : bool
        Whether `compute` gives a view that takes no memory, however large.
    keep : bool
        Whether `bind` leaves the node in place even if its inputs are constants: the work may be
        far larger than the data, or later stages want to see the node.
    whole : bool
        Whether `compute` heeds the attributes that passes add.
    """

    infer: Callable[[Node], list[TensorType]]
    compute: Callable[[Node, list[Any]], list[np.ndarray] | None] | None = None
    by_shape: bool = False
    view: bool = False
    keep: bool = False
    whole: bool = False


def quote(name: str) -> str:
    """`name` in quotes on one line, shortened if it is very long."""
    return repr(name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "...")


def describe(node: Node) -> str:
    """The node as error messages name it: ``node 'conv1' (Conv)``."""
    op = f"{node.domain}.{node.op}" if node.domain else node.op
    return f"node {quote(node.name)} ({quote(op)[1:-1]})"


def invalid(node: Node, reason: str) -> InvalidModelError:
    """An error that says why `node` is wrong."""
    return InvalidModelError(f"{describe(node)}: {reason}")


def dynamic(node: Node, reason: str) -> UnsupportedError:
    """An error that says why the output shape of `node` is not known before it runs."""
    return UnsupportedError(f"{describe(node)}: {reason}")


def require(condition: bool, node: Node, reason: str) -> None:
    """Raise InvalidModelError for `node` unless `condition` holds."""
    if not condition:
        raise invalid(node, reason)


def tensor(node: Node, i: int) -> Value:
    """Input `i`, which must be present."""
    value = node.input(i)
    if value is None:
        raise invalid(node, f"input {i} is missing")
    return value


def typed(node: Node, i: int) -> TensorType:
    """Dtype and static shape of input `i`, which must be present."""
    value = tensor(node, i)
    if not value.is_static:
        raise invalid(node, f"the type of input {quote(value.name)} is not known")
    return value.dtype, value.shape


def shape_of(node: Node, i: int) -> Shape:
    """Static shape of input `i`, which must be present."""
    return typed(node, i)[1]


def result_shape(node: Node) -> Shape:
    """The concrete shape that inference gave the first output."""
    assert node.output.is_static
    return node.output.shape


def dtype_of(node: Node, i: int) -> np.dtype:
    """Dtype of input `i`, which must be present."""
    return typed(node, i)[0]


def const(node: Node, i: int) -> np.ndarray | None:
    """Content of input `i`, None if it is absent; UnsupportedError if it is not constant."""
    value = node.input(i)
    if value is None:
        return None
    if value.data is None:
        raise dynamic(node, f"the output shape depends on the values of {quote(value.name)}")
    return value.data


def const_ints(node: Node, i: int) -> list[int] | None:
    """Content of input `i` as a flat list of ints, None if it is absent."""
    data = const(node, i)
    if data is None:
        return None
    require(data.dtype.kind in "iu", node, f"input {i} must hold integers, not {data.dtype}")
    require(data.ndim <= 1, node, f"input {i} must be a vector, not of shape {list(data.shape)}")
    return [int(v) for v in data.reshape(-1)]


def needed_ints(node: Node, i: int) -> list[int]:
    """As `const_ints` for an input that must be present."""
    tensor(node, i)
    return const_ints(node, i) or []


def needed_size(node: Node, i: int) -> int:
    """Content of input `i`, which must be one number that is not negative."""
    tensor(node, i)
    data = const(node, i)
    if data is None or data.size != 1 or data.dtype.kind not in "iuf":
        raise invalid(node, f"input {i} must be one number")
    number = data.reshape(()).item()
    require(number >= 0 and math.isfinite(number), node, f"input {i} may not be {number}")
    return int(number)


def normal_axis(node: Node, axis: int, rank: int) -> int:
    """`axis` counted from the front; InvalidModelError outside -rank .. rank-1."""
    require(-rank <= axis < rank, node, f"axis {axis} is out of range for rank {rank}")
    return axis + rank if axis < 0 else axis


def normal_axes(node: Node, axes: list[int], rank: int) -> list[int]:
    """`axes` counted from the front; InvalidModelError if one is repeated."""
    result = [normal_axis(node, a, rank) for a in axes]
    require(len(set(result)) == len(result), node, f"axes {axes} are not distinct")
    return result


def broadcast(node: Node, *shapes: Shape) -> Shape:
    """The common shape under NumPy's rule; InvalidModelError if there is none."""
    rank = max(map(len, shapes))
    result = [1] * rank
    for shape in shapes:
        for k, dim in enumerate(shape, rank - len(shape)):
            if dim != 1:
                if result[k] not in (1, dim):
                    listed = " and ".join(str(list(s)) for s in shapes)
                    raise invalid(node, f"shapes {listed} do not broadcast")
                result[k] = dim
    return tuple(result)


def broadcasts_to(shape: Shape, target: Shape) -> bool:
    """Whether a tensor of `shape` broadcasts to `target` without changing it."""
    aligned = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(a in (1, b) for a, b in aligned)


def split_map(node: Node, shape: Shape) -> tuple[int, int, Shape]:
    """Split a feature map's shape into N, C and the spatial dims, by the `layout` attribute."""
    require(len(shape) >= 3, node, f"input must have at least 3 dimensions, not {list(shape)}")
    if node.attrs.get("layout") == "NHWC":
        return shape[0], shape[-1], shape[1:-1]
    return shape[0], shape[1], shape[2:]


def join_map(node: Node, n: int, c: int, spatial: Shape) -> Shape:
    """The inverse of `split_map`."""
    return (n, *spatial, c) if node.attrs.get("layout") == "NHWC" else (n, c, *spatial)
