"""From workload and config to the argument slots of a C operator; packing of weights.

The NumPy API, the tuner's runners and the graph's lowering all fill arguments here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from luthier.kernels import _kernels
from luthier.kernels.halves import HALF_ISAS, half_rows
from luthier.kernels.requant import pack_panels, pack_taps
from luthier.kernels.workload import (
    ACTIVATIONS,
    Conv2d,
    DepthwiseConv2d,
    Gemm,
    QConv2d,
    QDepthwiseConv2d,
    QGemm,
    Quantised,
    Workload,
)

__all__ = [
    "ALGORITHMS",
    "config_fields",
    "dtype_number",
    "epilogue_fields",
    "kernel_name",
    "pack_weights",
    "packing_key",
    "stage_array",
    "tile_fields",
    "winograd_tile",
    "workload_fields",
]

_DTYPES = ("f32", "f16", "f64", "s8", "u8", "s16", "u16", "s32")
"""Types in the order of ``enum lt_dtype``."""

ALGORITHMS = ("pointwise", "im2col", "direct", "winograd2", "winograd4", "winograd6", "strassen")
"""Algorithm names in the order of ``enum lt_conv_algo``."""

STAGES = ("conv2d", "depthwise_conv2d")
"""Operators that can be stages of a chain, in the order of ``enum lt_stage``."""

WINOGRAD_POINTS = {2: (1.0,), 4: (0.75, 1.5), 6: (0.5, 1.0, 2.0)}
"""Tile size -> the points p of the pairs +-p; ``winograd.body.h`` has the same ones."""

Config = Mapping[str, Any]


def config_fields(config: Config) -> dict[str, int]:
    """The slots that a config sets; its names are the slots' names."""
    fields = dict(config)
    fields["isa"] = _kernels.ISA_NAMES.index(config["isa"])
    if "algo" in config:
        fields["algo"] = ALGORITHMS.index(config["algo"])
    return fields


def tile_fields(config: Config) -> dict[str, int]:
    """The slots of the register tile alone, for operators that do their own blocking."""
    names = ("isa", "mr", "nv", "ku", "prefetch")
    return {name: value for name, value in config_fields(config).items() if name in names}


def dtype_number(name: str) -> int:
    """The number in ``enum lt_dtype`` of a type such as ``"u8"``."""
    return _DTYPES.index(name)


def epilogue_fields(activation: str, params: tuple[float, float] = (0.0, 0.0)) -> dict:
    """The slots of an activation."""
    return {"act": ACTIVATIONS.index(activation), "alpha": params[0], "beta": params[1]}


def workload_fields(workload: Workload) -> dict[str, int]:
    """The slots of sizes and distances, for dense NHWC maps and dense matrices."""
    w: Any = workload
    if isinstance(w, Quantised):
        return {**_size_fields(w), "a_type": dtype_number(w.a), "y_type": dtype_number(w.y)}
    return _size_fields(w)


def _size_fields(w: Any) -> dict[str, int]:
    if isinstance(w, (Gemm, QGemm)):
        sizes = {"batch": w.batch, "m": w.m, "n": w.n, "k": w.k, "lda": w.k, "ldy": w.n}
        strides = {"stride_a": w.m * w.k, "stride_y": w.m * w.n, "stride_r": w.m * w.n}
        plain = {} if w.packed else {"stride_w": w.k * w.n, "w_ks": w.n, "w_ns": 1}
        return {**sizes, **strides, **plain, "ldr": w.n, "w_packed": int(w.packed)}
    pt, pl, _, _ = w.pads
    fields = {"n": w.n, "ih": w.h, "iw": w.w, "oh": w.oh, "ow": w.ow, "kh": w.r, "kw": w.s}
    fields |= {"sh": w.strides[0], "sw": w.strides[1], "pt": pt, "pl": pl}
    fields |= {"dh": w.dilations[0], "dw": w.dilations[1], "ldx": w.c}
    if isinstance(w, (DepthwiseConv2d, QDepthwiseConv2d)):
        return {**fields, "c": w.c, "ldy": w.c, "ldr": w.c}
    return {**fields, "ic": w.c, "oc": w.k, "groups": w.groups, "ldy": w.k, "ldr": w.k}


