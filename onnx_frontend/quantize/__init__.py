"""Quantisation of ONNX models, as far as it is about models: what is rewritten, and how.

Running models, and so calibration, is above: `luthier.quantizer`.
"""

from __future__ import annotations

from luthier.onnx_frontend.quantize.correct import error_probes, shift_biases
from luthier.onnx_frontend.quantize.editor import Editor
from luthier.onnx_frontend.quantize.equalize import equalize
from luthier.onnx_frontend.quantize.params import QParams, activation_params
from luthier.onnx_frontend.quantize.prepare import prepare
from luthier.onnx_frontend.quantize.save import save
from luthier.onnx_frontend.quantize.select import PASSING, Selection, select
from luthier.onnx_frontend.quantize.write import FORMATS, Quantized, quantize_alone, write

__all__ = [
    "FORMATS",
    "PASSING",
    "Editor",
    "QParams",
    "Quantized",
    "Selection",
    "activation_params",
    "equalize",
    "error_probes",
    "prepare",
    "quantize_alone",
    "save",
    "select",
    "shift_biases",
    "write",
]
