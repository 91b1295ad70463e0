"""ONNX files become graphs. The file is untrusted: everything it claims is checked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, defs

from luthier import limits
from luthier.errors import ArgumentError, InvalidModelError, UnsupportedError
from luthier.graph.ir import Dim, Graph, Node, Value
from luthier.graph.ops.common import describe, invalid, quote, require
from luthier.onnx_frontend.contrib import find_contrib_schema
from luthier.onnx_frontend.functions import inline_functions
from luthier.onnx_frontend.names import Names
from luthier.onnx_frontend.ops import OLDEST_OPSET, upgrade
from luthier.onnx_frontend.ops._op_list import UPGRADES
from luthier.onnx_frontend.schemas import check_node, find_schema
from luthier.onnx_frontend.tensors import TensorReader, elem_dtype

_DOMAINS = ("", "ai.onnx.ml", "com.microsoft")


def load(source: str | os.PathLike[str] | bytes) -> Graph:
    """Read an ONNX model.

    Parameters
    ----------
    source : path or bytes
        A file, whose external data may lie in the same folder or below, or its content.

    Returns
    -------
    Graph
        In the newest form of every operator (see `luthier.onnx_frontend.ops`), shapes as declared
        and possibly symbolic, weights as read-only arrays. `Graph.name` is the file's name.

    Raises
    ------
    ArgumentError
        If the file cannot be read.
    InvalidModelError
        If it is no valid ONNX model or breaks a limit. The message names file, node and reason.
    UnsupportedError
        If it has nodes that luthier does not know; the message lists all of them.

    Examples
    --------
    >>> graph = load("model.onnx")
    >>> [(v.name, v.shape) for v in graph.inputs]
    [('x', ('N', 3, 224, 224))]
    """
    name = "model" if isinstance(source, bytes) else Path(source).name
    try:
        return _Importer(*parse(source)).model(name)
    except UnicodeDecodeError:
        raise InvalidModelError(f"{name}: an attribute is not UTF-8 text") from None
    except (InvalidModelError, UnsupportedError) as error:
        raise type(error)(f"{name}: {error}") from None


def parse(source: str | os.PathLike[str] | bytes) -> tuple[onnx.ModelProto, TensorReader]:
    """The model as the file has it, local functions inlined, and the reader of its tensors.

    Only the container is checked; `load` checks what it holds, and raises as this does.
    """
    folder = None if isinstance(source, bytes) else Path(source).absolute().parent
    # The file's bytes are gone once they are parsed: with the weights they would be the peak.
    proto = _parse(source if isinstance(source, bytes) else _read(Path(source)))
    return inline_functions(proto), TensorReader(folder)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > limits.MAX_MODEL_BYTES:
            raise InvalidModelError(f"larger than {limits.MAX_MODEL_BYTES} bytes")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise ArgumentError(f"cannot read {quote(str(path))}: {reason}") from None


def _parse(data: bytes) -> onnx.ModelProto:
    if not data:
        raise InvalidModelError("the file is empty")
    if len(data) > limits.MAX_MODEL_BYTES:
        raise InvalidModelError(f"larger than {limits.MAX_MODEL_BYTES} bytes")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise InvalidModelError("not an ONNX model, or cut short") from None
    if not model.HasField("graph"):
        raise InvalidModelError("holds no ONNX graph")
    _check_texts(model)
    return model


def _opsets(model: onnx.ModelProto) -> dict[str, int]:
    """Domain -> version, checked."""
    versions: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if versions.setdefault(domain, entry.version) != entry.version:
            raise InvalidModelError(f"two opset versions for domain {quote(domain)}")
    newest = defs.onnx_opset_version()
    if not OLDEST_OPSET <= versions.get("", newest) <= newest:
        raise UnsupportedError(
            f"opset {versions['']} is not supported, only {OLDEST_OPSET} to {newest}"
        )
    return versions


def _check_texts(model: onnx.ModelProto) -> None:
    """Refuse text that is not UTF-8: the parser hands it out as bytes."""
    texts = [_texts(model.graph)]
    for function in model.functions:
        texts.append(iter((function.name, function.domain, *function.input, *function.output)))
        texts.append(_node_texts(function.node))
    imports = (entry.domain for entry in model.opset_import)
    if not all(isinstance(text, str) for text in chain(imports, *texts)):
        raise InvalidModelError("a name is not UTF-8 text")


def _texts(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name in a graph and its bodies; the depth is bounded by the protobuf parser."""
    yield graph.name
    for info in chain(graph.input, graph.output):
        yield info.name
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)
    for tensor in graph.initializer:
        yield from _tensor_texts(tensor)
    yield from _node_texts(graph.node)


