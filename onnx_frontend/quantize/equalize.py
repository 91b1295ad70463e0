"""Cross-layer equalisation: output channels of one layer get ranges like those of the next.

Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through
Weight Equalization and Bias Correction", ICCV 2019, section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from luthier.onnx_frontend.quantize.editor import Editor, attribute
from luthier.onnx_frontend.quantize.select import bounds

__all__ = ["equalize"]

_ROUNDS = 40
_CLOSE = 1e-3


@dataclass
class _Pair:
    """Two convolutions, the second of which alone reads the first, perhaps through a Relu."""

    first: NodeProto
    second: NodeProto
    clip: NodeProto | None


def equalize(editor: Editor) -> int:
    """Equalise the channels between convolutions that follow each other.

    With the positive numbers s: ``W1 / s``, ``b1 / s`` and ``W2 * s`` compute the same, as long as
    what lies between is linear for positive factors. A Clip from 0 to a positive number is not;
    as in the paper, it becomes a Relu where it lies between a pair, which changes the model where
    it would have cut numbers off.

    Returns
    -------
    int
        How many pairs there are.
    """
    pairs = _pairs(editor)
    for pair in pairs:
        if pair.clip is not None:
            pair.clip.op_type = "Relu"
            del pair.clip.input[1:]
        for node in (pair.first, pair.second):
            for i in range(1, len(node.input)):
                data = editor.constants[node.input[i]]  # a copy of its own, if others share it
                node.input[i] = editor.add_constant(f"{node.input[i]}_equalized", data)
    for _ in range(_ROUNDS):
        if not any([_balance(editor, pair) for pair in pairs]):
            break
    return len(pairs)


def _pairs(editor: Editor) -> list[_Pair]:
    readers, pairs = editor.readers(), []
    for first in editor.nodes:
        if not _is_conv(editor, first) or len(readers.get(first.output[0], ())) != 1:
            continue
        last, clip = first, None
        after = readers[first.output[0]][0]
        low, high = bounds(editor, after) or (0.0, 0.0)
        if low == 0 and high > 0:
            last, clip = after, after if after.op_type == "Clip" else None
        after_last = readers.get(last.output[0], [])
        if {first.output[0], last.output[0]} & set(editor.outputs) or len(after_last) != 1:
            continue
        second = after_last[0]
        if _is_conv(editor, second) and second.input[0] == last.output[0]:
            group, inner = attribute(second, "group", 1), editor.constants[second.input[1]].shape[1]
            if group == 1 or inner == 1:
                pairs.append(_Pair(first, second, clip))
    return pairs


def _is_conv(editor: Editor, node: NodeProto) -> bool:
    return (
        node.op_type == "Conv"
        and not node.domain
        and all(name in editor.constants for name in node.input[1:] if name)
        and editor.constants[node.input[1]].dtype == np.float32
    )


def _balance(editor: Editor, pair: _Pair) -> bool:
    """Give both layers of a pair equal ranges, channel by channel; whether much changed."""
    names = pair.first.input[1], pair.second.input[1]
    w1, w2 = (editor.constants[name].astype(np.float64) for name in names)
    channels = w1.shape[0]
    depthwise = attribute(pair.second, "group", 1) != 1
    # The second layer's weights with its input channels in front.
    front = w2.reshape(channels, -1) if depthwise else np.swapaxes(w2, 0, 1).reshape(channels, -1)
    r1, r2 = np.abs(w1).reshape(channels, -1).max(axis=1), np.abs(front).max(axis=1)
    alive = (r1 > 0) & (r2 > 0)
    s = np.sqrt(np.divide(r1, r2, out=np.ones(channels), where=alive))
    ones = [1] * (w1.ndim - 1)
    editor.constants[names[0]] = (w1 / s.reshape(-1, *ones)).astype(np.float32)
    if len(pair.first.input) > 2:
        bias = pair.first.input[2]
        editor.constants[bias] = (editor.constants[bias] / s).astype(np.float32)
    spread = np.repeat(s, w2.shape[0] // channels) if depthwise else s
    shape = (-1, 1, *[1] * (w2.ndim - 2)) if depthwise else (1, -1, *[1] * (w2.ndim - 2))
    editor.constants[names[1]] = (w2 * spread.reshape(shape)).astype(np.float32)
    return bool(np.abs(s - 1).max() > _CLOSE)
