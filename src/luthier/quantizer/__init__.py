"""Post-training quantisation: float32 models become int8 models of standard ONNX."""

from __future__ import annotations

from luthier.quantizer.api import LayerNoise, Outcome, quantize
from luthier.quantizer.evaluate import OutputError
from luthier.quantizer.samples import Pixels, Samples, open_samples

__all__ = [
    "LayerNoise",
    "Outcome",
    "OutputError",
    "Pixels",
    "Samples",
    "open_samples",
    "quantize",
]
