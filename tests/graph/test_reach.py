"""How far operators reach from their pointers: what exported files are checked by."""

from __future__ import annotations

import numpy as np
import pytest
from guard import guarded

from luthier.errors import KernelError
from luthier.kernels import _kernels, fields, isas
from luthier.kernels.cpu import native_target
from luthier.kernels.spaces import allow, space
from luthier.kernels.workload import (
    Conv2d,
    DepthwiseConv2d,
    Gemm,
    QConv2d,
    QDepthwiseConv2d,
    QGemm,
    Workload,
)
from luthier.target import profile

UNKNOWN = {"chain"}
"""Operators that are not for exported plans."""


def run_guarded(op: str, numbers: dict, pointers: dict[str, np.ndarray], side: str) -> None:
    """Run a call on memory of just the size that it may touch, beside forbidden pages."""
    places = {}
    for name, (access, begin, end) in _kernels.reach(op, numbers).items():
        if name in pointers:
            assert access != "untouched", (op, name)
            memory = guarded(end - begin, np.uint8, side)
            memory[: pointers[name].size] = pointers[name]
            places[name] = memory[-begin:]
    size = _kernels.work_size(op, numbers | places)
    if size:
        places["work"] = guarded(size, np.uint8, side)
    _kernels.Args(op, numbers | places).run()


SIX = {f"d{i}": d for i, d in enumerate((1, 1, 1, 2, 3, 17))}
F32, F16, U8, I32 = map(fields.dtype_number, ("f32", "f16", "u8", "s32"))
EQUAL = 8
"""In ``enum lt_binary_op``."""
POOL = {"n": 2, "ih": 5, "iw": 4, "c": 19, "oh": 4, "ow": 3, "ldx": 40, "ldy": 21}
POOL |= dict.fromkeys(("sh", "sw", "dh", "dw", "pt", "pl"), 1) | {"kh": 3, "kw": 4}
ALONE: list[tuple[str, dict]] = [
    ("pool2d", POOL | {"type": F32}),
    ("pool2d", POOL | {"type": U8, "mode": 1, "x_scale": 1.0, "y_scale": 1.0}),
    ("unary", {"n": 37}),
    ("binary", SIX | {"a3": 51, "a4": 17, "a5": 1, "b4": 1}),
    ("binary", SIX | {"a3": 51, "a4": 17, "a5": 1, "b5": -2, "op": EQUAL}),
    ("copy", SIX | {"size": 4, "x3": -60, "x4": 1, "x5": 3, "y3": 90, "y4": 18, "y5": 1}),
    ("copy", SIX | {"size": 2, "x3": 17, "x4": 34, "x5": 1, "y3": 51, "y4": 17, "y5": 1}),
    ("take", {"size": 4, "outer": 2, "x_count": 1, "y_count": 3, "inner": 5, "y_step": 21}),
    ("gather", {"size": 8, "index_size": 4, "outer": 2, "x_count": 1, "y_count": 3, "inner": 5}),
    ("reduce", {"outer": 2, "count": 19, "inner": 1}),
    ("reduce", {"outer": 2, "count": 5, "inner": 37}),
    ("softmax", {"outer": 2, "count": 19, "inner": 1}),
    ("softmax", {"outer": 2, "count": 5, "inner": 37}),
    ("cast", {"n": 37, "to": F16}),
    ("where", SIX | {"size": 8, "c5": 1, "a3": 51, "a4": 17, "a5": 1, "b4": 1}),
    ("dynamic_quantize", {"n": 37}),
    ("quantize", {"outer": 2, "count": 3, "inner": 5, "type": U8, "y_max": 255}),
    ("quantize", {"outer": 2, "count": 5, "inner": 7, "block": 2, "type": U8, "y_max": 255}),
    ("dequantize", {"outer": 1, "count": 1, "inner": 37, "type": I32}),
    ("dequantize", {"outer": 3, "count": 33, "inner": 1, "block": 16, "type": U8}),
    ("layer_norm", {"outer": 3, "count": 37, "epsilon": 1e-5}),
    ("lrn", {"rows": 3, "count": 21, "ldx": 40, "ldy": 23, "window": 4, "alpha": 1.0}),
    ("lookup", {"rows": 3, "cols": 21, "ldx": 40, "ldy": 23}),
    ("qmean", {"outer": 2, "count": 5, "inner": 37, "type": U8, "scale": 0.1}),
    ("qsoftmax", {"outer": 3, "count": 19, "type": U8, "factor": 256.0}),
    ("gemm_nbits", {"m": 3, "n": 21, "k": 70, "block": 32, "lda": 80, "ldy": 30}),
    ("gemm_nbits", {"m": 30, "n": 21, "k": 70, "block": 32, "lda": 80, "ldy": 30}),
    ("resize_linear", {"n": 2, "ih": 3, "iw": 5, "c": 7, "oh": 6, "ow": 4}),
    ("qbinary", SIX | {"a3": 51, "a4": 17, "a5": 1, "b5": 1, "op": 0, "type": U8, "y_max": 255}
        | {"a_scale": 1.0, "b_scale": 1.0, "y_scale": 1.0}),
    ("lstm", {"steps": 3, "batch": 2, "hidden": 19, "ldy": 50, "mr": 1, "nv": 1, "ku": 1}),
]  # fmt: skip
WORKLOADS: list[Workload] = [
    Gemm(m=5, n=22, k=34),
    Gemm(m=5, n=19, k=7, batch=2, packed=False),
    Conv2d(n=1, c=6, h=9, w=8, k=20, r=3, s=3, pads=(1, 1, 1, 1)),
    Conv2d(n=2, c=6, h=5, w=4, k=20, r=1, s=1),
    Conv2d(n=1, c=6, h=9, w=8, k=10, r=3, s=2, strides=(2, 1), groups=2),
    DepthwiseConv2d(n=2, c=37, h=9, w=8, r=3, s=3, pads=(1, 1, 1, 1)),
    QGemm(m=5, n=22, k=35),
    QConv2d(n=1, c=6, h=9, w=8, k=20, r=3, s=3, pads=(1, 1, 1, 1)),
    QConv2d(n=1, c=6, h=9, w=8, k=10, r=3, s=2, strides=(2, 1), groups=2),
    QDepthwiseConv2d(n=1, c=37, h=9, w=8, r=3, s=3, pads=(1, 1, 1, 1)),
    QDepthwiseConv2d(n=1, c=37, h=9, w=8, r=5, s=5, strides=(2, 2)),
]


