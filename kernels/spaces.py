"""Search spaces: every legal config of a workload on a target, and the one used untuned.

A config is a flat dict; its names are argument slots of the C operator (see ``lt_ops.h``).
Constraints (register budget, cache sizes, divisibility) are enumerated: each config is legal.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from luthier.errors import ArgumentError
from luthier.kernels import _kernels
from luthier.kernels.cpu import native_target
from luthier.kernels.fields import ALGORITHMS, winograd_tile
from luthier.kernels.halves import half_isas
from luthier.kernels.precision import PRECISIONS
from luthier.kernels.workload import (
    Chain,
    Conv2d,
    DepthwiseConv2d,
    Gemm,
    Precision,
    QConv2d,
    Quantised,
    Workload,
)
from luthier.limits import MAX_ERROR, PRECISION_ERRORS
from luthier.target import Target

__all__ = [
    "Space",
    "algorithm_defaults",
    "allow",
    "check_config",
    "check_max_error",
    "default_config",
    "is_legal",
    "space",
    "usual_error",
    "within",
]

Config = dict[str, Any]

VERSION = "1"
"""Changes whenever the meaning of a knob does: older records are then stale."""

TILES: dict[str, dict[int, tuple[int, ...]]] = {
    "avx512": {1: (6, 10, 14), 2: (4, 6, 7, 8, 10, 12, 14), 3: (4, 6, 7, 8, 9), 4: (3, 4, 6)},
    "avx512bf16": {1: (6, 10, 14), 2: (4, 6, 7, 8, 10, 12, 14), 3: (4, 6, 7, 8, 9), 4: (3, 4, 6)},
    "avx2": {1: (6, 8, 12), 2: (2, 3, 4, 5, 6), 3: (2, 3, 4)},
    "neon": {1: (4, 8, 12), 2: (4, 6, 8, 10, 12), 3: (4, 6, 7, 8), 4: (4, 5, 6)},
    "neonfp16": {1: (4, 7), 2: (4, 6, 8), 3: (4, 6, 7), 4: (4, 5)},
    "neonbf16": {1: (4, 8, 12), 2: (4, 8, 10, 12), 3: (4, 6, 8)},
    "scalar": {1: (4, 6), 2: (2, 4, 6)},
}
"""Register tiles offered: vectors of columns -> rows. `gemm.variants.h` lists what exists."""

UNROLLED = ((1, 0), (4, 0), (4, 512))
LOOPS: dict[str, tuple[tuple[int, int], ...]]
LOOPS = {"avx512": UNROLLED, "avx512bf16": UNROLLED, "avx2": UNROLLED}
LOOPS |= dict.fromkeys(("scalar", "neonfp16", "neonbf16"), ((1, 0),))
LOOPS["neon"] = ((1, 0), (1, 512), (2, 0), (2, 256), (3, 0), (3, 256))
"""How kernels may go through k: `ku` and `prefetch`. On NEON, 2 and 3 are `HALVES`."""

HALVES = (2, 3)
"""Values of `ku` for loads of 64 bits between the multiply-adds, as cores that issue in order want
them (``LT_KU_HALVES`` and ``LT_KU_LOW_HALVES`` of ``gemm.h``)."""

IN_PLACE = (0,)
"""Values of `ku` for a right-hand side that is read where it is, instead of being packed first."""

WINOGRAD_ERRORS = {"winograd2": 1e-6, "winograd4": 4e-6, "winograd6": 3e-5}
"""What Winograd algorithms err by in layers of up to 512 channels, as `luthier.limits.MAX_ERROR`
counts it; other algorithms err by up to 2e-6."""

STRASSEN_ERROR = 3e-6
"""The same of `strassen`."""

HALF_ERRORS = {"avx512bf16": 2e-3, "neonbf16": 2e-3, "neonfp16": 1e-3}
"""The same of products of 16 bits, by instruction set."""

PAGE = 4096

ALONE_FLOPS = 20_000_000
"""Work of which one thread of several is still worth a try."""

DEPTHWISE_TILES: dict[str, dict[int, tuple[int, ...]]] = {
    "avx512": {1: (2, 4, 6, 8), 2: (2, 4, 5, 7, 8)},
    "avx2": {1: (2, 4, 6, 8), 2: (2, 3, 4)},
    "neon": {1: (2, 4, 6, 8), 2: (2, 3, 4)},
    "scalar": {1: (1, 2, 4)},
}

SPECIAL_WIDTHS = {"avx512": (3, 5), "avx2": (3, 5), "neon": (3, 5), "scalar": (3,)}
"""Kernel widths that have special depthwise kernels, for strides 1 and 2."""


@dataclass(frozen=True)
class Space:
    """The legal configs of one workload on one target.

    Attributes
    ----------
    knobs : dict
        Name -> the values that occur.
    configs : list of dict
        Every legal config, each once.
    default : dict
        The untuned choice; one of `configs`.
    seeds : list of dict
        Other promising configs to try first.
    version : str
    """

    knobs: dict[str, tuple]
    configs: list[Config]
    default: Config
    seeds: list[Config] = field(default_factory=list)
    version: str = VERSION

    def neighbours(self, config: Mapping) -> list[Config]:
        """The legal configs that differ from `config` in one knob."""
        legal = {tuple(c.values()) for c in self.configs}
        names = list(self.knobs)
        found = []
        for name in names:
            for value in self.knobs[name]:
                other = {**config, name: value}
                if value != config[name] and tuple(other[n] for n in names) in legal:
                    found.append({n: other[n] for n in names})
        return found


def space(
    op: str,
    workload: Workload | str,
    target: Target | None = None,
    max_error: float = MAX_ERROR,
) -> Space:
    """The search space of one workload.

    Parameters
    ----------
    op : str
        The workload's operator.
    workload : Workload or str
        A workload or its key.
    target : Target, optional
        This machine if left out.
    max_error : float
        Algorithms that usually err by more are left out; a share of the output's range.

    Raises
    ------
    ArgumentError
        The operator is unknown or not the workload's.

    Examples
    --------
    >>> s = space("gemm", "gemm/f32/b1m64n64k64/packed/epi=bias,relu/t1")
    >>> s.default in s.configs
    True
    """
    if isinstance(workload, str):
        workload = Workload.parse(workload)
    if op != workload.op:
        raise ArgumentError(f"operator {op!r} given, but the workload is of {workload.op!r}")
    target = target or native_target()
    default = default_config(workload, target, max_error)
    configs = {tuple(c.values()): c for c in _candidates(workload, target, max_error)}
    configs.setdefault(tuple(default.values()), default)
    every = list(configs.values())
    knobs = {name: tuple(dict.fromkeys(c[name] for c in every)) for name in default}
    return Space(knobs, every, default)


def is_legal(config: Mapping, workload: Workload, target: Target | None = None) -> bool:
    """Whether `config` is in the space of some `max_error`, found without listing all of it."""
    target = target or native_target()
    if config == default_config(workload, target):
        return True
    if isinstance(workload, (Chain, DepthwiseConv2d, Precision, Quantised)):
        return config in [*_candidates(workload, target, 0.0)]
    w: Any = workload
    conv = isinstance(w, Conv2d)
    columns = w.k // w.groups if conv else w.n
    plain = not conv and not w.packed
    tiled = _tiled(columns, target, plain, math.inf)
    base = next((b for b in tiled if b.items() <= config.items()), None)
    if base is None:
        return False
    if not conv:
        return config in [*_gemm_blocks(w, target, base, math.inf)]
    algo = config.get("algo", "")
    return algo in _algorithms(w, math.inf) and config in [*_conv_blocks(w, target, algo, base)]


def default_config(
    workload: Workload, target: Target | None = None, max_error: float = MAX_ERROR
) -> Config:
    """The config used for a workload that was never tuned: the best by a simple cost model of
    those that err by no more than `max_error`."""
    target = target or native_target()
    if isinstance(workload, Chain):
        return chain_spaces.default_config(workload, target)
    if isinstance(workload, Precision):
        return precision_spaces.default_config(workload, target, max_error)
    return dict(_default(workload, target, max_error))


@lru_cache(maxsize=4096)
def _default(workload: Any, target: Target, max_error: float) -> Config:
    if isinstance(workload, DepthwiseConv2d):
        return _default_depthwise(workload, target)
    if isinstance(workload, Quantised):
        return quant_spaces.default_config(workload, target)
    return min(_analytic(workload, target, max_error), key=lambda c: _cycles(workload, c, target))


def algorithm_defaults(workload: Workload, target: Target) -> dict[str, Config]:
    """For each algorithm, however much it errs, the best config by the same cost model, with the
    target's best ISA. An operator with one algorithm has one, under the operator's name."""
    if isinstance(workload, DepthwiseConv2d):
        return {workload.op: _default_depthwise(workload, target)}
    found: dict[str, Config] = {}
    mine = (c for c in _analytic(workload, target, math.inf) if c["isa"] == target.isa)
    for config in sorted(mine, key=lambda c: _cycles(workload, c, target)):
        found.setdefault(config.get("algo", workload.op), config)
    return found


def usual_error(config: Mapping) -> float:
    """What the algorithm of a config adds to the rounding of float32 sums, as a share of the
    output's range; 0 for those that just sum in float32."""
    if config.get("isa") in HALF_ERRORS:
        return HALF_ERRORS[config["isa"]]
    if config.get("strassen") or config.get("algo") == "strassen":
        return STRASSEN_ERROR
    return WINOGRAD_ERRORS.get(config.get("algo", ""), 0.0)


