"""Binding: a graph with symbolic shapes becomes one with concrete shapes.

Shapes and constants need each other (a Reshape reads what a Shape, a Gather and a Concat made), so
one walk infers the shapes and folds what has become constant.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from luthier import limits
from luthier.errors import ArgumentError, InvalidModelError, UnsupportedError
from luthier.graph import ops, reference
from luthier.graph.ir import Dim, Graph, Node, Value
from luthier.graph.ops.common import (
    BOOL,
    INT64,
    TensorType,
    dynamic,
    quote,
    require,
    shape_of,
)

_REFERENCE_FOLD_BYTES = 1 << 18
"""Largest operands and results of a node folded by the reference evaluator, which may be slow."""


@dataclass(slots=True)
class FoldBudget:
    """What folding one graph may cost in all, in bytes of operands and results.

    Attributes
    ----------
    total : int
        For every node.
    reference : int
        For the nodes that the reference evaluator computes.
    """

    total: int = 1 << 30
    reference: int = 1 << 24


_RANDOM = frozenset(
    "Bernoulli Dropout Multinomial RandomNormal RandomNormalLike RandomUniform "
    "RandomUniformLike".split()
)

_DATA_DEPENDENT = frozenset(("Compress", "NonMaxSuppression", "Unique"))


def bind(
    graph: Graph,
    shapes: Mapping[str, Sequence[int]],
    values: Mapping[str, np.ndarray] | None = None,
) -> Graph:
    """A copy of `graph` in which every shape is concrete.

    Nodes and values are new, constant arrays are shared. Nodes whose result is known are folded:
    their outputs become constants (graph outputs too). If nodes with a constant condition are
    replaced by the branch taken.

    Parameters
    ----------
    graph : Graph
        As `luthier.onnx_frontend.load` returns it; not changed.
    shapes : mapping of str to sequence of int
        The shape of every graph input that has a dimension of unknown size.
    values : mapping of str to numpy.ndarray, optional
        The content of inputs to be taken as constants, for a graph whose shapes depend on them.
        The result is right for feeds of this content only; it still lists these inputs.

    Returns
    -------
    Graph

    Raises
    ------
    ArgumentError
        If `shapes` or `values` do not fit the inputs.
    InvalidModelError
        If shapes inside the graph do not fit each other, or break a limit.
    UnsupportedError
        If shapes depend on values that are known only at run time; lists all such nodes.

    Examples
    --------
    >>> graph = bind(load("model.onnx"), {"x": (1, 3, 224, 224)})
    >>> graph.outputs[0].shape
    (1, 1000)
    """
    values = values or {}
    _check_values(graph, values)
    concrete = _input_shapes(graph, {**shapes, **{k: v.shape for k, v in values.items()}})
    inputs = [
        Value(v.name, v.dtype, shape, values.get(v.name))
        for v, shape in zip(graph.inputs, concrete, strict=True)
    ]
    problems: list[str] = []
    try:
        bound = _Binder(graph, inputs, problems, FoldBudget()).run()
    except InvalidModelError as error:
        raise InvalidModelError(f"{graph.name}: {error}") from None
    if problems:
        raise UnsupportedError(f"{graph.name}: {'; '.join(problems)}")
    return bound


def default_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """The shape of every input, where a leading dimension of unknown size is 1.

    Raises
    ------
    ArgumentError
        If another dimension has no size; the message says how to give it.
    """
    result = {}
    for value in graph.inputs:
        shape = value.shape
        if shape is not None and shape and not isinstance(shape[0], int):
            shape = (1, *shape[1:])
        if shape is None or not all(isinstance(d, int) for d in shape):
            example = "1,3,224,224" if shape is None or len(shape) == 4 else _example(shape)
            raise ArgumentError(
                f"input {quote(value.name)} has shape {_text(value.shape)}: give its size, such as"
                f" --shape {value.name}={example}"
            )
        result[value.name] = tuple(d for d in shape if isinstance(d, int))
    return result


def _example(shape: Sequence[Dim]) -> str:
    return ",".join(str(d) if isinstance(d, int) else "224" for d in shape)


def _text(shape: Sequence[Dim] | None) -> str:
    if shape is None:
        return "of unknown rank"
    return "[" + ", ".join("?" if d is None else str(d) for d in shape) + "]"


def _input_shapes(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> list[tuple[int, ...]]:
    """The concrete shape of every input, checked against the declared one."""
    known = {v.name for v in graph.inputs}
    for name in shapes:
        if name not in known:
            listed = ", ".join(sorted(map(quote, known)))
            raise ArgumentError(f"{graph.name} has no input {quote(name)}; its inputs are {listed}")
    sizes: dict[str, tuple[int, str]] = {}
    result = []
    for value in graph.inputs:
        where = f"input {quote(value.name)}: expected {_text(value.shape)}"
        given = shapes.get(value.name)
        if given is None:
            if value.shape is None or not all(isinstance(d, int) for d in value.shape):
                raise ArgumentError(f"{where}, got no shape")
            given = [d for d in value.shape if isinstance(d, int)]
        got = tuple(int(d) for d in given)
        fits = len(got) <= limits.MAX_RANK and all(d >= 0 for d in got)
        scalar = value.shape == () and math.prod(got) == 1  # common: one number fed as [1]
        if value.shape is not None and not scalar:
            fits = fits and len(got) == len(value.shape)
            fits = fits and all(
                d == g for d, g in zip(value.shape, got, strict=True) if isinstance(d, int)
            )
        if not fits:
            raise ArgumentError(f"{where}, got {list(got)}")
        for dim, size in zip(value.shape or (), got, strict=False):
            if isinstance(dim, str) and sizes.setdefault(dim, (size, value.name))[0] != size:
                other, owner = sizes[dim]
                raise ArgumentError(
                    f"{where}, got {list(got)}, but {dim} is {other} in input {quote(owner)}"
                )
        result.append(got)
    return result


def _check_values(graph: Graph, values: Mapping[str, np.ndarray]) -> None:
    for value in graph.inputs:
        given = values.get(value.name)
        if given is not None and given.dtype != value.dtype:
            raise ArgumentError(
                f"input {quote(value.name)}: expected {value.dtype}, got {given.dtype}"
            )


class _Binder:
    """One walk over one graph; bodies of If, Loop and Scan get their own."""

    def __init__(
        self, graph: Graph, inputs: list[Value], problems: list[str], budget: FoldBudget
    ) -> None:
        self.graph = graph
        self.budget = budget
        self.inputs = inputs
        self.problems = problems
        self.table: dict[Value, Value] = dict(zip(graph.inputs, inputs, strict=True))
        self.unknown: set[Value] = set()
        self.taken = {v.name for v in graph.values()}
        self.nodes: list[Node] = []

    def run(self) -> Graph:
        for node in self.graph.nodes:
            self.visit(node, "")
        outputs = [self.value(v) for v in self.graph.outputs]
        return Graph(self.inputs, outputs, self.nodes, self.graph.name)

    def value(self, old: Value, prefix: str = "") -> Value:
        if old not in self.table:
            name = self.unique(prefix, old.name)
            self.table[old] = Value(name, old.dtype, old.shape, old.data)
        return self.table[old]

    def visit(self, old: Node, prefix: str) -> None:
        """Bind one node; `prefix` is put before names that come from an inlined body."""
        inputs = [None if v is None else self.value(v, prefix) for v in old.inputs]
        attrs = dict(old.attrs)
        node = Node(old.op, inputs, [], attrs, prefix + old.name, old.domain, old.opset)
        node.backend = old.backend
        for value in old.outputs:
            new = Value(self.unique(prefix, value.name), producer=node)
            node.outputs.append(new)
            self.table[value] = new
        if any(v in self.unknown for v in inputs if v is not None):
            self.unknown.update(node.outputs)
            return
        if node.op == "If" and node.domain == "" and _constants(node) is not None:
            return self.inline(node)
        try:
            self.settle(node)
        except UnsupportedError as error:
            self.problems.append(str(error))
            self.unknown.update(node.outputs)

    def unique(self, prefix: str, name: str) -> str:
        if not prefix:
            return name
        name = prefix + name
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    def inline(self, node: Node) -> None:
        """Replace an If whose condition is known by its branch."""
        (condition, *captured), outputs = node.inputs, node.outputs
        assert condition is not None and condition.data is not None
        require(condition.data.size == 1, node, "the condition must be one value")
        taken = bool(condition.data.reshape(()))
        body: Graph = node.attrs["then_branch" if taken else "else_branch"]
        for formal, actual in zip(body.inputs, captured, strict=True):
            assert actual is not None
            self.table[formal] = actual
        for inner in body.nodes:
            self.visit(inner, f"{node.name}/")
        for i, (value, result) in enumerate(zip(outputs, body.outputs, strict=True)):
            source = self.value(result, f"{node.name}/")
            name = f"{node.name}/out{i}"
            same = Node("Identity", [source], [value], name=name, opset=node.opset)
            value.producer = same
            if source in self.unknown:
                self.unknown.add(value)
            else:
                self.settle(same)

    def settle(self, node: Node) -> None:
        """Find the types of the node's outputs, and their content if it is constant."""
        types = self.types(node)
        require(
            len(types) >= len(node.outputs),
            node,
            f"has {len(node.outputs)} outputs, the operator has {len(types)}",
        )
        for value, (dtype, shape) in zip(node.outputs, types, strict=False):
            value.dtype, value.shape = dtype, tuple(shape)
            _check_limits(node, dtype, value.shape)
        arrays = fold(node, types, self.budget)
        if arrays is None:
            self.nodes.append(node)
            return
        for value, array in zip(node.outputs, arrays, strict=False):
            value.producer = None
            value.dtype, value.shape, value.data = array.dtype, array.shape, _frozen(array)

    def types(self, node: Node) -> list[TensorType]:
        if node.domain == "" and node.op in _CONTROL_FLOW:
            return _CONTROL_FLOW[node.op](self, node)
        if node.op in _DATA_DEPENDENT:
            return _computed_types(node)
        info = ops.find(node)
        return reference.infer(node) if info is None else info.infer(node)

    def body(self, node: Node, attr: str, formals: Iterable[TensorType]) -> list[Value]:
        """Bind the body in attribute `attr`; return its outputs. Captures follow `formals`."""
        body: Graph = node.attrs[attr]
        count = node.attrs.get("captures", 0)
        captured = node.inputs[len(node.inputs) - count :]
        types = list(formals)
        require(
            len(types) + count == len(body.inputs),
            node,
            f"{attr} has {len(body.inputs) - count} inputs instead of {len(types)}",
        )
        inputs = [Value(v.name, *t) for v, t in zip(body.inputs[: len(types)], types, strict=True)]
        for formal, actual in zip(body.inputs[len(types) :], captured, strict=True):
            assert actual is not None
            inputs.append(Value(formal.name, actual.dtype, actual.shape, actual.data))
        problems: list[str] = []
        bound = _Binder(body, inputs, problems, self.budget).run()
        if problems:
            raise UnsupportedError("; ".join(problems))
        node.attrs[attr] = bound
        return bound.outputs


