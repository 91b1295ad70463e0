"""Products of bytes in float32: answers, workloads, and what is chosen untuned."""

from __future__ import annotations

from dataclasses import replace

import pytest

from luthier.errors import ArgumentError
from luthier.kernels import (
    Precision,
    QConv2d,
    QDepthwiseConv2d,
    QGemm,
    Runner,
    Workload,
    native_target,
    precision_spaces,
    quant_spaces,
    space,
    spaces,
)
from luthier.kernels.spaces import default_config, is_legal
from luthier.target import profile

MAP = {"n": 1, "c": 20, "h": 9, "w": 7, "bias": True}
THREE = {**MAP, "r": 3, "s": 3, "pads": (1, 1, 1, 1)}
INTEGERS = {
    "gemm": QGemm(m=17, n=33, k=64, bias=True, residual=True, table=True, threads=2),
    "gemm to float": QGemm(m=1, n=33, k=64, y="f32"),
    "batch": QGemm(batch=3, m=5, n=9, k=7, a="s8", y="s8", table=True),
    "conv": QConv2d(k=24, residual=True, y="s8", a="s8", **THREE),
    "wide weights": QConv2d(k=24, table=True, wt="s16", **THREE),
    "groups to float": QConv2d(k=8, r=1, s=1, groups=2, y="f32", **{**MAP, "bias": False}),
    "depthwise": QDepthwiseConv2d(strides=(2, 2), residual=True, **THREE),
}
CHOICES = [pytest.param(Precision(w), id=name) for name, w in INTEGERS.items()]


@pytest.mark.parametrize("precision", ["int8", "f32"])
@pytest.mark.parametrize("choice", CHOICES)
def test_answers(choice: Precision, precision: str) -> None:
    for seed in range(3):
        runner = Runner(choice, {"precision": precision}, seed)
        assert runner.check().ok
        assert runner.time(1) > 0


def test_a_wrong_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(*args: object) -> tuple:
        w, bias = operands(*args)
        return w * 1.05, bias

    operands = Runner.__init__.__globals__["float_operands"]
    monkeypatch.setattr("luthier.kernels.runner.float_operands", scaled)
    assert not Runner(Precision(INTEGERS["conv"]), {"precision": "f32"}).check().ok


@pytest.mark.parametrize("choice", CHOICES)
def test_workload_and_space(choice: Precision) -> None:
    assert Workload.parse(choice.key) == choice
    q, real = choice.members
    assert (choice.flops, choice.threads) == (q.flops, q.threads) == (real.flops, real.threads)
    found = space("precision", choice)
    assert found.knobs == {"precision": ("int8", "f32")}
    assert all(is_legal(config, choice) for config in found.configs)
    with pytest.raises(ArgumentError, match="precision in"):
        Runner(choice, {"precision": "f16"})


def test_what_has_no_counterpart() -> None:
    for w in (QGemm(m=2, n=2, k=2, y="s32"), QGemm(m=2, n=2, k=2, packed=False, wt="s16")):
        with pytest.raises(ArgumentError, match="no counterpart"):
            Precision(w)
    with pytest.raises(ArgumentError, match="is no product of bytes"):
        Workload.parse("precision//" + Precision(INTEGERS["conv"]).real.key)


@pytest.mark.parametrize(
    ("features", "cycles", "expected", "is_open"),
    [
        ((), (100.0, 60.0), "f32", True),
        ((), (100.0, 90.0), "int8", True),
        ((), (100.0, 300.0), "int8", False),
        (("avxvnni",), (100.0, 60.0), "int8", True),
    ],
)
def test_the_untuned_choice(
    features: tuple[str, ...],
    cycles: tuple[float, float],
    expected: str,
    is_open: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bytes where they have dot products; else by the cost model, conversions counted."""
    target = replace(native_target(), isas=("scalar", "avx2"), features=features)
    choice = Precision(INTEGERS["gemm"])
    monkeypatch.setattr(quant_spaces, "_cycles", lambda *_: cycles[0])
    monkeypatch.setattr(spaces, "_cycles", lambda *_: cycles[1])
    monkeypatch.setattr(precision_spaces, "_conversion_cycles", lambda *_: 20.0)
    assert default_config(choice, target) == {"precision": expected}
    assert precision_spaces.is_open(choice, target) == is_open


def test_depthwise_is_left_to_measuring() -> None:
    choice = Precision(INTEGERS["depthwise"])
    assert default_config(choice, profile("raspberry-pi-4")) == {"precision": "int8"}
    assert precision_spaces.is_open(choice, native_target())


def test_conversions_are_counted() -> None:
    gemm = INTEGERS["gemm"]
    plain = replace(gemm, residual=False, table=False)
    costs = [
        precision_spaces.estimates(Precision(w), native_target())["f32"]
        for w in (replace(plain, y="f32"), plain, replace(plain, residual=True), gemm)
    ]
    assert costs == sorted(set(costs))