def within(config: Mapping, max_error: float, measured: float | None = None) -> bool:
    """Whether a config may be used where layers may err by `max_error`.

    `measured` is its own error, if that is known. The bound is on what algorithms add: those that
    just sum in float32 are within any.
    """
    usual = usual_error(config)
    return usual == 0 or (usual if measured is None else measured) <= max_error


def check_max_error(max_error: float) -> float:
    """`max_error`, if it is a bound.

    Raises
    ------
    ArgumentError
        It is negative or not a number.
    """
    if not max_error >= 0:
        raise ArgumentError(f"max_error must be zero or a positive number, got {max_error}")
    return max_error


def allow(target: Target, precision: str, max_error: float | None) -> tuple[Target, float]:
    """What a user allows: the target with `precision`, and the bound on the error of a layer.

    Without `max_error` the bound is that of the precision, `luthier.limits.PRECISION_ERRORS`.

    Raises
    ------
    ArgumentError
        The precision is unknown, or `max_error` is no bound.
    """
    if precision not in PRECISION_ERRORS:
        known = ", ".join(PRECISION_ERRORS)
        raise ArgumentError(f"unknown precision {precision!r}, choose from: {known}")
    bound = PRECISION_ERRORS[precision] if max_error is None else check_max_error(max_error)
    return replace(target, precision=precision), bound


