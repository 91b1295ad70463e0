"""The ONNX importer: files become graphs. The only package that imports `onnx`."""

from __future__ import annotations

from luthier.graph import reference
from luthier.onnx_frontend import evaluate
from luthier.onnx_frontend.importer import load
from luthier.onnx_frontend.vectors import load_tensor, save_tensor

__all__ = ["load", "load_tensor", "save_tensor"]

reference.install(evaluate)
