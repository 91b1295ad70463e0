"""Bias correction: rounding weights shifts the mean of a layer's output, and biases take it back.

Source: M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-Free Quantization Through
Weight Equalization and Bias Correction", ICCV 2019, section 4.2: the shift is the error of the
weights times the mean input. Here it is measured on the calibration data.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import NodeProto

from luthier.onnx_frontend.quantize.editor import Editor
from luthier.onnx_frontend.quantize.params import QParams
from luthier.onnx_frontend.quantize.select import Selection
from luthier.onnx_frontend.quantize.write import linear_weights

__all__ = ["error_probes", "shift_biases"]


def error_probes(
    editor: Editor, selection: Selection, params: Mapping[str, QParams], per_channel: bool
) -> tuple[Editor, dict[str, str]]:
    """A float model that also computes what the rounding of weights adds to each layer.

    Returns
    -------
    model : Editor
    probes : dict of str to str
        For each Conv and Gemm that is quantised, by name, a tensor of it: the layer applied to
        the float input with the weights' errors as weights and without a bias.
    """
    model, probes = editor.copy(), {}
    for node in editor.nodes:
        if node.name not in selection.nodes or node.op_type not in ("Conv", "Gemm"):
            continue
        x = params[selection.tensors[node.input[0]]]
        error = (
            linear_weights(editor, node, x, per_channel).real() - editor.constants[node.input[1]]
        )
        probe = NodeProto()
        probe.CopyFrom(node)
        del probe.input[1:]
        stem = f"{node.name}_error"
        probe.input.append(model.add_constant(f"{stem}_weights", error.astype(np.float32)))
        probe.name = probe.output[0] = probes[node.name] = model.fresh(stem)
        model.nodes.append(probe)
    return model, probes


def shift_biases(editor: Editor, shifts: Mapping[str, np.ndarray]) -> None:
    """Subtract from the bias of each node, by name, the mean error of its output channels."""
    for node in editor.nodes:
        if node.name not in shifts:
            continue
        bias = editor.constant(node, 2)
        old = 0.0 if bias is None else bias.reshape(-1)
        name = editor.add_constant(
            f"{node.name}_corrected_bias", (old - shifts[node.name]).astype(np.float32)
        )
        del node.input[2:]
        node.input.append(name)