def check_config(workload: Workload, config: Mapping) -> Config:
    """`config` as a dict, if this CPU has the kernel that it names.

    A config need not be one of the space's: any sizes of blocks are legal.

    Raises
    ------
    ArgumentError
        A knob is missing or unknown, a value is out of range, or there is no such kernel.
    """
    names = list(default_config(workload))
    if set(config) != set(names):
        raise ArgumentError(f"config: expected the knobs {names}, got {list(config)}")
    quantised = isinstance(workload, Quantised)
    isas = _kernels.cpu_int8_isas() if quantised else _kernels.cpu_isas()
    if isinstance(workload, (Gemm, Conv2d)):
        isas += _kernels.cpu_half_isas()
    for name, value in config.items():
        legal = {"isa": isas, "algo": ALGORITHMS, "precision": PRECISIONS}.get(name)
        if legal is not None and value not in legal:
            raise ArgumentError(f"config: expected {name} in {list(legal)}, got {value!r}")
        if legal is None and not (type(value) is int and 0 <= value < 1 << 31):
            raise ArgumentError(f"config: expected {name} of 0 to 2**31 - 1, got {value!r}")
    tile = [config[name] for name in ("isa", "mr", "nv", "ku") if name in config]
    if len(tile) == 4 and not _kernels.has_gemm_variant(*tile):
        raise ArgumentError("config: no kernel with isa={}, mr={}, nv={}, ku={}".format(*tile))
    if (
        quantised
        and "mr" in config
        and not _kernels.has_qgemm_variant(config["isa"], config["mr"], config["nv"])
    ):
        raise ArgumentError("config: no kernel with isa={isa}, mr={mr}, nv={nv}".format(**config))
    if quantised and config["isa"] not in quant_spaces.int8_isas(native_target(), workload):
        raise ArgumentError(f"config: {config['isa']} is not exact for {workload.key}")
    return dict(config)


