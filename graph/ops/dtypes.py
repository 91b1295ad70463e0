"""ONNX element types and NumPy dtypes."""

from __future__ import annotations

from functools import cache

import numpy as np

_NUMPY = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "object",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
}

_ML_DTYPES = {
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
    24: "float8_e8m0fnu",
    25: "uint2",
    26: "int2",
}


@cache
def numpy_dtype(elem_type: int) -> np.dtype | None:
    """The NumPy dtype of an ONNX element type (TensorProto.DataType), None if there is none.

    Strings are ``object``. The types that NumPy lacks come from ml_dtypes.

    Examples
    --------
    >>> numpy_dtype(1)
    dtype('float32')
    """
    if elem_type in _NUMPY:
        return np.dtype(_NUMPY[elem_type])
    if elem_type in _ML_DTYPES:
        import ml_dtypes

        scalar = getattr(ml_dtypes, _ML_DTYPES[elem_type], None)
        return None if scalar is None else np.dtype(scalar)
    return None


def onnx_elem_type(dtype: np.dtype) -> int:
    """The ONNX element type of a NumPy dtype.

    Raises
    ------
    ValueError
        If ONNX has no such type.
    """
    for elem_type in (*_NUMPY, *_ML_DTYPES):
        if numpy_dtype(elem_type) == dtype:
            return elem_type
    raise ValueError(f"ONNX has no element type for {dtype}")
