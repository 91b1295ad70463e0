"""Tensors of a model file become NumPy arrays; their claims are checked before memory is taken."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from luthier import limits
from luthier.errors import InvalidModelError, UnsupportedError
from luthier.graph.ops.common import quote
from luthier.graph.ops.dtypes import numpy_dtype

_BITS = {
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
    getattr(TensorProto, "FLOAT4E2M1", -1): 4,
    getattr(TensorProto, "INT2", -1): 2,
    getattr(TensorProto, "UINT2", -1): 2,
}
_COMPLEX = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)


def elem_dtype(elem_type: int, what: str) -> np.dtype:
    """The NumPy dtype of an ONNX element type.

    Raises
    ------
    InvalidModelError
        If there is no such type; `what` names the tensor in the message.
    """
    dtype = numpy_dtype(elem_type)
    if dtype is None:
        raise InvalidModelError(f"{what}: unknown element type {elem_type}")
    return dtype


def to_proto(array: np.ndarray, name: str) -> TensorProto:
    """`array`, of any strides, as a TensorProto."""
    return numpy_helper.from_array(np.asarray(array, order="C"), name)


class TensorReader:
    """Reads the tensors of one model, and the files beside it that hold their data.

    Parameters
    ----------
    folder : Path or None
        Where external data may lie; None where there is no folder (a model from memory).
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._files: dict[str, np.ndarray] = {}
        self._total = 0

    def read(self, tensor: TensorProto, what: str) -> np.ndarray:
        """The tensor's content as a read-only array, without a copy where possible.

        Parameters
        ----------
        tensor : onnx.TensorProto
        what : str
            How to name the tensor in messages.

        Raises
        ------
        InvalidModelError
            If the data present are not what dims and type declare, or break a limit.
        UnsupportedError
            If the tensor is split into segments.
        """
        dtype = elem_dtype(tensor.data_type, what)
        dims = tuple(tensor.dims)
        if len(dims) > limits.MAX_RANK:
            raise InvalidModelError(f"{what}: {len(dims)} dimensions, at most {limits.MAX_RANK}")
        if any(d < 0 for d in dims):
            raise InvalidModelError(f"{what}: negative dimension in {list(dims)}")
        if tensor.HasField("segment"):
            raise UnsupportedError(f"{what}: segmented tensors are not supported")
        count = math.prod(dims)
        size = _packed_bytes(count, tensor.data_type, dtype)
        self._total += size
        if size > limits.MAX_TENSOR_BYTES or self._total > limits.MAX_MODEL_BYTES:
            raise InvalidModelError(f"{what}: shape {list(dims)} of {dtype} is too large")
        external = tensor.data_location == TensorProto.EXTERNAL
        if external or tensor.HasField("raw_data"):
            if dtype.hasobject:
                raise InvalidModelError(f"{what}: strings as raw data")
            data = self._external(tensor, size, what) if external else tensor.raw_data
            if len(data) != size:
                raise InvalidModelError(
                    f"{what}: shape {list(dims)} of {dtype} needs {size} bytes, {len(data)} present"
                )
            if tensor.data_type not in _BITS:
                array = np.frombuffer(data, dtype, count)
                aligned = array if array.flags.aligned else array.copy()
                return _frozen(aligned.reshape(dims))
            packed = onnx.TensorProto(dims=dims, data_type=tensor.data_type, raw_data=bytes(data))
            return _frozen(numpy_helper.to_array(packed))
        return _frozen(_typed(tensor, count, what))

    def _external(self, tensor: TensorProto, size: int, what: str) -> np.ndarray:
        """The bytes of a tensor that lie in a file beside the model."""
        entries = {e.key: e.value for e in tensor.external_data}
        location = entries.get("location", "")
        if self._folder is None:
            raise InvalidModelError(f"{what}: external data in a model that is not a file")
        try:
            offset = int(entries.get("offset", "0"))
            length = int(entries.get("length", size))
        except ValueError:
            raise InvalidModelError(f"{what}: external offset or length is no number") from None
        data = self._map(location, what)
        if offset < 0 or length != size or offset + length > data.size:
            raise InvalidModelError(
                f"{what}: needs {size} bytes, external data have {length} at offset {offset}"
                f" of {data.size} bytes"
            )
        return data[offset : offset + length]

    def _map(self, location: str, what: str) -> np.ndarray:
        """The file `location`, mapped once; it must lie inside the model's folder."""
        assert self._folder is not None
        if location not in self._files:
            root = os.path.realpath(self._folder)
            outside = not location or "\0" in location or Path(location).is_absolute()
            path = root if outside else os.path.realpath(Path(root, location))
            if outside or os.path.commonpath([root, path]) != root:
                raise InvalidModelError(
                    f"{what}: external data {quote(location)} lie outside the model's folder"
                )
            if not Path(path).is_file():
                raise InvalidModelError(f"{what}: no external data file {quote(location)}")
            try:
                empty = Path(path).stat().st_size == 0
                mapped = np.zeros(0, np.uint8) if empty else np.memmap(path, np.uint8, "r")
            except OSError as error:
                reason = error.strerror or "cannot be mapped"
                raise InvalidModelError(f"{what}: external data: {reason}") from None
            self._files[location] = np.asarray(mapped)
        return self._files[location]


def _packed_bytes(count: int, elem_type: int, dtype: np.dtype) -> int:
    if elem_type in _BITS:
        return -(-count * _BITS[elem_type] // 8)
    return count * (1 if dtype.hasobject else dtype.itemsize)


def _typed(tensor: TensorProto, count: int, what: str) -> np.ndarray:
    """A tensor whose elements are in one of the typed fields."""
    field = helper.tensor_dtype_to_field(tensor.data_type)
    present = len(getattr(tensor, field))
    entries = count * 2 if tensor.data_type in _COMPLEX else count
    if tensor.data_type in _BITS:
        entries = -(-count * _BITS[tensor.data_type] // 8)
    if present != entries:
        raise InvalidModelError(
            f"{what}: shape {list(tensor.dims)} needs {entries} entries, {present} present"
        )
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, OverflowError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidModelError(f"{what}: {reason}") from None


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
