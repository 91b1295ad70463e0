"""pytest-benchmark: every family of kernels, untuned, on layers of real models and every ISA.

A line in `luthier.bench.workloads` adds a tunable kernel, one in `CALLS` any other. Answers are
compared with the NumPy reference before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from luthier import kernels
from luthier.bench.workloads import WORKLOADS
from luthier.kernels import Runner, Workload, isas, native_target
from luthier.kernels import qreference as qref
from luthier.kernels import reference as ref
from luthier.kernels.spaces import algorithm_defaults

Case = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Callable[[], Any]]


def _configs() -> list[Any]:
    """The untuned config of every workload, ISA and algorithm."""
    native = native_target()
    targets = [replace(native, isas=native.isas[: i + 1]) for i in range(len(native.isas))]
    return [
        pytest.param(name, config, id=f"{name}-{algorithm}-{target.isa}")
        for name, key in WORKLOADS.items()
        for target in targets
        for algorithm, config in algorithm_defaults(Workload.parse(key), target).items()
    ]


@pytest.mark.parametrize(("name", "config"), _configs())
def test_tunable(benchmark: Any, name: str, config: dict[str, Any]) -> None:
    workload = Workload.parse(WORKLOADS[name])
    runner = Runner(workload, config)
    assert runner.check().ok
    benchmark.group = name
    benchmark.extra_info |= {"workload": workload.key, "config": config}
    benchmark(runner.run)
    if benchmark.stats:
        benchmark.extra_info["gflops"] = workload.flops / benchmark.stats["median"] / 1e9


@cache
def _floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@cache
def _bytes(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


MAP, SMALL, CHANNELS = (1, 56, 56, 64), (1, 14, 14, 256), (256,)
TOKENS = (1, 128, 768)
SCALE, ZERO = np.float32(1 / 32), np.int32(128)
POOL: dict[str, Any] = {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
Q = (0.5, 128)
R = np.float32(1)

CALLS: dict[str, Case] = {
    "max_pool2d": (
        *(kernels.max_pool2d, (_floats(*MAP),), {**POOL, "layout": "NHWC"}),
        lambda: ref.pool2d(_floats(*MAP), out_size=(28, 28), **POOL),
    ),
    "avg_pool2d": (
        *(kernels.avg_pool2d, (_floats(*MAP),), {**POOL, "layout": "NHWC"}),
        lambda: ref.pool2d(_floats(*MAP), out_size=(28, 28), **POOL, mode="average"),
    ),
    "unary exp": (
        *(kernels.unary, ("exp", _floats(*MAP)), {}),
        lambda: ref.unary("exp", _floats(*MAP)),
    ),
    "binary add": (
        *(kernels.binary, ("add", _floats(*MAP), _floats(*MAP)), {}),
        lambda: ref.binary("add", _floats(*MAP), _floats(*MAP)),
    ),
    "binary mul by channel": (
        *(kernels.binary, ("mul", _floats(*SMALL), _floats(*CHANNELS)), {}),
        lambda: ref.binary("mul", _floats(*SMALL), _floats(*CHANNELS)),
    ),
    "reduce mean of pixels": (
        *(kernels.reduce, ("mean", _floats(*SMALL), (1, 2)), {}),
        lambda: ref.reduce("mean", _floats(*SMALL), (1, 2)),
    ),
    "softmax": (
        *(kernels.softmax, (_floats(12, 128, 128),), {}),
        lambda: ref.softmax(_floats(12, 128, 128), -1),
    ),
    "layer_norm": (
        *(kernels.layer_norm, (_floats(*TOKENS), _floats(768), _floats(768)), {}),
        lambda: ref.layer_norm(_floats(*TOKENS), _floats(768), _floats(768), -1, 1e-5),
    ),
    "lrn": (
        *(kernels.lrn, (_floats(*MAP), 5), {}),
        lambda: ref.lrn(_floats(*MAP), 5),
    ),
    "resize_linear": (
        *(kernels.resize_linear, (_floats(*SMALL), (28, 28)), {"layout": "NHWC"}),
        lambda: ref.resize_linear(_floats(*SMALL), (28, 28), "half_pixel"),
    ),
    "copy: transpose": (
        *(kernels.transpose, (_floats(1, 64, 56, 56), (0, 2, 3, 1)), {}),
        lambda: _floats(1, 64, 56, 56).transpose(0, 2, 3, 1),
    ),
    "copy: concat": (
        *(kernels.concat, ([_floats(*MAP), _floats(*MAP)], 3), {}),
        lambda: np.concatenate([_floats(*MAP), _floats(*MAP)], 3),
    ),
    "take": (
        *(kernels.take, (_floats(1000, 768), np.arange(0, 1000, 7)), {}),
        lambda: _floats(1000, 768)[::7],
    ),
    "cast to uint8": (
        *(kernels.cast, (np.abs(_floats(*MAP)), np.uint8), {}),
        lambda: ref.cast(np.abs(_floats(*MAP)), np.uint8),
    ),
    "quantize_linear": (
        *(kernels.quantize_linear, (_floats(*MAP), SCALE, 128), {}),
        lambda: qref.quantize(_floats(*MAP), SCALE, ZERO, 0, 255),
    ),
    "dequantize_linear": (
        *(kernels.dequantize_linear, (_bytes(*MAP), SCALE, 128), {}),
        lambda: qref.dequantize(_bytes(*MAP), SCALE, ZERO),
    ),
    "qlinear_add": (
        *(kernels.qlinear_add, (_bytes(*MAP), *Q, _bytes(*MAP), *Q, *Q), {}),
        lambda: qref.add(_bytes(*MAP), _bytes(*MAP), (R, R), (128, 128, 128), 0, 255),
    ),
    "qlinear_mul": (
        *(kernels.qlinear_mul, (_bytes(*MAP), *Q, _bytes(*MAP), *Q, *Q), {}),
        lambda: qref.multiply(_bytes(*MAP), _bytes(*MAP), R / 2, (128, 128, 128), 0, 255),
    ),
}
"""Name to function, its arguments, and what gives the right answer. Integers match exactly."""


@pytest.mark.parametrize("isa", isas())
@pytest.mark.parametrize("name", CALLS)
def test_call(benchmark: Any, name: str, isa: str) -> None:
    function, args, keywords, expected = CALLS[name]
    got, right = function(*args, **keywords, isa=isa), expected()
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(got, right)
    benchmark.group = name
    benchmark(function, *args, **keywords, isa=isa)