def _node_texts(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)
            yield from _tensor_texts(attribute.t)
            if attribute.type == AttributeProto.GRAPH:
                yield from _texts(attribute.g)


def _tensor_texts(tensor: onnx.TensorProto) -> Iterator[str]:
    yield tensor.name
    for entry in tensor.external_data:
        yield from (entry.key, entry.value)


class _Scope:
    """The values that a graph's nodes may read, and what it takes from the graph around it."""

    def __init__(self, outer: _Scope | None, pending: set[str]) -> None:
        self.outer = outer
        self.pending = pending
        self.depth: int = 0 if outer is None else outer.depth + 1
        self.values: dict[str, Value] = {}
        self.captured: dict[Value, Value] = {}
        """Outer value -> the input of this graph that stands for it."""

    def define(self, value: Value, what: str) -> None:
        if value.name in self.values:
            raise InvalidModelError(f"{what} {quote(value.name)} is defined twice")
        self.values[value.name] = value

    def resolve(self, name: str) -> Value | None:
        if name in self.values or self.outer is None:
            return self.values.get(name)
        source = self.outer.resolve(name)
        if source is None:
            return None
        local = Value(name, source.dtype, source.shape, source.data)
        if not source.is_const:
            self.captured[source] = local
        self.values[name] = local
        return local


