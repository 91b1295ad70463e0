"""The operator qdepthwise_conv2d: register tiles of every size, and the kernel of any window."""

from __future__ import annotations

import dataclasses
import random
from itertools import product

import numpy as np
import pytest
from kernel_cases import SIDES, assert_same_bits
from quant_cases import assert_bits, compute
from test_depthwise import OTHER_WINDOWS, WINDOWS

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import (
    QDepthwiseConv2d,
    Requant,
    Residual,
    Runner,
    _kernels,
    default_config,
    fields,
    qdepthwise_conv2d,
    space,
)
from luthier.kernels.quant_inputs import QuantInputs, answer, quant_inputs, quant_slots
from luthier.kernels.quant_spaces import DEPTHWISE_TILES

ISAS = _kernels.cpu_isas()
TILED_ISAS = [isa for isa in _kernels.cpu_int8_isas() if isa in DEPTHWISE_TILES]
FULL = {"bias": True, "residual": True, "table": True}


def any_window(isa: str, **knobs: int) -> dict:
    return {"isa": isa, "special": 0, "owt": 1, "cb": 1000, "threads": 1, **knobs}


def tile(isa: str, owt: int, **knobs: int) -> dict:
    return any_window(isa, special=1, owt=owt, **knobs)


def weight_type(isa: str) -> str:
    """The widest weights that the tiles of `isa` are exact for."""
    return "s8m" if isa.endswith("vnni") else "s16"


