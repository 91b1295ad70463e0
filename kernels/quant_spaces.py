"""Search spaces of qgemm and qconv2d; `luthier.kernels.spaces` passes them on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from luthier.kernels import _kernels
from luthier.kernels.requant import BLOCK
from luthier.kernels.spaces import (
    _algorithms,
    _default_rows,
    _l2,
    _row_blocks,
    _split_columns,
    _splits,
    _upto,
)
from luthier.kernels.workload import QConv2d, QDepthwiseConv2d
from luthier.target import Target

__all__ = ["TILES", "candidates", "default_config", "int8_isas"]

Config = dict[str, Any]
QWorkload = Any
"""A QGemm, QConv2d or QDepthwiseConv2d."""

TILES: dict[str, dict[int, tuple[int, ...]]] = {
    "avx512vnni": {1: (7, 14), 2: (4, 6, 7, 8, 10, 12, 14), 3: (4, 7, 8), 4: (2, 4, 6)},
    "avx512": {1: (7, 14), 2: (4, 6, 7, 8, 10, 12, 14), 3: (4, 7, 8), 4: (2, 4, 6)},
    "avxvnni": {1: (6, 8), 2: (3, 4, 5, 6), 3: (2, 3, 4)},
    "avx2": {1: (6, 8), 2: (3, 4, 5, 6), 3: (2, 3, 4)},
    "neon": {1: (4, 8), 2: (4, 6, 7), 4: (3, 4)},
    "neonmull": {1: (4, 8), 2: (4, 6), 4: (2, 3, 4)},
    "neondot": {1: (4, 8), 2: (4, 6, 7, 8), 3: (4, 6), 4: (3, 4)},
    "neoni8mm": {1: (4, 8), 2: (4, 6, 8), 3: (4, 6), 4: (4,)},
    "scalar": {1: (2, 4), 2: (2, 4)},
}
"""Register tiles offered: vectors of columns -> rows. `qgemm.variants.h` lists what exists."""

DEPTHWISE_TILES = {"avx2": (1, 2), "avxvnni": (1, 2), "avx512": (2, 3, 4), "avx512vnni": (2, 3, 4)}
DEPTHWISE_TILES["neon"] = (2, 3, 4)
"""Pixels in a register tile of qdepthwise_conv2d; the others have only the kernel of any window."""

_NEEDS = {
    "scalar": ("scalar", ""),
    "avx2": ("avx2", ""),
    "avx512": ("avx512", ""),
    "avxvnni": ("avx2", "avxvnni"),
    "avx512vnni": ("avx512", "avx512vnni"),
    "neon": ("neon", ""),
    "neonmull": ("neon", ""),
    "neondot": ("neon", "asimddp"),
    "neoni8mm": ("neon", "i8mm"),
}
"""Instruction set of the int8 kernels, the best last -> that of a target, and its feature."""

_BYTES = {"avxvnni": 4, "avx512vnni": 4, "neonmull": 4, "neondot": 4, "neoni8mm": 8}
"""Those that multiply bytes -> k in a group; the others copy A to 16 bits, and have two."""

_RATE = {"avx2": 1.3, "avx512": 1.0, "avxvnni": 2, "avx512vnni": 2, "neonmull": 0.67, "neon": 1}
"""Groups times vectors a cycle; where nothing is said, 2."""


def int8_isas(target: Target, w: QWorkload) -> tuple[str, ...]:
    """Instruction sets whose kernels are exact for the workload, the best last."""
    found = [
        isa
        for isa, (base, feature) in _NEEDS.items()
        if base in target.isas and (not feature or feature in target.features)
    ]
    if w.wt == "s16":
        found = [isa for isa in found if isa not in _BYTES]
    elif w.wt == "s8m":
        found = [isa for isa in found if isa != "neonmull"]
    return tuple(found)


def _offered(target: Target, w: QWorkload) -> tuple[str, ...]:
    """The best instruction set worth a try, and the next vector one below it, best first."""
    return tuple(reversed([i for i in int8_isas(target, w) if i != "scalar"][-2:])) or ("scalar",)


def _columns(w: QWorkload) -> int:
    return w.k // w.groups if isinstance(w, QConv2d) else w.n


def _depth(w: QWorkload) -> int:
    return w.r * w.s * w.c // w.groups if isinstance(w, QConv2d) else w.k


def _tiles(w: QWorkload, target: Target) -> Iterator[Config]:
    """Register tiles that are not wider than the columns need."""
    for isa in _offered(target, w):
        vectors = max(1, -(-_columns(w) // _kernels.isa_lanes(isa)))
        for nv, rows in TILES[isa].items():
            if nv <= vectors:
                for mr in rows:
                    yield {"isa": isa, "mr": mr, "nv": nv}


def candidates(w: QWorkload, target: Target) -> Iterator[Config]:
    """Every legal config of the space."""
    if isinstance(w, QDepthwiseConv2d):
        yield from _depthwise_candidates(w, target)
        return
    for base in _tiles(w, target):
        if not isinstance(w, QConv2d):
            yield from _gemm_blocks(w, target, base)
        else:
            for algo in _algorithms(w, 0.0):
                yield from _conv_blocks(w, target, algo, base)


def _gemm_blocks(w: QWorkload, target: Target, base: Config) -> Iterator[Config]:
    width = base["nv"] * _kernels.isa_lanes(base["isa"])
    packs = (0, 1) if base["isa"] in _BYTES else (1,)
    for threads, split_n in _splits(w):
        rows = [b for b in (48, 192) if b < w.m and b * w.k <= _l2(target)] + [max(1, w.m)]
        columns = _upto(tuple(b for b in (128, 512) if width <= b), w.n)
        for mc, nc, pack_a in itertools.product(rows, columns, packs):
            if threads > 1 and -(-w.m // mc) * -(-w.n // nc) * w.batch < 2:
                continue
            blocks = {"mc": mc, "nc": nc, "pack_a": pack_a, "split_n": split_n}
            yield {**base, **blocks, "threads": threads}


def _conv_blocks(w: QWorkload, target: Target, algo: str, base: Config) -> Iterator[Config]:
    columns = _columns(w)
    width = base["nv"] * _kernels.isa_lanes(base["isa"])
    rows = w.n * w.oh if algo == "direct" else w.n * w.oh * w.ow
    for threads, split_n in _splits(w):
        for nc in [b for b in (64, 256) if width <= b < columns] + [columns]:
            # A quarter of the bytes of fp32: the same cache holds four times as many k.
            for mc in _row_blocks(w, target, algo, max(1, _depth(w) // 4), threads):
                if threads > 1 and -(-rows // mc) * -(-columns // nc) * w.groups < 2:
                    continue
                blocks = {"mc": mc, "nc": nc, "split_n": split_n}
                yield {"algo": algo, **base, **blocks, "threads": threads}


def default_config(w: QWorkload, target: Target) -> Config:
    """The config used for a workload that was never tuned: the best by a simple cost model."""
    if isinstance(w, QDepthwiseConv2d):
        return _default_depthwise(w, target)
    return min(_analytic(w, target), key=lambda c: _cycles(w, c, target))


def _analytic(w: QWorkload, target: Target) -> Iterator[Config]:
    threads = w.threads if w.flops > 800_000 else 1
    k = max(1, _depth(w) // 4)
    for base in _tiles(w, target):
        width = base["nv"] * _kernels.isa_lanes(base["isa"])
        if not isinstance(w, QConv2d):
            mc, split_n = _default_rows(w.m, k, base["mr"], _l2(target), threads, w.batch)
            nc = max(1, _split_columns(w.n, width, threads) if split_n else w.n)
            pack_a = 0 if base["isa"] in _BYTES else 1
            blocks = {"mc": mc, "nc": nc, "pack_a": pack_a, "split_n": split_n}
            yield {**base, **blocks, "threads": threads}
            continue
        columns = _columns(w)
        for algo in _algorithms(w, 0.0):
            if algo == "direct":
                mc, split_n = max(1, w.oh // (4 * threads)), 0
                if threads > 1 and w.oh * w.n < 2 * threads:
                    mc, split_n = w.oh, 1
            else:
                pointwise = algo == "pointwise"
                pixels = w.oh * w.ow * (w.n if pointwise else 1)
                cache = _l2(target) if pointwise else _l2(target) // 4
                mc, split_n = _default_rows(pixels, k, base["mr"], cache, threads, 1)
            nc = _split_columns(columns, width, threads) if split_n else columns
            blocks = {"mc": mc, "nc": nc, "split_n": split_n}
            yield {"algo": algo, **base, **blocks, "threads": threads}


def _cycles(w: QWorkload, config: Config, target: Target) -> float:
    """Rough cycles: issue of products and loads per group of k, the epilogue, and copies."""
    isa, mr, nv = config["isa"], config["mr"], config["nv"]
    lanes, group = _kernels.isa_lanes(isa), _BYTES.get(isa, 2)
    columns, k = _columns(w), _depth(w)
    copied, segments = isa not in _BYTES, 1
    if not isinstance(w, QConv2d):
        rows, lines = w.m, w.batch
        copy = rows * k / 16 if copied or config["pack_a"] else 0.0
    else:
        direct = config["algo"] == "direct"
        rows, lines = (w.ow, w.n * w.oh) if direct else (w.n * w.oh * w.ow, 1)
        copy = 0.0
        if direct:
            segments = w.r * (1 if w.groups == 1 and w.dilations[1] == 1 else w.s)
            if copied or any(w.pads):
                copy = w.n * w.h * (w.w * w.c / 16 + 10)
        elif config["algo"] == "im2col" or copied:
            runs = w.r * (1 if w.groups == 1 and w.dilations[1] == 1 else w.s)
            copy = rows * (k / 16 + 8 * runs) * w.groups
    groups = segments * -(-(k // segments) // group)
    rate = _RATE.get(isa, 2.0)
    if lanes == 16 and target.core.startswith("amd-25"):
        rate /= 2  # 512-bit operations in two passes
    tiles = -(-rows // mr)
    low, more = divmod(rows, tiles) if tiles else (0, 0)
    full, rest = divmod(-(-columns // lanes), nv)
    total = 0.0
    for vectors, panels in ((nv, full), (rest, 1)):
        if vectors and panels:
            for count, height in ((tiles - more, low), (more, low + 1)):
                step = max(height * vectors / rate, (height + vectors) / 2, 2.0)
                end = 6 * height * vectors / rate + 20
                total += panels * count * (step * groups + 4 * segments + end)
    return lines * total * (w.groups if isinstance(w, QConv2d) else 1) + copy


# -- depthwise -----------------------------------------------------------------------------------


def _has_tiles(w: QDepthwiseConv2d) -> bool:
    windowed = w.s in (3, 5) and w.r <= 7 and w.strides[1] in (1, 2) and w.dilations[1] == 1
    return windowed and w.c >= BLOCK


def _tile_isas(w: QDepthwiseConv2d, target: Target) -> list[str]:
    """Instruction sets that have register tiles for the workload, the best last."""
    return [isa for isa in int8_isas(target, w) if isa in DEPTHWISE_TILES and _has_tiles(w)]


def _depthwise_candidates(w: QDepthwiseConv2d, target: Target) -> Iterator[Config]:
    for threads, cb in itertools.product(dict.fromkeys((1, w.threads)), _upto((64, 256), w.c)):
        base = {"cb": cb, "threads": threads}
        yield {"isa": target.isas[-1], "special": 0, "owt": 1, **base}
        for isa in _tile_isas(w, target)[-2:]:
            for owt in DEPTHWISE_TILES[isa]:
                yield {"isa": isa, "special": 1, "owt": owt, **base}


def _default_depthwise(w: QDepthwiseConv2d, target: Target) -> Config:
    base = {"cb": w.c, "threads": w.threads if w.flops > 200_000 else 1}
    isas = _tile_isas(w, target)
    if not isas:
        return {"isa": target.isas[-1], "special": 0, "owt": 1, **base}
    return {"isa": isas[-1], "special": 1, "owt": DEPTHWISE_TILES[isas[-1]][-1], **base}