class _Importer:
    """Builds the graph of one model. Messages lack the file's name; `load` adds it."""

    def __init__(self, model: onnx.ModelProto, tensors: TensorReader) -> None:
        self.proto = model
        self.tensors = tensors
        self.opsets = _opsets(model)
        self.names = Names(set(_texts(model.graph)))
        self.problems: list[str] = []
        self.node_names: set[str] = set()
        self.count = 0

    def model(self, name: str) -> Graph:
        graph, _ = self.graph(self.proto.graph, None)
        if self.problems:
            raise UnsupportedError("; ".join(self.problems))
        graph.name = name
        return graph

    def graph(self, proto: onnx.GraphProto, outer: _Scope | None) -> tuple[Graph, _Scope]:
        scope = _Scope(outer, {name for node in proto.node for name in node.output})
        if scope.depth > limits.MAX_SUBGRAPH_DEPTH:
            raise InvalidModelError(f"bodies nest more than {limits.MAX_SUBGRAPH_DEPTH} deep")
        self.count += len(proto.node)
        if self.count > limits.MAX_NODES:
            raise InvalidModelError(f"more than {limits.MAX_NODES} nodes")
        if proto.sparse_initializer:
            raise UnsupportedError("sparse initializers are not supported")
        self.initializers(proto, scope)
        inputs = self.inputs(proto, scope)
        nodes: list[Node] = []
        for item in proto.node:
            nodes += self.node(item, scope)
        outputs = self.outputs(proto, scope)
        return Graph(inputs, outputs, nodes, proto.name), scope

    def initializers(self, proto: onnx.GraphProto, scope: _Scope) -> None:
        for tensor in proto.initializer:
            what = f"initializer {quote(tensor.name)}"
            if not tensor.name:
                raise InvalidModelError("an initializer has no name")
            data = self.tensors.read(tensor, what)
            scope.define(Value(tensor.name, data.dtype, data.shape, data), "initializer")

    def inputs(self, proto: onnx.GraphProto, scope: _Scope) -> list[Value]:
        """The inputs proper: without those that only declare an initializer."""
        seen: set[str] = set()
        result = []
        for info in proto.input:
            what = f"input {quote(info.name)}"
            if not info.name or info.name in seen:
                raise InvalidModelError(f"{what} is declared twice or has no name")
            seen.add(info.name)
            if info.name in scope.values:
                continue
            dtype, shape = _declared(info, what)
            if dtype is None and scope.outer is None:
                raise InvalidModelError(f"{what} has no element type")
            value = Value(info.name, dtype, shape)
            scope.define(value, "input")
            result.append(value)
        return result

    def outputs(self, proto: onnx.GraphProto, scope: _Scope) -> list[Value]:
        if not proto.output:
            raise InvalidModelError("the graph has no outputs")
        result: list[Value] = []
        seen: set[str] = set()
        for info in proto.output:
            what = f"output {quote(info.name)}"
            value = scope.resolve(info.name)
            if value is None:
                raise InvalidModelError(f"{what} is not computed by any node")
            if info.name in seen:
                raise InvalidModelError(f"{what} is declared twice")
            seen.add(info.name)
            if value.producer is not None:
                dtype, shape = _declared(info, what)
                value.dtype = value.dtype or dtype
                value.shape = value.shape if shape is None else shape
            result.append(value)
        return result

    def node(self, proto: onnx.NodeProto, scope: _Scope) -> list[Node]:
        """The nodes that stand for one node of the file: none for a constant, often one."""
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        node = Node(proto.op_type, [], [], domain=domain, name=self.node_name(proto))
        if domain not in self.opsets:
            raise invalid(node, f"the model imports no opset of domain {quote(domain)}")
        node.opset = self.opsets[domain]
        node.inputs = [self.operand(node, name, scope) for name in proto.input]
        while node.inputs and node.inputs[-1] is None:
            node.inputs.pop()
        kinds = self.attributes(node, proto, scope)
        names = list(proto.output)
        while names and not names[-1]:
            names.pop()
        for name in names:
            value = Value(name or self.names.fresh(node.name), producer=node)
            node.outputs.append(value)
        reason = self.check(node, kinds)
        for value in node.outputs:
            scope.define(value, f"{describe(node)}: output")
        if reason:
            self.problems.append(f"{describe(node)}: {reason}")
            return []
        if node.op == "Constant" and domain == "":
            self.constant(node)
            return []
        try:
            return upgrade(node, self.names) if domain == "" else [node]
        except UnsupportedError as error:
            self.problems.append(str(error))
            return []

    def node_name(self, proto: onnx.NodeProto) -> str:
        """The node's own name, or one made from its first output; unique in the model."""
        name = proto.name or next((n for n in proto.output if n), proto.op_type)
        if name in self.node_names:
            name = self.names.fresh(name)
        self.node_names.add(name)
        return name

    def operand(self, node: Node, name: str, scope: _Scope) -> Value | None:
        if not name:
            return None
        value = scope.resolve(name)
        if value is None:
            late = name in scope.pending
            why = "computed later (out of order, or a cycle)" if late else "not defined"
            raise invalid(node, f"reads {quote(name)}, which is {why}")
        return value

    def attributes(self, node: Node, proto: onnx.NodeProto, scope: _Scope) -> dict[str, int]:
        """Fill in the node's attributes; return the type of each as the file has it."""
        kinds: dict[str, int] = {}
        bodies: list[tuple[Graph, _Scope]] = []
        for attribute in proto.attribute:
            name = attribute.name
            require(bool(name) and name not in kinds, node, f"attribute {quote(name)} is repeated")
            kinds[name] = attribute.type
            if attribute.type == AttributeProto.GRAPH:
                body = self.graph(attribute.g, scope)
                bodies.append(body)
                node.attrs[name] = body[0]
            else:
                node.attrs[name] = self.attribute(node, attribute)
        if bodies:
            self.captures(node, bodies)
        return kinds

    def captures(self, node: Node, bodies: list[tuple[Graph, _Scope]]) -> None:
        """Make what the bodies read of the graph around them inputs of the node and of each."""
        sources = list(dict.fromkeys(v for _, scope in bodies for v in scope.captured))
        for graph, scope in bodies:
            for source in sources:
                local = scope.captured.get(source)
                if local is None:
                    fresh = self.names.fresh(source.name)
                    local = Value(fresh, source.dtype, source.shape)
                graph.inputs.append(local)
        node.inputs += sources
        node.attrs["captures"] = len(sources)

    def attribute(self, node: Node, proto: AttributeProto) -> Any:
        what = f"attribute {quote(proto.name)}"
        if proto.ref_attr_name:
            raise invalid(node, f"{what} refers to a function's attribute outside a function")
        if proto.type == AttributeProto.TENSOR:
            return self.tensors.read(proto.t, f"{describe(node)}: {what}")
        if proto.type == AttributeProto.STRING:
            return proto.s.decode()
        if proto.type == AttributeProto.STRINGS:
            return [s.decode() for s in proto.strings]
        if proto.type == AttributeProto.INT:
            return proto.i
        if proto.type == AttributeProto.FLOAT:
            return proto.f
        if proto.type == AttributeProto.INTS:
            return list(proto.ints)
        if proto.type == AttributeProto.FLOATS:
            return list(proto.floats)
        kind = AttributeProto.AttributeType.Name(proto.type)
        if proto.type == AttributeProto.UNDEFINED:
            raise invalid(node, f"{what} has no type")
        raise UnsupportedError(f"{describe(node)}: {what} of type {kind} is not supported")

    def check(self, node: Node, kinds: dict[str, int]) -> str | None:
        """Why the node is not supported, or None. Raises InvalidModelError if it is wrong."""
        if node.domain not in _DOMAINS:
            return f"domain {quote(node.domain)} is not supported"
        if node.domain == "com.microsoft":
            schema = find_contrib_schema(node.op)
        else:
            schema = find_schema(node.op, node.opset, node.domain)
        if schema is None:
            return f"no such operator in opset {node.opset}"
        if not schema.tensors_only:
            return "sequences and optional values are not supported"
        if schema.deprecated and node.op not in UPGRADES:
            return f"deprecated in opset {node.opset}"
        check_node(node, schema, kinds)
        return None

    def constant(self, node: Node) -> None:
        """Give the output of a Constant node its data."""
        given = [k for k in node.attrs]
        require(len(given) == 1 and len(node.outputs) == 1, node, "needs exactly one value")
        kind, data = given[0], node.attrs[given[0]]
        if kind != "value":
            stem = kind.removeprefix("value_").rstrip("s")
            dtypes: dict[str, Any] = {"int": np.int64, "float": np.float32, "string": object}
            data = np.array(data, dtypes[stem])
            data.flags.writeable = False
        value = node.output
        value.producer = None
        value.dtype, value.shape, value.data = data.dtype, data.shape, data


def _declared(
    info: onnx.ValueInfoProto, what: str
) -> tuple[np.dtype | None, tuple[Dim, ...] | None]:
    """Dtype and shape of a declared input or output."""
    kind = info.type.WhichOneof("value")
    if kind is None:
        return None, None
    if kind != "tensor_type":
        raise UnsupportedError(f"{what} is a {kind.removesuffix('_type')}, only tensors are known")
    tensor = info.type.tensor_type
    dtype = elem_dtype(tensor.elem_type, what) if tensor.elem_type else None
    if not tensor.HasField("shape"):
        return dtype, None
    if len(tensor.shape.dim) > limits.MAX_RANK:
        raise InvalidModelError(f"{what} has more than {limits.MAX_RANK} dimensions")
    return dtype, tuple(_dim(d) for d in tensor.shape.dim)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    """A size, a symbol, or None; exporters write -1, 0 and "?" for unknown sizes."""
    if dim.HasField("dim_value"):
        return dim.dim_value if dim.dim_value > 0 else None
    return None if dim.dim_param in ("", "?") else dim.dim_param
