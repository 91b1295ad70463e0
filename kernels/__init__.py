"""C kernels on NumPy arrays, and what tuning needs to know of them.

Names are loaded at first use: `import luthier.kernels` alone costs nothing.
"""

from __future__ import annotations

from luthier.lazy import lazy_names

_HOME = {
    "ACTIVATIONS": "workload",
    "Chain": "workload",
    "Conv2d": "workload",
    "DepthwiseConv2d": "workload",
    "Gemm": "workload",
    "Precision": "workload",
    "QConv2d": "workload",
    "QDepthwiseConv2d": "workload",
    "QGemm": "workload",
    "Workload": "workload",
    "Requant": "requant",
    "Residual": "requant",
    "qconv2d": "quant",
    "qdepthwise_conv2d": "quant",
    "qgemm": "quant",
    "conv2d": "linear",
    "depthwise_conv2d": "linear",
    "gemm": "linear",
    "gemm_nbits": "nbits",
    "lstm": "recurrent",
    "Space": "spaces",
    "default_config": "spaces",
    "space": "spaces",
    "Check": "runner",
    "Runner": "runner",
    "binary": "elementwise",
    "cast": "elementwise",
    "layer_norm": "elementwise",
    "lrn": "elementwise",
    "reduce": "elementwise",
    "softmax": "elementwise",
    "unary": "elementwise",
    "where": "elementwise",
    "dequantize_linear": "qelementwise",
    "dynamic_quantize_linear": "qelementwise",
    "lookup": "qelementwise",
    "qlinear_add": "qelementwise",
    "qlinear_mul": "qelementwise",
    "qlinear_softmax": "qelementwise",
    "quantize_linear": "qelementwise",
    "avg_pool2d": "pooling",
    "max_pool2d": "pooling",
    "qlinear_global_avg_pool": "pooling",
    "qlinear_avg_pool2d": "pooling",
    "concat": "tensor",
    "pad": "tensor",
    "resize_linear": "tensor",
    "take": "tensor",
    "transpose": "tensor",
    "isas": "cpu",
    "native_target": "cpu",
    "usable_cores": "cpu",
}
"""Public name -> the module that defines it."""

__all__ = sorted(_HOME)

__getattr__, __dir__ = lazy_names(__name__, _HOME)