def _isas(target: Target) -> tuple[str, ...]:
    """Instruction sets worth a try: the best, and the next vector one below it."""
    vector = [isa for isa in target.isas if isa != "scalar"]
    return tuple(reversed(vector[-2:])) or ("scalar",)


def _candidates(workload: Any, target: Target, max_error: float) -> Iterator[Config]:
    if isinstance(workload, Chain):
        yield from chain_spaces.candidates(workload)
    elif isinstance(workload, Precision):
        yield from precision_spaces.candidates(workload)
    elif isinstance(workload, DepthwiseConv2d):
        yield from _depthwise_candidates(workload, target)
    elif isinstance(workload, Quantised):
        yield from quant_spaces.candidates(workload, target)
    elif isinstance(workload, Conv2d):
        for algo in _algorithms(workload, max_error):
            for base in _tiled(workload.k // workload.groups, target, False, max_error):
                yield from _conv_blocks(workload, target, algo, base)
    else:
        for base in _tiled(workload.n, target, not workload.packed, max_error):
            yield from _gemm_blocks(workload, target, base, max_error)


def _tiled(columns: int, target: Target, plain: bool, max_error: float) -> Iterator[Config]:
    """Instruction sets, register tiles and unrolls that are not wider than the columns need."""
    for isa in (*_halves_within(target, max_error), *_isas(target)):
        lanes = _kernels.isa_lanes(isa)
        vectors = -(-columns // lanes)
        for nv, rows in TILES[isa].items():
            if nv > vectors:
                continue
            in_place = [(ku, 0) for ku in IN_PLACE if plain and isa not in HALF_ERRORS]
            for mr, (ku, prefetch) in itertools.product(rows, (*in_place, *LOOPS[isa])):
                if _offers(target, isa, mr, nv, ku):
                    yield {"isa": isa, "mr": mr, "nv": nv, "ku": ku, "prefetch": prefetch}


def _offers(target: Target, isa: str, mr: int, nv: int, ku: int) -> bool:
    """Whether there is such a kernel and it is worth a try: of those in halves, cores that issue
    out of order are offered but one kind."""
    if isa != "neon" or ku not in HALVES:
        return True
    return mr >= 4 and nv > 1 and mr * nv + (mr + 1) // 2 + nv < 32 and (target.in_order or ku == 2)


def _halves_within(target: Target, max_error: float) -> tuple[str, ...]:
    """Instruction sets of products of 16 bits that usually err by no more than `max_error`."""
    return tuple(isa for isa in half_isas(target) if HALF_ERRORS[isa] <= max_error)


def _multiplies(isa: str, w: Conv2d, algo: str) -> bool:
    """Whether products of an algorithm can be those of an instruction set."""
    form = _kernels.half_format(isa)
    if form is None:
        return True
    # Direct: taps are whole groups of k.
    return algo in ("pointwise", "im2col") or (algo == "direct" and w.c // w.groups % form[2] == 0)


def _algorithms(w: Conv2d | QConv2d, max_error: float) -> tuple[str, ...]:
    direct = ("direct",) if w.r * w.s <= 1024 else ()
    if w.pointwise:
        halved = w.groups == 1 and _halves(w.c, w.k, max_error)
        return ("pointwise", *["strassen"] * halved, "im2col", *direct)
    minimal = (w.r, w.s, w.strides, w.dilations) == (3, 3, (1, 1), (1, 1))
    inside = [a for a, e in WINOGRAD_ERRORS.items() if minimal and e <= max_error]
    return (*direct, "im2col", *inside)


def _halves(k: int, n: int, max_error: float) -> bool:
    """Whether a product may be, and is worth being, cut into halves (see ``gemm/strassen.h``)."""
    return k % 2 == n % 2 == 0 and min(k, n) >= 128 and max_error >= STRASSEN_ERROR


def _strassen_rows(rows: int, threads: int) -> list[int]:
    """Rows of a block: even shares of a thread's rows, whose sums and products are to fit in L2."""
    share = max(2, -(-rows // threads))
    counts = dict.fromkeys(-(-share // most) for most in (56, 112, 224, 448))
    return [-(-share // (2 * count)) * 2 for count in counts]


def _splits(w: Conv2d | Gemm | Quantised) -> list[tuple[int, int]]:
    """(threads, split_n): all threads, split by rows first or by columns first, or just one.

    One thread is offered where waking others may cost more than it gains.
    """
    alone = [(1, 0)] if w.threads == 1 or w.flops < ALONE_FLOPS else []
    return [*alone, *([(w.threads, 0), (w.threads, 1)] if w.threads > 1 else [])]


def _upto(values: tuple[int, ...], most: int) -> list[int]:
    """The values below `most`, and `most`, but at least 1."""
    return [*(v for v in values if v < most), max(1, most)]


def _l2(target: Target) -> int:
    return target.l2 or 256 << 10


def _gemm_blocks(w: Gemm, target: Target, base: Config, max_error: float) -> Iterator[Config]:
    width = base["nv"] * _kernels.isa_lanes(base["isa"])
    half = base["isa"] in HALF_ERRORS
    common = {"pack_a": 0, "strassen": 0}
    if w.packed and not half and _halves(w.k, w.n, max_error):
        for threads in dict.fromkeys((1, w.threads)):
            for mc in _strassen_rows(w.m, threads):
                blocks = {"mc": mc, "nc": w.n, "kc": w.k, **common, "strassen": 1}
                yield {**base, **blocks, "split_n": 0, "threads": threads}
    for threads, split_n in _splits(w):
        for kc in _upto((256, 512) if base["ku"] else (16,), w.k):
            fit = [b for b in (48, 192) if base["ku"] and b < w.m and b * kc * 4 <= _l2(target)]
            for mc in [*fit, max(1, w.m)]:
                for nc in _upto(tuple(b for b in (128, 512) if width <= b), w.n):
                    for pack_a in (1,) if half else (0, 1) if base["ku"] else (0,):
                        if threads > 1 and -(-w.m // mc) * -(-w.n // nc) * w.batch < 2:
                            continue
                        blocks = {"mc": mc, "nc": nc, "kc": kc, **common, "pack_a": pack_a}
                        yield {**base, **blocks, "split_n": split_n, "threads": threads}


def _conv_blocks(w: Conv2d, target: Target, algo: str, base: Config) -> Iterator[Config]:
    if not _multiplies(base["isa"], w, algo):
        return
    if algo in WINOGRAD_ERRORS:
        yield from _winograd_blocks(w, algo, base)
        return
    columns, k = w.k // w.groups, w.r * w.s * w.c // w.groups
    width = base["nv"] * _kernels.isa_lanes(base["isa"])
    pixels = w.n * w.oh * w.ow
    if algo == "strassen":
        for threads in dict.fromkeys((1, w.threads)):
            for mc in _strassen_rows(pixels, threads):
                blocks = {"mc": mc, "nc": columns, "kc": k, "split_n": 0}
                yield {"algo": algo, **base, **blocks, "threads": threads}
        return
    for threads, split_n in _splits(w):
        for nc in [b for b in (64, 256) if width <= b < columns] + [columns]:
            for mc in _row_blocks(w, target, algo, k, threads):
                rows = w.n * w.oh if algo == "direct" else pixels
                if threads > 1 and -(-rows // mc) * -(-columns // nc) * w.groups < 2:
                    continue
                for kc in [k] if algo == "direct" else _upto((384,), k):
                    blocks = {"mc": mc, "nc": nc, "kc": kc, "split_n": split_n}
                    yield {"algo": algo, **base, **blocks, "threads": threads}


def _winograd_blocks(w: Conv2d, algo: str, base: Config) -> Iterator[Config]:
    """mc tiles and nc columns a block; split_n shares out columns and keeps all tiles."""
    columns, tiles = w.k // w.groups, _winograd_tiles(w, algo)
    width = base["nv"] * _kernels.isa_lanes(base["isa"])
    for threads in dict.fromkeys((1, w.threads) if w.flops < ALONE_FLOPS else (w.threads,)):
        for mc in _upto((8, 16, 32), min(64, -(-tiles // threads))):
            for nc in [b for b in (64, 128) if width <= b < columns] + [columns]:
                for split_n in (0, 1):
                    blocks = {"mc": mc, "nc": nc, "kc": w.c // w.groups, "split_n": split_n}
                    yield {"algo": algo, **base, **blocks, "threads": threads}


def _winograd_tiles(w: Conv2d, algo: str) -> int:
    size = winograd_tile({"algo": algo})
    return w.n * -(-w.oh // size) * -(-w.ow // size)


def _row_blocks(w: Conv2d | QConv2d, target: Target, algo: str, k: int, threads: int) -> list[int]:
    """Values of mc: output rows for direct, pixels for the others."""
    if algo == "direct":
        return _upto((1, 4), -(-w.n * w.oh // threads) if w.n == 1 else w.oh)
    pixels = w.oh * w.ow * (w.n if algo == "pointwise" else 1)
    most = -(-pixels // threads)
    budget = _l2(target) // 4
    return [b for b in (28, 112, 448) if b < most and b * k <= budget] + (
        [most] if algo == "pointwise" or most * k <= 2 * budget else []
    ) or [min(28, most)]


# -- the cost model of the untuned choice ------------------------------------------------------


def _analytic(w: Any, target: Target, max_error: float) -> Iterator[Config]:
    """A handful of sane configs: each tile, blocks sized for the caches.

    Narrow vectors come first, so that they win where wide ones save nothing.
    """
    conv = isinstance(w, Conv2d)
    columns = w.k // w.groups if conv else w.n
    threads = w.threads if w.flops > 400_000 else 1
    for isa in (*reversed(_isas(target)), *_halves_within(target, max_error)):
        lanes, half = _kernels.isa_lanes(isa), isa in HALF_ERRORS
        for nv, rows in TILES[isa].items():
            if nv > max(1, -(-columns // lanes)):
                continue
            for mr in rows:
                halves = target.in_order and isa == "neon" and _offers(target, isa, mr, nv, 2)
                base = {"isa": isa, "mr": mr, "nv": nv, "ku": 2 if halves else 1, "prefetch": 0}
                if conv:
                    for algo in _algorithms(w, max_error):
                        if algo == "strassen" or not _multiplies(isa, w, algo):
                            continue  # the former is too close a call without measuring
                        blocks = _analytic_conv_blocks(w, target, algo, base, threads)
                        yield {"algo": algo, **base, **blocks, "threads": threads}
                else:
                    mc, split_n = _default_rows(w.m, w.k, mr, _l2(target), threads, w.batch)
                    nc = _split_columns(columns, nv * lanes, threads) if split_n else columns
                    blocks = {"mc": mc, "nc": max(1, nc), "kc": max(1, w.k), "pack_a": int(half)}
                    rest = {"strassen": 0, "split_n": split_n, "threads": threads}
                    yield {**base, **blocks, **rest}
                    if not w.packed and not half:
                        if 4 * w.n > PAGE and w.m <= 8:
                            blocks["kc"] = min(16, blocks["kc"])  # few pages at a time
                        yield {**base, "ku": 0, **blocks, **rest}


def _analytic_conv_blocks(
    w: Conv2d, target: Target, algo: str, base: Config, threads: int
) -> Config:
    if algo in WINOGRAD_ERRORS:
        return _analytic_winograd_blocks(w, target, algo, base, threads)
    columns, k = w.k // w.groups, w.r * w.s * w.c // w.groups
    if algo == "direct":
        mc, split_n = max(1, w.oh // (4 * threads)), 0
        if threads > 1 and w.oh * w.n < 2 * threads:
            mc, split_n = w.oh, 1
    else:
        pointwise = algo == "pointwise"
        pixels = w.oh * w.ow * (w.n if pointwise else 1)
        cache = _l2(target) if pointwise else _l2(target) // 4
        mc, split_n = _default_rows(pixels, k, base["mr"], cache, threads, 1)
    width = base["nv"] * _kernels.isa_lanes(base["isa"])
    nc = _split_columns(columns, width, threads) if split_n else columns
    return {"mc": mc, "nc": nc, "kc": k, "split_n": split_n}


def _analytic_winograd_blocks(
    w: Conv2d, target: Target, algo: str, base: Config, threads: int
) -> Config:
    """Tiles that fit into the cache, as evenly as the threads want them. Where the weights are too
    many for the cache, or the tiles too few for the threads, a part of the columns at a time."""
    columns, k = w.k // w.groups, w.c // w.groups
    width = base["nv"] * _kernels.isa_lanes(base["isa"])
    places, tiles = (winograd_tile({"algo": algo}) + 2) ** 2, _winograd_tiles(w, algo)
    split_n = int(places * w.c * columns * 4 > 4 * _l2(target) or tiles < 8 * threads)
    nc = _split_columns(columns, width, threads) if split_n else columns
    if split_n:
        nc = min(nc, max(width, 128 // width * width))
    fit = max(12, _l2(target) // 3 // (4 * places * (k + nc)))
    share = 1 if split_n else threads
    mc = -(-tiles // (share * -(-tiles // (share * fit)))) if tiles else 1
    return {"mc": mc, "nc": nc, "kc": k, "split_n": split_n}


def _default_rows(
    rows: int, k: int, mr: int, cache: int, threads: int, batch: int
) -> tuple[int, int]:
    """(mc, split_n): a block of rows that stays in half of `cache` and feeds every thread."""
    fit = max(mr, cache // 2 // (4 * max(k, 1)) // mr * mr)
    if threads > 1 and batch == 1:
        if rows < 4 * threads:
            return max(1, min(rows, fit)), 1
        share = -(-rows // (4 * threads))  # several blocks a thread, if they are not too small
        fit = min(fit, share if share >= 4 * mr else -(-rows // threads))
    return max(1, min(rows, fit)), 0


def _split_columns(columns: int, width: int, threads: int) -> int:
    return min(columns, max(width, -(-columns // threads // width) * width))


def _cycles(w: Any, config: Config, target: Target) -> float:
    """Rough cycles: issue of fma and loads per k step, packing, and L1 collisions."""
    lanes, mr, nv = _kernels.isa_lanes(config["isa"]), config["mr"], config["nv"]
    rate = _fma_rate(target, config["isa"])
    if isinstance(w, Gemm):
        columns, k, rows, lines = w.n, w.k, w.m, w.batch
        stride, extra, weights = 4 * w.k, 0.0, 0
        if not w.packed:
            # Packing reads and writes; in place, the rows of w are farther apart.
            extra = w.batch * k * columns * (0.4 if config["ku"] else 0.03 * rows / lanes)
    elif winograd_tile(config):
        columns, k = w.k // w.groups, w.c // w.groups
        places, tiles = (winograd_tile(config) + 2) ** 2, _winograd_tiles(w, config["algo"])
        blocks = max(1, -(-tiles // config["mc"]))
        rows, lines, stride = -(-tiles // blocks), w.groups * places * blocks, 0
        # Of each value both transforms make a load, a store and some sums.
        vectors = w.groups * (-(-k // lanes) + -(-columns // lanes))
        extra = (2.0 + 4.0 / rate) * places * tiles * vectors
        weights = places * k * w.k
    else:
        columns, k = w.k // w.groups, w.r * w.s * w.c // w.groups
        direct = config["algo"] == "direct"
        rows, lines = (w.ow, w.n * w.oh) if direct else (w.n * w.oh * w.ow, 1)
        lines *= w.groups
        stride = 4 * w.c * (w.strides[1] if direct else 1)
        extra, weights = 0.0, k * w.k
        if config["algo"] == "im2col":
            stride = 0
            extra += w.groups * rows * k / lanes * (1.5 if w.c // w.groups >= lanes else 3)
        elif direct and any(w.pads):
            extra += 2.0 * w.n * w.h * w.w * w.c / lanes
    form, size, steps = _kernels.half_format(config["isa"]), 4, k
    if form:
        size, steps, stride = 2, -(-k // form[1]), 0
        if config.get("algo") != "im2col":  # which has to copy its rows in any case
            extra += lines * rows * k / 16
    tiles = -(-rows // mr)
    low, more = divmod(rows, tiles) if tiles else (0, 0)
    total = 0.0
    full, rest = divmod(-(-columns // lanes), nv)
    for vectors, panels in ((nv, full), (rest, 1)):
        if not vectors or not panels:
            continue
        for count, height in ((tiles - more, low), (more, low + 1)):
            step = max(height * vectors / rate, (height + vectors) / 2, 2.0)
            if stride and stride % 2048 == 0 and height > 8:
                step *= 1.4  # the rows share an L1 set of eight lines
            segments = 1
            if isinstance(w, Conv2d) and config["algo"] == "direct":
                segments = w.r * (1 if w.groups == 1 and w.dilations[1] == 1 else w.s)
            total += panels * count * (step * steps + 4 * segments + height * vectors + 10)
    total = lines * total + extra
    # All threads together read some 8 bytes of weights a cycle, about half of it meanwhile.
    reading = w.threads * weights * size / 8
    return max(total, reading) + min(total, reading) / 2


def _step(height: int, vectors: int, rate: float, ku: int, in_order: bool) -> float:
    """Cycles for one k of a tile. In order, a load of 128 bits takes two cycles for itself; halves
    go beside multiply-adds, in two instructions each (docs/design/neon-kernels.md)."""
    sums = height * vectors / rate
    if not in_order:
        return max(sums, (height + vectors) / 2, 2.0)
    if ku in HALVES and vectors > 1 and height > 3:
        return max(sums, (sums + 4 * vectors + height + 2) / 2)
    return sums + 2 * vectors + height / 2


def _fma_rate(target: Target, isa: str) -> int:
    """Vector multiply-adds a cycle. Zen 4 (family 25) runs 512-bit operations in two passes (AMD,
    Software Optimization Guide for the Zen 4 Microarchitecture, 2023)."""
    if isa == "avx512bf16":
        return 1
    halved = isa == "avx512" and target.core.startswith("amd-25")
    return target.fmas or (1 if halved else 2)


# -- depthwise -----------------------------------------------------------------------------------


def _has_special(w: DepthwiseConv2d, isa: str) -> bool:
    return w.s in SPECIAL_WIDTHS[isa] and w.strides[1] in (1, 2) and w.dilations[1] == 1


def _depthwise_candidates(w: DepthwiseConv2d, target: Target) -> Iterator[Config]:
    for isa, threads in itertools.product(_isas(target), dict.fromkeys((1, w.threads))):
        lanes = _kernels.isa_lanes(isa)
        for cb in _upto((64, 128, 256), w.c):
            if cb < lanes and cb < w.c:
                continue
            base = {"isa": isa, "cb": cb, "threads": threads}
            yield {"special": 0, "owt": 1, "cv": 1, **base}
            if not _has_special(w, isa):
                continue
            for cv, widths in DEPTHWISE_TILES[isa].items():
                if cv > 1 and w.c < cv * lanes:
                    continue
                for owt in widths:
                    yield {"special": 1, "owt": owt, "cv": cv, **base}


def _default_depthwise(w: DepthwiseConv2d, target: Target) -> Config:
    """One vector of channels by as many pixels as there are tiles for: each input is loaded once.
    Channels in blocks whose weights leave half of L1 to the pixels."""
    isa = target.isas[-1]
    special = int(_has_special(w, isa))
    widths = DEPTHWISE_TILES[isa][1]
    widest = widths[-1] if w.strides[1] == 1 else widths[-2]
    whole = w.r * w.s * w.c * 4 <= (target.l1d or 32 << 10) // 2
    return {
        "special": special,
        "owt": widest if special else 1,
        "cv": 1,
        "isa": isa,
        "cb": w.c if whole or w.c < 128 else 128,
        "threads": w.threads if w.flops > 100_000 else 1,
    }


from luthier.kernels import (  # noqa: E402  (they build on what is above)
    chain_spaces,
    precision_spaces,
    quant_spaces,
)
