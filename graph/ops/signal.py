"""Signal processing."""

from __future__ import annotations

from luthier.graph.ir import Node
from luthier.graph.ops.common import (
    FLOAT32,
    OpInfo,
    TensorType,
    needed_size,
    require,
    shape_of,
    typed,
)
from luthier.graph.ops.create import declared_dtype


def _window_function(node: Node) -> list[TensorType]:
    return [(declared_dtype(node, "output_datatype", FLOAT32), (needed_size(node, 0),))]


def _stft(node: Node) -> list[TensorType]:
    dtype, shape = typed(node, 0)
    require(len(shape) == 3, node, f"signal must have 3 dimensions, not {list(shape)}")
    step = needed_size(node, 1)
    if node.input(3) is not None:
        length = needed_size(node, 3)
    else:
        window = shape_of(node, 2)
        require(len(window) == 1, node, f"window must be a vector, not {list(window)}")
        length = window[0]
    fits = step > 0 and 0 < length <= shape[1]
    require(fits, node, f"frames of {length} every {step} do not fit {shape[1]} samples")
    bins = length // 2 + 1 if node.attrs.get("onesided", 1) else length
    return [(dtype, (shape[0], (shape[1] - length) // step + 1, bins, 2))]


OPS: dict[str, OpInfo] = {
    "BlackmanWindow": OpInfo(_window_function),
    "HammingWindow": OpInfo(_window_function),
    "HannWindow": OpInfo(_window_function),
    "STFT": OpInfo(_stft, keep=True),
}
