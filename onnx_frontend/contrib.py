"""What the operators of the domain com.microsoft demand of a node, as ONNX Runtime defines them.

The `onnx` package has no schemas of that domain, so those of the operators that luthier knows are
listed here. Formals are written ``name:types=parameter``: a name in brackets may be absent, one
with an asterisk is repeated, and formals of one parameter have one type.
"""

from __future__ import annotations

import re

from onnx import AttributeProto

from luthier.onnx_frontend.schemas import MANY, Formal, Schema, dtypes_of

__all__ = ["find_contrib_schema"]

_TYPES = {
    "byte": ("uint8", "int8"),
    "float": ("float",),
    "floats": ("float", "float16"),
    "int32": ("int32",),
    "small": ("int8", "uint8", "int16", "uint16", "int4", "uint4"),
    "sources": ("int8", "uint8", "int16", "uint16", "int32", "int4", "uint4"),
    "uint8": ("uint8",),
    "mixed": ("uint8", "int8", "float"),
    "zeros": ("uint8", "float", "float16"),
}

_PARAMETERS = "x_scale:float [x_zero_point]:byte=T y_scale:float"
_BINARY = (
    "A:byte=T A_scale:float [A_zero_point]:byte=T B:byte=T B_scale:float [B_zero_point]:byte=T"
    " C_scale:float [C_zero_point]:byte=T"
)
_WINDOW = {
    "auto_pad": "STRING",
    "ceil_mode": "INT",
    "channels_last": "INT",
    "count_include_pad": "INT",
    "kernel_shape": "INTS!",
    "pads": "INTS",
    "strides": "INTS",
}

_OPERATORS: dict[str, tuple[str, str, dict[str, str]]] = {
    "DequantizeLinear": (
        "x:sources=T1 x_scale:floats=T2 [x_zero_point]:sources=T1",
        "y:floats=T2",
        {"axis": "INT"},
    ),
    "DynamicQuantizeMatMul": (
        "A:float B:byte=T b_scale:float [b_zero_point]:byte=T [bias]:float",
        "Y:float",
        {},
    ),
    "MatMulIntegerToFloat": (
        "A:byte=T1 B:byte=T2 a_scale:floats=T3 b_scale:floats=T3 [a_zero_point]:byte=T1"
        " [b_zero_point]:byte=T2 [bias]:floats=T3",
        "Y:floats=T3",
        {},
    ),
    "MatMulNBits": (
        "A:floats=T1 B:uint8 scales:floats=T1 [zero_points]:zeros [g_idx]:int32 [bias]:floats=T1",
        "Y:floats=T1",
        {
            "K": "INT!",
            "N": "INT!",
            "accuracy_level": "INT",
            "bits": "INT",
            "block_size": "INT!",
            "weight_prepacked": "INT",
        },
    ),
    "QGemm": (
        "A:byte=TA a_scale:float a_zero_point:byte=TA B:byte=TB b_scale:float b_zero_point:byte=TB"
        " [C]:int32 [y_scale]:float [y_zero_point]:byte",
        "Y:mixed",
        {"alpha": "FLOAT", "transA": "INT", "transB": "INT"},
    ),
    "QLinearAdd": (_BINARY, "C:byte=T", {}),
    "QLinearAveragePool": (f"X:byte=T {_PARAMETERS} [y_zero_point]:byte=T", "Y:byte=T", _WINDOW),
    "QLinearConcat": (
        "Y_scale:float Y_zero_point:byte=T *inputs:mixed",
        "Y:byte=T",
        {"axis": "INT!"},
    ),
    "QLinearGlobalAveragePool": (
        "X:byte=T x_scale:float x_zero_point:byte=T y_scale:float y_zero_point:byte=T",
        "Y:byte=T",
        {"channels_last": "INT"},
    ),
    "QLinearLeakyRelu": (
        f"X:byte=T {_PARAMETERS} [y_zero_point]:byte=T",
        "Y:byte=T",
        {"alpha": "FLOAT"},
    ),
    "QLinearMul": (_BINARY, "C:byte=T", {}),
    "QLinearSigmoid": (f"X:byte=T {_PARAMETERS} [y_zero_point]:byte=T", "Y:byte=T", {}),
    "QLinearSoftmax": (
        f"X:byte=T {_PARAMETERS} y_zero_point:byte=T",
        "Y:byte=T",
        {"axis": "INT", "opset": "INT!"},
    ),
    "QuantizeLinear": (
        "x:floats=T1 y_scale:floats=T1 [y_zero_point]:small=T2",
        "y:small=T2",
        {"axis": "INT"},
    ),
}
"""Operator -> inputs, output, attributes; an exclamation mark says that one must be there."""

_FORMAL = re.compile(r"(?P<name>[\w\[\]*]+):(?P<types>\w+)(=(?P<param>\w+))?")


def find_contrib_schema(op: str) -> Schema | None:
    """The schema of `op` in the domain com.microsoft, None where luthier does not know it.

    Examples
    --------
    >>> find_contrib_schema("QLinearAdd").input_counts
    range(7, 9)
    """
    if op not in _OPERATORS:
        return None
    inputs, output, attributes = _OPERATORS[op]
    formals = tuple(_formal(text) for text in inputs.split())
    least = max(i for i, f in enumerate(formals) if f.needed or f.variadic) + 1
    most = MANY if formals[-1].variadic else len(formals)
    return Schema(
        inputs=formals,
        outputs=(_formal(output),),
        input_counts=range(least, most + 1),
        output_counts=range(1, 2),
        attributes={
            k: AttributeProto.AttributeType.Value(v.rstrip("!")) for k, v in attributes.items()
        },
        required=tuple(k for k, v in attributes.items() if v.endswith("!")),
        deprecated=False,
    )


def _formal(text: str) -> Formal:
    match = _FORMAL.fullmatch(text)
    assert match is not None, text
    name, types, param = match["name"], match["types"], match["param"]
    return Formal(
        name=name.strip("[]*"),
        param=param or name,
        dtypes=dtypes_of(f"tensor({t})" for t in _TYPES[types]),
        needed=name[0] not in "[*",
        variadic=name[0] == "*",
        uniform=param is not None,
    )