def stage_array(stages: Iterable[tuple[str, Mapping[str, Any]]]) -> np.ndarray:
    """What the slot ``stages`` of a chain points to.

    Parameters
    ----------
    stages : iterable of (str, mapping)
        Operator, and its slots for whole maps. The arrays among them have to outlive the result.

    Returns
    -------
    ndarray of int64, 1-d
    """
    words = []
    for op, slots in stages:
        packed = np.frombuffer(_kernels.Args(op, dict(slots)).pack(), np.int64)
        words += [np.array([STAGES.index(op)]), packed]
    return np.concatenate(words)


def pack_weights(workload: Workload, weights: np.ndarray, config: Config) -> np.ndarray:
    """Weights in the form that the kernel of `config` reads.

    Parameters
    ----------
    workload : Workload
    weights : ndarray of float32
        (k, n) for gemm, (oc, ic / groups, kh, kw) for conv2d, (c, 1, kh, kw) for depthwise_conv2d.
        For quantised workloads of int16, as `requant.centred` makes them.
    config : mapping

    Returns
    -------
    ndarray of float32, or of uint8 for those of bytes, of uint16 for those of halves, 1-d
    """
    if isinstance(workload, QGemm):
        return pack_panels(weights[None], config)
    if isinstance(workload, QConv2d):
        w = weights.reshape(workload.groups, -1, *weights.shape[1:])
        runs = (_segments(workload, config), -1, w.shape[1])
        parts = [pack_panels(g.transpose(2, 3, 1, 0).reshape(runs), config) for g in w]
        return np.concatenate(parts)
    if isinstance(workload, QDepthwiseConv2d) and config["special"]:
        return pack_taps(weights[:, 0], workload.strides[1], config["isa"])
    if isinstance(workload, (DepthwiseConv2d, QDepthwiseConv2d)):
        weights = weights.astype(np.float32, copy=False)
        return np.ascontiguousarray(weights[:, 0].transpose(1, 2, 0)).ravel()
    if _halved(config):
        matrix = weights if isinstance(workload, Gemm) else weights[:, :, 0, 0].T
        return np.concatenate([_pack_panels(p, config) for p in _strassen_parts(matrix)])
    if isinstance(workload, Gemm):
        return _pack_panels(weights, config)
    groups = getattr(workload, "groups", 1)
    w = weights.reshape(groups, -1, *weights.shape[1:])
    tile = winograd_tile(config)
    if tile:
        places = (place for g in w for place in _winograd_weights(g, tile))
        return np.concatenate([_pack_panels(place, config) for place in places])
    parts = [_pack_panels(g.transpose(2, 3, 1, 0).reshape(-1, g.shape[0]), config) for g in w]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def winograd_tile(config: Config) -> int:
    """The tile size of a Winograd config, 0 for any other."""
    algo = str(config.get("algo"))
    return int(algo.removeprefix("winograd")) if algo.startswith("winograd") else 0


def _winograd_weights(weights: np.ndarray, tile: int) -> np.ndarray:
    """(oc, ic, 3, 3) filters as ((tile + 2)**2, ic, oc), transformed in float64.

    With L(s) the product of s - t over all other points t, the row of a point s is
    (1, s, s**2) / L(s), and that of infinity (0, 0, 1).
    """
    points = [0.0, *(sign * p for p in WINOGRAD_POINTS[tile] for sign in (1, -1))]
    rows = [np.array([1, s, s * s]) / np.prod([s - t for t in points if t != s]) for s in points]
    g = np.stack([*rows, np.array([0.0, 0.0, 1.0])])
    both = np.kron(g, g)
    oc, ic = weights.shape[:2]
    places = np.empty((len(both), ic, oc), np.float32)
    for o, filters in enumerate(weights):  # one by one: in float64 all would take a lot of memory
        places[:, :, o] = both @ filters.reshape(ic, 9).T
    return places


