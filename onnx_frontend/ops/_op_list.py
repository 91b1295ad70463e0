"""The explicit list: operator -> (first opset with the new form, what makes the old one new)."""

from __future__ import annotations

from collections.abc import Callable

from luthier.graph.ir import Node
from luthier.onnx_frontend.names import Names
from luthier.onnx_frontend.ops import (
    attributes,
    batch_norm,
    dropout,
    group_norm,
    loop,
    resize,
    softmax,
)

Step = Callable[[Node, Names], list[Node] | None]

_ALWAYS = 1 << 30
"""For operators that are rewritten whatever the opset."""

_AXES_18 = ((18, attributes.ints_to_inputs("axes")),)

UPGRADES: dict[str, tuple[tuple[int, Step], ...]] = {
    "BatchNormalization": ((9, batch_norm.spatial), (14, batch_norm.inference)),
    "Clip": ((11, attributes.scalars_to_inputs("min", "max")),),
    "DFT": ((20, attributes.dft_axis),),
    "Dropout": ((10, dropout.mask), (12, attributes.scalars_to_inputs("ratio"))),
    "GridSample": ((20, attributes.grid_sample_mode),),
    "GroupNormalization": ((21, group_norm.per_channel),),
    "Hardmax": ((13, softmax.flattened),),
    "LogSoftmax": ((13, softmax.flattened),),
    "Loop": ((_ALWAYS, loop.explicit),),
    "Pad": ((11, attributes.pad),),
    "ReduceL1": _AXES_18,
    "ReduceL2": _AXES_18,
    "ReduceLogSum": _AXES_18,
    "ReduceLogSumExp": _AXES_18,
    "ReduceMax": _AXES_18,
    "ReduceMean": _AXES_18,
    "ReduceMin": _AXES_18,
    "ReduceProd": _AXES_18,
    "ReduceSum": ((13, attributes.ints_to_inputs("axes")),),
    "ReduceSumSquare": _AXES_18,
    "Resize": ((11, resize.opset_10), (13, resize.opset_11)),
    "RoiAlign": ((16, attributes.roi_align_mode),),
    "Scan": ((9, attributes.refuse("the form of opset 8 has a batch axis")),),
    "Scatter": ((_ALWAYS, attributes.rename("ScatterElements")),),
    "Slice": ((10, attributes.ints_to_inputs("starts", "ends", "axes")),),
    "Softmax": ((13, softmax.flattened),),
    "Split": ((13, attributes.ints_to_inputs("split")), (18, attributes.split_count)),
    "Squeeze": ((13, attributes.ints_to_inputs("axes")),),
    "TopK": ((10, attributes.top_k),),
    "Unsqueeze": ((13, attributes.ints_to_inputs("axes")),),
    "Upsample": ((_ALWAYS, resize.upsample),),
}