def _if(binder: _Binder, node: Node) -> list[TensorType]:
    """The type that both branches give. A branch that does not fit these shapes is never taken."""
    found: list[list[TensorType]] = []
    errors: list[InvalidModelError] = []
    for attr in ("then_branch", "else_branch"):
        try:
            found.append(_types_of(node, binder.body(node, attr, [])))
        except InvalidModelError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    if any(types != found[0] for types in found):
        raise dynamic(node, "the branches give results of different types or shapes")
    return found[0]


def _loop(binder: _Binder, node: Node) -> list[TensorType]:
    count = len(node.inputs) - node.attrs.get("captures", 0)
    carried = _types_of(node, [v for v in node.inputs[2:count] if v is not None])
    require(len(carried) == count - 2, node, "a carried value is missing")
    results = binder.body(node, "body", [(INT64, ()), (BOOL, ()), *carried])
    types = _types_of(node, results[1:])
    if len(types) > len(carried):
        raise dynamic(node, "the output shape depends on the number of iterations")
    if types != carried:
        raise dynamic(node, "a carried value changes its type or shape")
    return types


def _scan(binder: _Binder, node: Node) -> list[TensorType]:
    count = len(node.inputs) - node.attrs.get("captures", 0)
    scanned = node.attrs["num_scan_inputs"]
    states = count - scanned
    require(0 < scanned <= count, node, f"num_scan_inputs {scanned} is out of range")
    carried = _types_of(node, [v for v in node.inputs[:states] if v is not None])
    axes = node.attrs.get("scan_input_axes") or [0] * scanned
    require(len(axes) == scanned, node, "scan_input_axes does not fit the inputs")
    slices, lengths = [], set()
    for axis, i in zip(axes, range(states, count), strict=True):
        shape = shape_of(node, i)
        require(-len(shape) <= axis < len(shape), node, f"scan axis {axis} is out of range")
        lengths.add(shape[axis])
        axis %= len(shape)
        slices.append((node.inputs[i].dtype, (*shape[:axis], *shape[axis + 1 :])))
    require(len(lengths) == 1, node, f"scanned inputs differ in length: {sorted(lengths)}")
    types = _types_of(node, binder.body(node, "body", [*carried, *slices]))
    if types[:states] != carried:
        raise dynamic(node, "a carried value changes its type or shape")
    out_axes = node.attrs.get("scan_output_axes") or [0] * (len(types) - states)
    require(len(out_axes) == len(types) - states, node, "scan_output_axes does not fit the outputs")
    length = lengths.pop()
    stacked = []
    for axis, (dtype, shape) in zip(out_axes, types[states:], strict=True):
        rank = len(shape) + 1
        require(-rank <= axis < rank, node, f"scan axis {axis} is out of range")
        axis %= rank
        stacked.append((dtype, (*shape[:axis], length, *shape[axis:])))
    return [*carried, *stacked]