@pytest.mark.parametrize("isa", TILED_ISAS)
@pytest.mark.parametrize(("size", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_every_tile(size, stride, isa):
    sizes = range(1, DEPTHWISE_TILES[isa][-1] + 1)
    for owt, side, a in product(sizes, SIDES, ("u8", "s8")):
        for c, inside in ((32, True), (33, False), (97, True)):
            pads = (0, 0, 0, 0) if inside else (2, 1, 1, 3)
            width = (owt - 1) * stride + size - pads[1] - pads[3] * (owt > 1)
            shape = {"h": 6, "w": max(1, width), "r": size, "s": size, "strides": (1, stride)}
            w = QDepthwiseConv2d(n=1, c=c, **shape, pads=pads, a=a, wt=weight_type(isa), bias=True)
            assert_bits(w, tile(isa, owt), side=side, gaps=(c % 2, 3, 0))


@pytest.mark.parametrize("isa", TILED_ISAS)
@pytest.mark.parametrize("window", WINDOWS.values(), ids=list(WINDOWS))
def test_windows_of_tiles(window, isa):
    for c, (a, y) in zip((32, 70, 64), (("u8", "u8"), ("s8", "s8"), ("u8", "s8")), strict=True):
        w = QDepthwiseConv2d(n=2, c=c, **window, a=a, y=y, wt=weight_type(isa), **FULL)
        for owt, side in product(DEPTHWISE_TILES[isa], SIDES):
            assert_bits(w, tile(isa, owt), side=side)
            assert_bits(w, tile(isa, owt, cb=33, threads=2), gaps=(2, 3, 1), side=side)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "window", [*WINDOWS.values(), *OTHER_WINDOWS.values()], ids=[*WINDOWS, *OTHER_WINDOWS]
)
def test_any_window(window, isa):
    v = _kernels.isa_lanes(isa)
    for c, a, y in ((1, "u8", "u8"), (v - 1, "s8", "u8"), (v, "u8", "s8"), (5 * v + 3, "s8", "s8")):
        w = QDepthwiseConv2d(n=2, c=c, **window, a=a, y=y, wt="s16", **FULL)
        for side in SIDES:
            assert_bits(w, any_window(isa), side=side)
            assert_bits(w, any_window(isa, cb=5), gaps=(2, 3, 1), side=side)


@pytest.mark.parametrize("seed", range(12))
def test_random_workloads_and_configs(seed):
    rng = random.Random(seed)
    for _ in range(10):
        window = rng.choice([*WINDOWS.values(), *OTHER_WINDOWS.values()])
        larger = {"h": window["h"] + rng.randint(0, 4), "w": window["w"] + rng.randint(0, 9)}
        w = QDepthwiseConv2d(
            n=rng.choice((1, 1, 3)),
            c=rng.choice((rng.randint(1, 31), rng.randint(32, 130))),
            **{**window, **larger},
            a=rng.choice(("u8", "s8")),
            wt=rng.choice(("s8", "s8m", "s16")),
            y=rng.choice(("u8", "s8")),
            bias=rng.random() < 0.5,
            residual=rng.random() < 0.5,
            table=rng.random() < 0.5,
            threads=rng.choice((1, 2)),
        )
        gaps = tuple(rng.choice((0, 0, 1, 5)) for _ in range(3))
        config = rng.choice(space("qdepthwise_conv2d", w).configs)
        assert_bits(w, config, quant_inputs(w, rng.randrange(1000)), gaps=gaps)


EXTREMES = [
    {"scale": np.float32(1e30)},
    {"scale": np.float32(-1e30)},
    {"scale": np.float32(1e-38)},
    {"scale": np.float32(0.5), "zero": 255},
    {"scale": np.float32(0.5), "zero": 1, "low": 1, "high": 1},
    {"scale": np.float32(0.01), "zero": 100, "low": 90, "high": 130},
]


@pytest.mark.parametrize("out", EXTREMES, ids=str)
def test_extremes(out):
    """The largest products, sums that wrap around, and scales that overflow."""
    w = QDepthwiseConv2d(n=1, c=64, **WINDOWS["3x3"], wt="s16", bias=True)
    narrow = dataclasses.replace(w, wt="s8m")
    rng = np.random.default_rng(0)
    x = rng.choice(np.uint8([0, 255]), (1, w.h, w.w, w.c))
    bias = rng.choice(np.int32([2**31 - 1, -(2**31), 0, 7]), w.c)
    bytes_ = rng.choice(np.uint8([0, 255]), (w.c, 1, 3, 3)), rng.choice([0, 255], w.c)
    signed = rng.choice(np.int8([-128, 127]), (w.c, 1, 3, 3)), np.zeros(w.c, np.int64)
    for x_zero, (kind, weights) in product((0, 255), ((w, bytes_), (narrow, signed))):
        i = QuantInputs(x, x_zero, *weights, bias, Requant(**out))
        for isa in ISAS:
            assert_bits(kind, any_window(isa), i)
        for isa in TILED_ISAS:
            if kind is narrow or weight_type(isa) == "s16":
                assert_bits(kind, tile(isa, 2), i)


def test_long_windows_are_exact():
    """More taps than a float can count."""
    w = QDepthwiseConv2d(n=1, c=5, h=20, w=300, r=20, s=300, wt="s16")
    x = np.full((1, 20, 300, 5), 255, np.uint8)
    weights = np.full((5, 1, 20, 300), 255, np.uint8)
    i = QuantInputs(x, 0, weights, np.zeros(5, np.int64), None, Requant(np.float32(6e-7)))
    for isa in ISAS:
        assert_bits(w, any_window(isa), i)


def test_every_config_is_exact():
    for window in (WINDOWS["3x3"], WINDOWS["5x5 strided"], OTHER_WINDOWS["7x7"]):
        for wt in ("s8", "s16"):
            w = QDepthwiseConv2d(n=1, c=70, **window, wt=wt, threads=2, **FULL)
            s = space(w.op, w)
            assert s.default in s.configs
            assert QDepthwiseConv2d.parse(w.key) == w
            for config in s.configs:
                assert Runner(w, config).check().ok, config


def test_the_residual_may_be_the_first_operand():
    w = QDepthwiseConv2d(n=1, c=64, **WINDOWS["3x3"], residual=True)
    i = quant_inputs(w, 0)
    value = i.out.residual.value
    answers = []
    for first in (False, True):
        residual = Residual(value, 3, 0.1, 0.3, sum_zero=7, first=first)
        inputs = dataclasses.replace(i, out=dataclasses.replace(i.out, residual=residual))
        assert_bits(w, default_config(w), inputs)
        answers.append(answer(w, inputs))
    assert not np.array_equal(*answers)


def test_the_same_bits_for_any_number_of_threads_and_config():
    w = QDepthwiseConv2d(n=2, c=70, **WINDOWS["3x3"], **FULL)
    configs = [any_window(isa, threads=t) for isa in ISAS for t in (1, 3)]
    configs += [tile(isa, 2, threads=t) for isa in TILED_ISAS for t in (1, 2)]
    assert_same_bits([compute(w, config, quant_inputs(w, 0)) for config in configs])


def test_numpy_api():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (1, 9, 8, 40), np.uint8)
    w = rng.integers(0, 256, (40, 1, 3, 3), np.uint8)
    zeros, bias = rng.integers(0, 256, 40), rng.integers(-999, 999, 40).astype(np.int32)
    out = Requant(np.linspace(0.001, 0.01, 40, dtype=np.float32), zero=7)
    y = qdepthwise_conv2d(
        x, w, out, x_zero=100, w_zero=zeros, bias=bias, pads=(1, 1, 1, 1), strides=(2, 2)
    )
    workload = QDepthwiseConv2d(
        n=1, c=40, h=9, w=8, r=3, s=3, pads=(1, 1, 1, 1), strides=(2, 2), bias=True
    )
    assert np.array_equal(y, answer(workload, QuantInputs(x, 100, w, zeros, bias, out)))
    with pytest.raises(ArgumentError, match=r"expected weights \[40, 1, kh, kw\], got \[39, 1"):
        qdepthwise_conv2d(x, w[1:], out)
    with pytest.raises(ArgumentError, match="the output is bytes, not s32"):
        qdepthwise_conv2d(x, w, Requant(dtype=np.int32))


