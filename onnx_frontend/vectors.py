"""Stored tensors: files that hold one serialized TensorProto, as ONNX test data have them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from luthier import limits
from luthier.errors import ArgumentError, InvalidModelError
from luthier.graph.ops.common import quote
from luthier.onnx_frontend.tensors import TensorReader, to_proto


def load_tensor(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one tensor.

    Parameters
    ----------
    path : path
        A ``.pb`` file with a serialized TensorProto.

    Returns
    -------
    numpy.ndarray
        Read-only.

    Raises
    ------
    ArgumentError
        If the file cannot be read.
    InvalidModelError
        If it holds no tensor, or not the data that it declares.

    Examples
    --------
    >>> load_tensor("test_data_set_0/input_0.pb").shape
    (1, 3, 224, 224)
    """
    path = Path(path)
    try:
        if path.stat().st_size > limits.MAX_TENSOR_BYTES:
            raise InvalidModelError(f"{path.name}: larger than {limits.MAX_TENSOR_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise ArgumentError(f"cannot read {quote(str(path))}: {error.strerror}") from None
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(data)
    except DecodeError:
        raise InvalidModelError(f"{path.name}: not a serialized tensor, or cut short") from None
    if not data or not tensor.data_type:
        raise InvalidModelError(f"{path.name}: holds no tensor")
    return TensorReader(path.absolute().parent).read(tensor, path.name)


def save_tensor(path: str | os.PathLike[str], array: np.ndarray, name: str = "") -> None:
    """Write `array` as a serialized TensorProto that `load_tensor` reads.

    Parameters
    ----------
    path : path
    array : numpy.ndarray
        Of any shape and any dtype that ONNX has.
    name : str
        Kept in the file.
    """
    Path(path).write_bytes(to_proto(array, name).SerializeToString())