@pytest.mark.parametrize(("op", "numbers"), ALONE)
def test_calls_stay_inside(op: str, numbers: dict) -> None:
    layout = _kernels.OPS[op][1]
    pointers = {name for name, (_, kind) in layout.items() if kind == "P" and name != "work"}
    for isa in isas():
        given = numbers | {"threads": 1}
        if "isa" in layout:
            given["isa"] = _kernels.ISA_NAMES.index(isa)
        for side in ("start", "end"):
            run_guarded(op, given, dict.fromkeys(pointers, np.zeros(0, np.uint8)), side)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.key)
@pytest.mark.parametrize("target", ["native", "raspberry-pi-5", "x86-64-v3"])
def test_packed_weights_are_all_that_is_read(workload: Workload, target: str) -> None:
    """On other architectures their size alone is compared."""
    here = target == "native"
    cpu = native_target() if here else profile(target)
    configs = [
        config
        for precision in ("fp32", "bf16", "fp16")
        for config in space(workload.op, workload, *allow(cpu, precision, None)).configs
    ]
    kinds = {
        (c["isa"], c.get("algo"), c.get("nv"), c.get("strassen"), c.get("special")): c
        for c in configs
    }
    for config in kinds.values():
        numbers = fields.workload_fields(workload) | fields.config_fields(config) | {"threads": 1}
        packed = np.zeros(0, np.uint8)
        if getattr(workload, "packed", True):
            weights = np.zeros(
                weight_shape(workload), np.int16 if "q" in workload.op else np.float32
            )
            packed = fields.pack_weights(workload, weights, config).view(np.uint8)
            assert _kernels.reach(workload.op, numbers)["w"] == ("reads", 0, packed.size)
        if here:
            names = ("x", "a", "w", "y", "scale", "bias")
            pointers = {
                n: np.zeros(0, np.uint8) for n in names if n in _kernels.OPS[workload.op][1]
            }
            run_guarded(workload.op, numbers, pointers | {"w": packed}, "end")


def weight_shape(w: Workload) -> tuple[int, ...]:
    if isinstance(w, (Gemm, QGemm)):
        return w.k, w.n
    if isinstance(w, (DepthwiseConv2d, QDepthwiseConv2d)):
        return w.c, 1, w.r, w.s
    return w.k, w.c // w.groups, w.r, w.s


def test_every_operator_has_bounds() -> None:
    """An operator without a function in ``reach.c`` cannot be exported."""
    for op in _kernels.OPS:
        if op in UNKNOWN:
            with pytest.raises(KernelError):
                _kernels.reach(op, {})
        else:
            bounds = _kernels.reach(
                op, {name: 1 for name, (_, kind) in _kernels.OPS[op][1].items() if kind == "I"}
            )
            assert all(access != "untouched" for access, _, _ in bounds.values()), op


@pytest.mark.parametrize("size", [-1, 1 << 41, (1 << 63) - 1, -(1 << 63)])
def test_sizes_that_cannot_be_are_refused(size: int) -> None:
    good = {"outer": 2, "count": 3, "inner": 5}
    assert _kernels.reach("reduce", good) == {"x": ("reads", 0, 120), "y": ("writes", 0, 40)}
    for name in good:
        with pytest.raises(KernelError, match="out of range"):
            _kernels.reach("reduce", good | {name: size})


def test_strides_reach_to_both_sides() -> None:
    dims = {f"d{i}": 1 for i in range(5)} | {"d5": 4, "size": 4, "y5": 1}
    found = _kernels.reach("copy", dims | {"x5": -2})
    assert found == {"x": ("reads", -24, 4), "y": ("writes", 0, 16)}
    with pytest.raises(KernelError):  # each element of y over the one before
        _kernels.reach("copy", dims | {"y5": 0})
