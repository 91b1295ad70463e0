"""luthier as a backend of ONNX's own backend interface (``onnx.backend.base``).

It is a client of the public API like any other program, so it stands apart from the importer:
nothing here is imported with `luthier.onnx_frontend`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

import luthier

__all__ = ["LuthierBackend", "LuthierRep"]


class LuthierRep(BackendRep):
    """A prepared model."""

    def __init__(self, session: luthier.InferenceSession) -> None:
        self.session = session

    def run(self, inputs: Sequence[Any] | Any, **kwargs: Any) -> tuple[np.ndarray, ...]:
        """Compute the outputs.

        Parameters
        ----------
        inputs : sequence of array, or one array
            In the model's order.

        Raises
        ------
        LuthierError
            As `luthier.InferenceSession.run`.
        """
        arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        names = [i.name for i in self.session.get_inputs()]
        if len(arrays) != len(names):
            raise luthier.ArgumentError(f"expected {len(names)} inputs, got {len(arrays)}")
        return tuple(self.session.run(None, dict(zip(names, arrays, strict=True))))


class LuthierBackend(Backend):
    """The interface that ONNX's backend tests and tools call.

    Examples
    --------
    >>> outputs = LuthierBackend.prepare(onnx.load("model.onnx")).run([x])  # doctest: +SKIP
    """

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> LuthierRep:
        """A model ready to run; `kwargs` are those of `luthier.InferenceSession`.

        Raises
        ------
        ArgumentError
            The device is not the CPU.
        LuthierError
            As `luthier.InferenceSession`.
        """
        if not cls.supports_device(device):
            raise luthier.ArgumentError(f"device {device!r}: luthier runs on the CPU")
        return LuthierRep(luthier.InferenceSession(model.SerializeToString(), **kwargs))

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether `prepare` takes the model."""
        try:
            cls.prepare(model, device, **kwargs)
        except luthier.LuthierError:
            return False
        return True

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Sequence[Any],
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[np.ndarray, ...]:
        """Compute one node of the newest opset; `kwargs` as for `prepare`."""
        arrays = [np.asarray(x) for x in inputs]
        names = [name for name in node.input if name]
        infos = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in zip(names, arrays, strict=True)
        ]
        results = [helper.make_empty_tensor_value_info(name) for name in node.output]
        model = helper.make_model(helper.make_graph([node], "node", infos, results))
        return cls.prepare(model, device, **kwargs).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether `device` is the CPU."""
        return Device(device).type == DeviceType.CPU