_CONTROL_FLOW = {"If": _if, "Loop": _loop, "Scan": _scan}


def _types_of(node: Node, values: Sequence[Value]) -> list[TensorType]:
    for value in values:
        require(value.is_static, node, f"the type of {quote(value.name)} is not known")
    return [(v.dtype, v.shape) for v in values]


def _computed_types(node: Node) -> list[TensorType]:
    """The types of results whose shape only computing them can tell."""
    arrays = _constants(node)
    if arrays is None or sum(a.nbytes for a in arrays if a is not None) > _REFERENCE_FOLD_BYTES:
        raise dynamic(node, "the output shape depends on the input's values")
    return [(a.dtype, a.shape) for a in reference.evaluate(node, arrays)]


def _check_limits(node: Node, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    require(len(shape) <= limits.MAX_RANK, node, f"output has {len(shape)} dimensions")
    size = math.prod(shape) * dtype.itemsize
    require(
        size <= limits.MAX_TENSOR_BYTES,
        node,
        f"output {list(shape)} takes {size} bytes, the limit is {limits.MAX_TENSOR_BYTES}",
    )


def _constants(node: Node) -> list[np.ndarray | None] | None:
    """The inputs' arrays if all are constant; an If counts if its condition is."""
    wanted = node.inputs[:1] if node.op == "If" else node.inputs
    if any(v is not None and v.data is None for v in wanted):
        return None
    return [None if v is None else v.data for v in wanted]


def fold(node: Node, types: Sequence[TensorType], budget: FoldBudget) -> list[np.ndarray] | None:
    """The outputs of `node` if they are known and cheap enough to compute now, else None.

    Parameters
    ----------
    node : Node
    types : sequence of (numpy.dtype, tuple of int)
        Of the outputs.
    budget : FoldBudget
        Reduced by what the node costs.
    """
    info = ops.find(node)
    if node.op in _RANDOM or (info is None and node.op not in _DATA_DEPENDENT):
        return None
    if info is not None and info.keep:
        return None
    if info is not None and info.by_shape:
        return reference.evaluate(node, [])
    arrays = _constants(node)
    if not arrays:
        return None
    if info is None or not info.view:
        result = sum(math.prod(shape) * dtype.itemsize for dtype, shape in types)
        if result == 0:
            return [np.empty(shape, dtype) for dtype, shape in types]
        cost = result + sum(a.nbytes for a in arrays if a is not None)
        if cost > min(limits.FOLD_BYTES, budget.total):
            return None
        if info is None or info.compute is None:
            if cost > min(_REFERENCE_FOLD_BYTES, budget.reference):
                return None
            budget.reference -= cost
        budget.total -= cost
    try:
        return reference.evaluate(node, arrays)
    except UnsupportedError:
        return None


def _frozen(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    array.flags.writeable = False
    return array
