"""Workloads and their keys."""

from __future__ import annotations

import pytest

from luthier.errors import ArgumentError
from luthier.kernels import ACTIVATIONS, Conv2d, DepthwiseConv2d, Gemm, QConv2d, QGemm, Workload

GEMM = "gemm/f32/b1m2n3k4/packed/epi=none/t1"
CONV = "conv2d/f32/n1c64h56w57/k32r3s4/st1.2/p1.2.3.4/d1.2/g2/epi=bias,residual,relu/t2"
DEPTHWISE = "depthwise_conv2d/f32/n1c64h56w57/r3s4/st1.2/p1.2.3.4/d1.2/epi=relu/t2"

WINDOW = {"n": 1, "c": 64, "h": 56, "w": 57, "r": 3, "s": 4, "activation": "relu", "threads": 2}
WINDOW |= {"strides": (1, 2), "pads": (1, 2, 3, 4), "dilations": (1, 2)}


def test_keys():
    assert Gemm(m=2, n=3, k=4).key == GEMM
    assert Conv2d(k=32, groups=2, bias=True, residual=True, **WINDOW).key == CONV
    assert DepthwiseConv2d(**WINDOW).key == DEPTHWISE


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("residual", [False, True], ids=["", "residual"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_keys_come_back(bias, residual, activation):
    epilogue = {"bias": bias, "residual": residual, "activation": activation, "threads": 3}
    for workload in (
        Gemm(m=0, n=1000000, k=7, batch=12, packed=bias, **epilogue),
        Conv2d(n=2, c=6, h=1, w=9, k=4, r=1, s=3, groups=2, pads=(0, 1, 2, 3), **epilogue),
        DepthwiseConv2d(n=2, c=6, h=9, w=9, r=5, s=3, strides=(2, 1), **epilogue),
    ):
        again = Workload.parse(workload.key)
        assert again == workload
        assert type(again) is type(workload)


def test_sizes():
    conv = Workload.parse(CONV)
    assert (conv.oh, conv.ow) == (58, 29)
    assert conv.flops == 2 * 58 * 29 * 32 * 3 * 4 * 32
    assert conv.bytes == 4 * (32 * 3 * 4 * 32 + 2 * 58 * 29 * 32 + 56 * 57 * 64)
    depthwise = Workload.parse(DEPTHWISE)
    assert depthwise.flops == 2 * 58 * 29 * 64 * 3 * 4
    assert depthwise.bytes == 4 * (64 * 3 * 4 + 58 * 29 * 64 + 56 * 57 * 64)
    gemm = Gemm(m=2, n=3, k=4, batch=5, packed=False, residual=True)
    assert (gemm.flops, gemm.bytes) == (2 * 5 * 24, 4 * 5 * (12 + 8 + 6 + 6))
    assert Gemm(m=2, n=3, k=4).bytes == 4 * (12 + 8 + 6)


QGEMM = "qgemm/u8s8u8/b1m2n3k4/packed/epi=none/t1"
QCONV = "qconv2d/s8s16s8/n1c64h56w57/k32r3s4/st1.2/p1.2.3.4/d1.2/g2/epi=bias,residual,table/t2"


def test_keys_on_bytes():
    assert QGemm(m=2, n=3, k=4).key == QGEMM
    window = {name: value for name, value in WINDOW.items() if name != "activation"}
    full = {"bias": True, "residual": True, "table": True, "a": "s8", "wt": "s16", "y": "s8"}
    assert QConv2d(k=32, groups=2, **full, **window).key == QCONV
    for y, wt, bias in (("u8", "s8m", True), ("s32", "s16", False), ("f32", "s8m", False)):
        again = QGemm(m=2, n=3, k=4, batch=5, packed=False, y=y, wt=wt, bias=bias)
        assert Workload.parse(again.key) == again
    conv = Workload.parse(QCONV)
    assert (conv.flops, conv.op) == (Workload.parse(CONV).flops, "qconv2d")
    assert conv.bytes == 2 * 32 * 3 * 4 * 32 + 2 * 58 * 29 * 32 + 56 * 57 * 64
    assert QGemm(m=2, n=3, k=4, y="f32").bytes == 12 + 8 + 24


GARBAGE = [
    QGEMM.replace("u8s8u8", "u8u8u8"),
    QGEMM.replace("u8s8u8", "s16s8u8"),
    QGEMM.replace("u8s8u8", "f32"),
    QGEMM.replace("packed", "plain"),
    QGEMM.replace("none", "relu"),
    QGEMM.replace("none", "table,bias"),
    QGEMM.replace("u8s8u8", "u8s8f32").replace("none", "table"),
    QCONV.replace("/k32", "/"),
    QCONV.replace("s8s16s8", "s8s16s32"),
    "",
    "gemm",
    " " + GEMM,
    GEMM + "\n",
    GEMM + "/",
    GEMM.upper(),
    GEMM.replace("f32", "f16"),
    GEMM.replace("m2", "m-2"),
    GEMM.replace("m2", "m02"),
    GEMM.replace("m2", "m"),
    GEMM.replace("m2", "m\u0662"),
    GEMM.replace("m2", "m" + 5000 * "9"),
    GEMM.replace("m2", "m2.5"),
    GEMM.replace("packed", "wrapped"),
    GEMM.replace("t1", "t0"),
    GEMM.replace("none", ""),
    GEMM.replace("none", "swish"),
    GEMM.replace("none", "relu,relu"),
    GEMM.replace("none", "bias,bias"),
    GEMM.replace("none", "bias,none"),
    GEMM.replace("none", "relu,bias"),
    GEMM.replace("none", "residual,bias"),
    CONV.replace("k32", ""),
    CONV.replace("g2", "g0"),
    CONV.replace("g2", "g3"),
    CONV.replace("st1", "st0"),
    CONV.replace("d1.2", "d1.0"),
    CONV.replace("r3", "r0"),
    CONV.replace("r3", "r99"),
    CONV.replace("p1.2.3.4", "p1.2.3"),
    CONV.replace("p1.2", "p1x2"),
    CONV.replace("conv2d", "conv3d"),
    DEPTHWISE.replace("/r3", "/k64r3"),
    DEPTHWISE.replace("s4", "s400"),
]


@pytest.mark.parametrize("key", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_is_refused(key):
    with pytest.raises(ArgumentError):
        Workload.parse(key)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Gemm(m=-1, n=1, k=1), "gemm: expected m of at least 0, got -1"),
        (lambda: Gemm(m=1, n=1, k=1, threads=0), "gemm: expected threads of at least 1, got 0"),
        (lambda: Gemm(m=1, n=1, k=1, activation="x"), "gemm: no activation 'x'"),
        (lambda: Conv2d(k=30, groups=4, **WINDOW), "64 and 30 channels do not split into 4 groups"),
        (lambda: Conv2d(k=30, groups=0, **WINDOW), "conv2d: expected groups of at least 1, got 0"),
        (
            lambda: DepthwiseConv2d(**WINDOW | {"strides": (1, 0)}),
            r"depthwise_conv2d: expected strides of at least 1, got \(1, 0\)",
        ),
        (
            lambda: DepthwiseConv2d(**WINDOW | {"pads": (0, 0, -1, 0)}),
            r"depthwise_conv2d: expected pads of at least 0, got \(0, 0, -1, 0\)",
        ),
        (
            lambda: DepthwiseConv2d(**WINDOW | {"h": 1, "r": 9}),
            "depthwise_conv2d: the window is larger than the padded input",
        ),
    ],
)
def test_impossible_workloads_are_refused(make, text):
    with pytest.raises(ArgumentError, match=text):
        make()


def test_pointwise():
    assert Conv2d(n=1, c=1, h=2, w=2, k=1, r=1, s=1).pointwise
    assert not Conv2d(n=1, c=1, h=2, w=2, k=1, r=1, s=1, pads=(0, 0, 1, 0)).pointwise
    assert not Conv2d(n=1, c=1, h=2, w=2, k=1, r=1, s=1, strides=(1, 2)).pointwise
    assert not Conv2d(n=1, c=1, h=2, w=2, k=1, r=1, s=2).pointwise
