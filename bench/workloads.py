"""Workloads that stand for real models: the layers where their time goes."""

from __future__ import annotations

__all__ = ["WORKLOADS"]

WORKLOADS = {
    "resnet50 3x3": "conv2d/f32/n1c64h56w56/k64r3s3/st1.1/p1.1.1.1/d1.1/g1/epi=bias,relu/t1",
    "resnet50 7x7": "conv2d/f32/n1c3h224w224/k64r7s7/st2.2/p3.3.3.3/d1.1/g1/epi=bias,relu/t1",
    "mobilenetv2 expand": (
        "conv2d/f32/n1c24h56w56/k144r1s1/st1.1/p0.0.0.0/d1.1/g1/epi=bias,clip/t1"
    ),
    "mobilenetv2 project": (
        "conv2d/f32/n1c384h14w14/k64r1s1/st1.1/p0.0.0.0/d1.1/g1/epi=bias,residual/t1"
    ),
    "mobilenetv2 depthwise": (
        "depthwise_conv2d/f32/n1c144h56w56/r3s3/st1.1/p1.1.1.1/d1.1/epi=bias,clip/t1"
    ),
    "pplcnet depthwise 5x5": (
        "depthwise_conv2d/f32/n1c256h14w14/r5s5/st1.1/p2.2.2.2/d1.1/epi=bias,hard_swish/t1"
    ),
    "transformer mlp": "gemm/f32/b1m128n3072k768/packed/epi=bias,gelu/t1",
    "attention scores": "gemm/f32/b12m128n128k64/plain/epi=none/t1",
}
"""Name -> workload key."""