def _segments(w: QConv2d, config: Config) -> int:
    """Runs of K that are consecutive in memory; ``is_joined`` of qconv2d.c decides the same."""
    if config["algo"] != "direct":
        return 1
    return w.r if w.groups == 1 and w.dilations[1] == 1 else w.r * w.s


def packing_key(workload: Workload, config: Config) -> tuple:
    """Equal for two configs, or workloads, whose weights are packed alike."""
    groups = getattr(workload, "groups", 1)
    segments = _segments(workload, config) if isinstance(workload, QConv2d) else 1
    strides = None
    if isinstance(workload, QDepthwiseConv2d) and config["special"]:
        strides = workload.strides
    form = segments, winograd_tile(config), _halved(config), strides
    return workload.op, groups, config["isa"], config.get("nv"), *form


def _halved(config: Config) -> bool:
    """Whether a product is made by Strassen's algorithm."""
    return config.get("algo") == "strassen" or bool(config.get("strassen"))


def _strassen_parts(w: np.ndarray) -> list[np.ndarray]:
    """The seven right-hand sides of ``strassen.c``, in the order of its ``enum part``."""
    k, n = (size // 2 for size in w.shape)
    quarters = w.astype(np.float64)
    w11, w12, w21, w22 = quarters[:k, :n], quarters[:k, n:], quarters[k:, :n], quarters[k:, n:]
    t2 = w11 - w12 + w22
    return [p.astype(np.float32) for p in (w11, t2, w21, w22 - w12, w21 - t2, w12 - w11, w22)]


def _pack_panels(matrix: np.ndarray, config: Config) -> np.ndarray:
    """A (k, n) matrix as panels of `nv` vectors, the last as narrow as whole vectors allow."""
    lanes = _kernels.isa_lanes(config["isa"])
    if config["isa"] not in HALF_ISAS:
        return _kernels.pack_panels(matrix, lanes * config["nv"], lanes)
    matrix, inner = half_rows(matrix, config["isa"])
    lanes *= inner
    width = lanes * config["nv"]
    k, n = matrix.shape
    full = n // width
    packed = np.zeros(k * (-(-n // lanes) * lanes), matrix.dtype)
    body = packed[: full * width * k].reshape(full, k, width)
    body[...] = matrix[:, : full * width].reshape(k, full, width).transpose(1, 0, 2)
    rest = n - full * width
    last = packed[full * width * k :].reshape(k, -(-rest // lanes) * lanes)
    last[:, :rest] = matrix[:, full * width :]
    return packed


def kernel_name(workload: Workload, config: Config) -> str:
    """The name of a kernel in plans, logs and reports: ``conv2d_f32_direct_12x32_avx512``."""
    lanes, isa = _kernels.isa_lanes(config["isa"]), config["isa"]
    if isinstance(workload, QDepthwiseConv2d):
        if not config["special"]:
            return f"qdwconv_{workload.types}_any_{isa}"
        window = f"{workload.r}x{workload.s}s{workload.strides[1]}"
        return f"qdwconv_{workload.types}_{window}_{config['owt']}x32_{isa}"
    if isinstance(workload, DepthwiseConv2d):
        if not config["special"]:
            return f"dwconv_f32_any_{isa}"
        window = f"{workload.r}x{workload.s}s{workload.strides[1]}"
        return f"dwconv_f32_{window}_{config['owt']}x{config['cv'] * lanes}_{isa}"
    tile = f"{config['mr']}x{config['nv'] * lanes}"
    if isinstance(workload, QConv2d):
        return f"qconv2d_{workload.types}_{config['algo']}_{tile}_{isa}"
    if isinstance(workload, QGemm):
        return f"qgemm_{workload.types}_{tile}_{isa}"
    kind = HALF_ISAS[isa][0] if isa in HALF_ISAS else "f32"
    if isinstance(workload, Conv2d):
        return f"conv2d_{kind}_{config['algo']}_{tile}_{isa}"
    return f"gemm_{kind}_{'strassen_' * config['strassen']}{tile}_{isa}"
