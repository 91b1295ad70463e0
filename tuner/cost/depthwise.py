"""Cycles of depthwise convolutions, of float32 and of bytes, by part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from luthier.kernels.workload import DepthwiseConv2d, QDepthwiseConv2d
from luthier.target import Target
from luthier.tuner.cost.blocks import busiest
from luthier.tuner.cost.core import core_of, lanes
from luthier.tuner.cost.products import ACTIVATIONS, FORK_CYCLES, TILE_CYCLES
from luthier.tuner.cost.traffic import traffic_of

__all__ = ["depthwise_parts"]

BYTE_LANES = 32
"""Bytes of a vector of qdepthwise_conv2d's register tiles."""


def depthwise_parts(
    w: DepthwiseConv2d | QDepthwiseConv2d, config: Mapping[str, Any], target: Target
) -> dict[str, float]:
    """Cycles by part of the thread that has most to do: rows of the output are tasks.

    A register tile of `owt` pixels loads each vector of the input once for all of its pixels, and
    the weights of a row of the window once; without one every tap loads both.
    """
    isa, threads = config["isa"], max(1, config["threads"])
    core, quantised = core_of(target, isa), isinstance(w, QDepthwiseConv2d)
    special, owt, cv = config["special"], config["owt"], config.get("cv", 1)
    width = (BYTE_LANES if special else lanes(isa)) if quantised else lanes(isa)
    size = 1.0 if quantised else 4.0
    lines = w.n * w.oh
    tasks = -(-lines // max(1, lines // (4 * threads)))
    share = busiest(tasks, threads) / tasks if tasks else 1.0
    edge = (
        0 if quantised else min(w.ow, -(-w.pads[1] // w.strides[1]) + -(-w.pads[3] // w.strides[1]))
    )
    inside = w.ow - edge if special else 0
    blocks = -(-w.c // config["cb"])
    channels = -(-min(config["cb"], w.c) // width) * blocks
    finish = 1.0 + (6.0 if quantised else ACTIVATIONS.get(w.activation, 1.0))
    products = (4.0 if isa in ("avxvnni", "avx512vnni") else 8.0) / 3 if quantised else 1.0

    def pixels(count: int, height: int, vectors: float, alone: bool) -> float:
        """Of tiles of `height` pixels that make up `count`, one row of the window each."""
        loads = 2.0 * w.s * height if alone else w.s + (height - 1) * w.strides[1] + w.s
        sums = w.s * height * products
        chains = height * (min(4, channels) if alone else cv)
        if core.in_order:
            step = sums / core.fmas + loads * core.load_cycles
        else:
            step = max(
                sums / core.fmas,
                loads / core.loads,
                (sums + loads + 4) / core.issue,
                core.latency * w.s * height / chains,
            )
        return count / height * vectors * step * w.r

    compute = pixels(w.ow - inside, 1, channels, True)
    tile_count = (w.ow - inside) * blocks
    if inside:
        wide = -(-inside // owt)
        compute += pixels(inside, inside / wide, channels, False)
        tile_count += wide * -(-channels // cv)
    traffic = traffic_of(target, isa, threads)
    image = w.n * w.h * w.w * w.c * size
    block = min(config["cb"], w.c) * size
    rows = lines * share * blocks
    # A row of the window stays until the next row of the output, if all of them fit.
    line = w.w * block
    traffic.add(image * share, image)
    again = max(0, w.r - w.strides[0]) * line * rows
    traffic.add(again, w.r * w.w * w.c * size)
    traffic.add(max(0, w.r - 1) * line * rows, w.r * line + w.r * w.s * block)
    weights = w.r * w.s * block
    tiles_a_row = -(-w.ow // max(1, owt))
    traffic.add(weights * rows * tiles_a_row, weights + w.r * (owt + w.s) * block)
    traffic.add(w.n * w.oh * w.ow * w.c * size * share, w.n * w.oh * w.ow * w.c * size)
    stores = w.ow * channels * finish / min(2.0, core.fmas)
    return {
        "compute": compute * lines * share,
        "tiles": (tile_count * TILE_CYCLES + stores) * lines * share,
        "near": traffic.near,
        "far": traffic.far,
        "memory": traffic.memory,
        "forks": FORK_CYCLES if threads > 1 else 0.0,
    }
