"""Why layers stay under 70 % of their roof, by kind (`luthier.bench.roofline.kind`)."""

from __future__ import annotations

__all__ = ["REASONS"]

_FEW = "few multiply-adds for each load and store, and an activation that costs as much as its taps"

REASONS: dict[str, str] = {
    "Transpose": "three planes become interleaved pixels: bound by shuffles, not by bandwidth",
    "MaxPool": "nine loads an output; the roof counts each input once",
    "chain": "several kinds of layers in one step, against the roof of multiply-adds alone",
    "conv 1x1": "few input channels: the activation of each output is a large share",
    "depthwise 3x3": _FEW,
    "depthwise 3x3 / 2": "every other pixel: loads are not shared between neighbouring outputs",
    "depthwise 5x5": _FEW,
    "depthwise 5x5 / 2": _FEW,
    "first conv 3x3": "27 products an output: the activation and the packing of rows weigh in",
    "gemm, M = 1": "weights are read once, cold: one core does not draw the whole bandwidth",
}