BAD = [
    {"n": -1},
    {"n": 1 << 40},
    {"ih": 0},
    {"oh": (1 << 31) - 1, "ow": (1 << 31) - 1},
    {"kh": (1 << 31) - 1, "kw": (1 << 31) - 1},
    {"c": 0},
    {"sh": 0},
    {"dh": (1 << 31) - 1, "ldx": 1 << 20},
    {"pl": 1 << 62},
    {"ldx": 3},
    {"ldy": 3},
    {"isa": 99},
    {"isa": -1},
    {"cb": 0},
    {"threads": 0},
    {"a_type": 0},
    {"y_type": 7},
    {"a_zero": 256},
    {"y_zero": -1},
    {"y_min": 9, "y_max": 8},
    {"residual": np.zeros(1, np.uint8), "y_ratio": 0.0},
    {"special": 1},
    {"x": None},
    {"w": None},
    {"scale": None},
    {"y": None},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_the_driver_refuses(bad):
    w = QDepthwiseConv2d(n=1, c=4, **WINDOWS["3x3"])
    sound = {**quant_slots(w, quant_inputs(w, 0), any_window("scalar"))}
    sound["y"] = np.zeros((1, 6, 13, 4), np.uint8)
    _kernels.call("qdepthwise_conv2d", sound)
    with pytest.raises(KernelError, match="qdepthwise_conv2d"):
        _kernels.call("qdepthwise_conv2d", {**sound, **bad})


@pytest.mark.parametrize("isa", TILED_ISAS)
@pytest.mark.parametrize(
    "bad",
    [{"owt": 0}, {"owt": 5}, {"c": 31}, {"kh": 8}, {"kw": 4}, {"sw": 3}, {"dw": 2}, {"work": None}],
    ids=str,
)
def test_tiles_refuse(bad, isa):
    w = QDepthwiseConv2d(n=1, c=40, **WINDOWS["3x3"])
    sound = {**quant_slots(w, quant_inputs(w, 0), tile(isa, 2))}
    sound["y"] = np.zeros((1, 6, 13, 40), np.uint8)
    _kernels.call("qdepthwise_conv2d", sound)
    with pytest.raises(KernelError, match="qdepthwise_conv2d"):
        _kernels.call("qdepthwise_conv2d", {**sound, **bad})


def test_no_images():
    assert_bits(QDepthwiseConv2d(n=0, c=3, **WINDOWS["3x3"]), any_window("scalar"))


def test_packing_depends_on_the_kernel():
    w = QDepthwiseConv2d(n=1, c=40, **WINDOWS["3x3"])
    keys = {
        fields.packing_key(w, c)
        for c in (any_window("scalar"), tile("avx2", 1), tile("avx512vnni", 2))
    }
    assert len(keys) == 3
