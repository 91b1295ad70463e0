"""What the ONNX standard demands of a node: arity, attributes and types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from onnx import AttributeProto, TensorProto, defs

from luthier.graph.ir import Node
from luthier.graph.ops.common import invalid, quote, require
from luthier.graph.ops.dtypes import numpy_dtype

_SINGLE = defs.OpSchema.FormalParameterOption.Single
_VARIADIC = defs.OpSchema.FormalParameterOption.Variadic

_DTYPES = {
    f"tensor({name.lower()})": numpy_dtype(number)
    for name, number in TensorProto.DataType.items()
    if numpy_dtype(number) is not None
}


MANY = (1 << 31) - 1
"""The number of inputs of an operator that takes any number."""

_ATTRIBUTE_TYPES = dict(AttributeProto.AttributeType.items())


@dataclass(frozen=True, slots=True)
class Formal:
    """One formal input or output. `param` names the type that formals of that name share."""

    name: str
    param: str
    dtypes: frozenset[np.dtype | None]
    needed: bool
    variadic: bool
    uniform: bool


@dataclass(frozen=True, slots=True)
class Schema:
    """An operator in one opset version, in plain Python."""

    inputs: tuple[Formal, ...]
    outputs: tuple[Formal, ...]
    input_counts: range
    output_counts: range
    attributes: Mapping[str, int]
    required: tuple[str, ...]
    deprecated: bool

    @property
    def tensors_only(self) -> bool:
        """Whether every input and output may be a tensor, as opposed to sequences and optionals."""
        return all(formal.dtypes for formal in (*self.inputs, *self.outputs))


@lru_cache(maxsize=1024)
def find_schema(op: str, version: int, domain: str) -> Schema | None:
    """The schema of `op` in force at opset `version`, None if there is none."""
    try:
        schema = defs.get_schema(op, version, domain)
    except defs.SchemaError:
        return None
    return Schema(
        inputs=tuple(_formal(f) for f in schema.inputs),
        outputs=tuple(_formal(f) for f in schema.outputs),
        input_counts=range(schema.min_input, schema.max_input + 1),
        output_counts=range(schema.min_output, schema.max_output + 1),
        attributes={
            a.name: _ATTRIBUTE_TYPES[str(a.type).rpartition(".")[2]]
            for a in schema.attributes.values()
        },
        required=tuple(a.name for a in schema.attributes.values() if a.required),
        deprecated=schema.deprecated,
    )


def _formal(formal: defs.OpSchema.FormalParameter) -> Formal:
    return Formal(
        name=formal.name,
        param=formal.type_str,
        dtypes=dtypes_of(formal.types),
        needed=formal.option == _SINGLE,
        variadic=formal.option == _VARIADIC,
        uniform=formal.is_homogeneous,
    )


def dtypes_of(types: Iterable[str]) -> frozenset[np.dtype | None]:
    """The dtypes among types as ONNX writes them, such as ``tensor(float)``."""
    return frozenset(_DTYPES[t] for t in types if t in _DTYPES)


def check_node(node: Node, schema: Schema, attribute_types: Mapping[str, int]) -> None:
    """Check `node` against its schema and give its outputs the dtypes that follow from it.

    Parameters
    ----------
    node : Node
        Its inputs' dtypes are checked where they are known.
    schema : Schema
    attribute_types : mapping of str to int
        AttributeProto.AttributeType of each attribute present.

    Raises
    ------
    InvalidModelError
    """
    for name, kind in attribute_types.items():
        wanted = schema.attributes.get(name)
        if wanted is None:
            raise invalid(node, f"unknown attribute {quote(name)}")
        if kind != wanted:
            got, needed = (AttributeProto.AttributeType.Name(k) for k in (kind, wanted))
            raise invalid(node, f"attribute {quote(name)} is {got}, must be {needed}")
    for name in schema.required:
        require(name in node.attrs, node, f"attribute {quote(name)} is missing")
    count = len(node.inputs) - node.attrs.get("captures", 0)
    _check_count(node, "input", count, schema.input_counts)
    _check_count(node, "output", len(node.outputs), schema.output_counts)
    bound: dict[str, np.dtype] = {}
    for i in range(max(count, len(schema.inputs))):
        formal = schema.inputs[min(i, len(schema.inputs) - 1)]
        value = node.input(i) if i < count else None
        if value is None:
            require(not formal.needed, node, f"input {i} ({formal.name}) is missing")
            continue
        if value.dtype is None:
            continue
        require(
            value.dtype in formal.dtypes,
            node,
            f"input {i} ({formal.name}) may not be {value.dtype}",
        )
        if formal.uniform:
            shared = bound.setdefault(formal.param, value.dtype)
            require(
                shared == value.dtype,
                node,
                f"input {i} ({formal.name}) is {value.dtype} where {shared} is needed",
            )
    for i, value in enumerate(node.outputs):
        formal = schema.outputs[min(i, len(schema.outputs) - 1)]
        if formal.uniform and formal.param in bound:
            value.dtype = bound[formal.param]
        elif len(formal.dtypes) == 1:
            value.dtype = next(iter(formal.dtypes))


def _check_count(node: Node, what: str, count: int, allowed: range) -> None:
    if count not in allowed:
        least, most = allowed.start, allowed.stop - 1
        wanted = f"{least}" if least == most else f"{least} to {most}"
        raise invalid(node, f"has {count} {what}s, the operator has {wanted}")
