"""An ONNX model under edit: nodes in order, constants as arrays, everything else as it was."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, helper

from luthier.onnx_frontend.tensors import TensorReader, to_proto

__all__ = ["Editor", "attribute", "captured"]

_NUMBER = re.compile(r"(\.\d+)$")


class Editor:
    """A model whose nodes and constants may be changed.

    Parameters
    ----------
    model : onnx.ModelProto
        Valid, as `luthier.onnx_frontend.load` checks it. Not changed.
    tensors : TensorReader
        Reads its constants.

    Attributes
    ----------
    nodes : list of NodeProto
        In topological order; every one has a name of its own.
    constants : dict of str to numpy.ndarray
        Initializers and the results of Constant nodes. Arrays are never changed in place.
    inputs, outputs : list of str
        Without the inputs that only declare an initializer.
    """

    def __init__(self, model: onnx.ModelProto, tensors: TensorReader) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        graph = self._model.graph
        self.constants = {t.name: tensors.read(t, t.name) for t in graph.initializer}
        self._inputs = [i for i in graph.input if i.name not in self.constants]
        self.inputs = [i.name for i in self._inputs]
        self.outputs = [o.name for o in graph.output]
        self.nodes: list[NodeProto] = []
        self.names = {n.name for n in graph.node} | set(self.inputs)
        for node in graph.node:
            self.names.update(node.output, captured(node))
        self.names.update(self.constants)
        for node in graph.node:
            self._add(node, tensors)
        for field in ("node", "initializer", "sparse_initializer", "value_info", "input"):
            graph.ClearField(field)

    def _add(self, proto: NodeProto, tensors: TensorReader) -> None:
        """Take over a node of the file; the value of a Constant goes to the constants."""
        if proto.op_type == "Constant" and proto.domain in ("", "ai.onnx"):
            value = proto.attribute[0]
            if value.name == "value":
                data = tensors.read(value.t, proto.output[0])
            else:
                dtypes: dict[str, Any] = {"int": np.int64, "float": np.float32, "string": object}
                kind = value.name.removeprefix("value_").rstrip("s")
                data = np.array(helper.get_attribute_value(value), dtypes[kind])
            self.constants[proto.output[0]] = data
            return
        node = NodeProto()
        node.CopyFrom(proto)
        if not node.name or any(node.name == other.name for other in self.nodes):
            node.name = self.fresh(node.name or next(n for n in node.output if n))
        if node.domain == "ai.onnx":
            node.domain = ""
        self.nodes.append(node)

    @property
    def opset(self) -> int:
        """The version of ai.onnx."""
        return next(e.version for e in self._model.opset_import if e.domain in ("", "ai.onnx"))

    def copy(self) -> Editor:
        """An independent editor of the same model; constants are shared."""
        twin: Editor = object.__new__(Editor)
        twin.__dict__.update(self.__dict__)
        twin.constants, twin.names = dict(self.constants), set(self.names)
        twin.inputs, twin.outputs = list(self.inputs), list(self.outputs)
        twin.nodes = []
        for node in self.nodes:
            twin.nodes.append(NodeProto())
            twin.nodes[-1].CopyFrom(node)
        return twin

    # -- reading -----------------------------------------------------------------------------

    def producers(self) -> dict[str, NodeProto]:
        """The node that computes each value."""
        return {name: node for node in self.nodes for name in node.output if name}

    def readers(self) -> dict[str, list[NodeProto]]:
        """The nodes that read each value, their bodies included, once each."""
        table: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(chain(node.input, captured(node))):
                table.setdefault(name, []).append(node)
        return table

    def constant(self, node: NodeProto, i: int) -> np.ndarray | None:
        """Input `i` of `node` if it is there and constant."""
        return self.constants.get(node.input[i]) if i < len(node.input) else None

    def fresh(self, stem: str) -> str:
        """A name that nothing in the model has: `stem` itself, or with a number."""
        name, count = stem, 0
        while name in self.names:
            count += 1
            name = f"{_NUMBER.sub('', stem)}.{count}"
        self.names.add(name)
        return name

    # -- editing -----------------------------------------------------------------------------

    def add_constant(self, stem: str, data: np.ndarray) -> str:
        """A new constant; returns its name."""
        name = self.fresh(stem)
        self.constants[name] = data
        return name

    def rename_uses(self, old: str, new: str) -> None:
        """Let every node read `new` instead of `old`; bodies of nodes must not read `old`."""
        for node in self.nodes:
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = new

    def remove(self, gone: Iterable[NodeProto]) -> None:
        """Take nodes out."""
        ids = {id(node) for node in gone}
        self.nodes = [node for node in self.nodes if id(node) not in ids]

    def prune(self) -> None:
        """Drop nodes whose results nobody reads."""
        live, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if live.intersection(node.output):
                kept.append(node)
                live.update(node.input, captured(node))
        self.nodes = kept[::-1]

    # -- writing -----------------------------------------------------------------------------

    def model(self, outputs: Sequence[str] | None = None) -> onnx.ModelProto:
        """The model as it is now.

        Parameters
        ----------
        outputs : sequence of str, optional
            What to return instead, the model's own outputs or float32 values inside it; what
            they do not need is left out.
        """
        proto = onnx.ModelProto()
        proto.CopyFrom(self._model)
        graph, nodes = proto.graph, self.nodes
        if outputs is not None:
            twin = self.copy()
            twin.outputs = list(outputs)
            twin.prune()
            nodes = twin.nodes
            declared = {o.name: o for o in self._model.graph.output}
            graph.ClearField("output")
            for name in outputs:
                unknown = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
                graph.output.append(declared.get(name, unknown))
        graph.node.extend(nodes)
        graph.input.extend(self._inputs)
        used = {o.name for o in graph.output}
        for node in nodes:
            used.update(node.input, captured(node))
        graph.initializer.extend(
            to_proto(data, name) for name, data in self.constants.items() if name in used
        )
        versions = {e.domain for e in proto.opset_import}
        for domain in sorted({node.domain for node in nodes} - versions - {""}):
            proto.opset_import.append(helper.make_opsetid(domain, 1))
        needed = helper.find_min_ir_version_for(list(proto.opset_import), ignore_unknown=True)
        proto.ir_version = max(proto.ir_version, needed)
        return proto


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """The attribute `name` in plain Python, or `default`."""
    for item in node.attribute:
        if item.name == name:
            value = helper.get_attribute_value(item)
            return value.decode() if isinstance(value, bytes) else value
    return default


def captured(node: NodeProto) -> Iterator[str]:
    """Every name that the bodies of `node` mention: what they may take from around them."""
    for item in node.attribute:
        if item.type == AttributeProto.GRAPH:
            yield from (output.name for output in item.g.output)
            for inner in item.g.node:
                yield from inner.input
                yield from captured(inner)
