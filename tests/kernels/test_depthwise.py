"""The operator depthwise_conv2d: the special kernels of every tile, and the general one."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from kernel_cases import ISAS, SIDES, assert_close, assert_same_bits, lanes
from linear_cases import (
    EXACT,
    answer,
    assert_exact,
    compute,
    depthwise_config,
    make_inputs,
    noise,
)

from luthier.errors import KernelError
from luthier.kernels import ACTIVATIONS, DepthwiseConv2d, _kernels, fields, space

FULL = {"bias": True, "residual": True, "activation": "relu"}

WINDOWS = {
    "3x3": {"h": 6, "w": 13, "r": 3, "s": 3, "pads": (1, 1, 1, 1)},
    "3x3 strided": {"h": 7, "w": 19, "r": 3, "s": 3, "pads": (0, 0, 1, 1), "strides": (2, 2)},
    "5x5": {"h": 6, "w": 14, "r": 5, "s": 5, "pads": (2, 2, 2, 2)},
    "5x5 strided": {"h": 7, "w": 20, "r": 5, "s": 5, "pads": (2, 1, 2, 3), "strides": (2, 2)},
    "2x3": {"h": 5, "w": 8, "r": 2, "s": 3},
    "1x5, rows strided": {"h": 5, "w": 8, "r": 1, "s": 5, "pads": (0, 4, 0, 2), "strides": (3, 1)},
    "rows dilated": {"h": 8, "w": 9, "r": 3, "s": 3, "pads": (2, 1, 2, 1), "dilations": (2, 1)},
    "edges wider than the image": {"h": 2, "w": 3, "r": 3, "s": 5, "pads": (1, 4, 1, 4)},
    "padding only": {"h": 2, "w": 2, "r": 3, "s": 3, "pads": (5, 6, 4, 7)},
    "one pixel": {"h": 1, "w": 1, "r": 3, "s": 3, "pads": (1, 1, 1, 1)},
}
"""Windows that special kernels can compute."""

OTHER_WINDOWS = {
    "7x7": {"h": 8, "w": 9, "r": 7, "s": 7, "pads": (3, 3, 3, 3)},
    "stride 3": {"h": 8, "w": 11, "r": 3, "s": 3, "pads": (1, 1, 1, 1), "strides": (1, 3)},
    "dilated": {"h": 9, "w": 11, "r": 3, "s": 3, "pads": (2, 3, 1, 0), "dilations": (2, 3)},
    "dilated beyond the image": {"h": 3, "w": 3, "r": 2, "s": 3, "pads": (4, 6, 4, 6),
                                 "strides": (2, 1), "dilations": (5, 4)},
    "1x1": {"h": 3, "w": 4, "r": 1, "s": 1, "strides": (1, 2)},
    "4x2": {"h": 6, "w": 5, "r": 4, "s": 2, "pads": (2, 1, 1, 0)},
}  # fmt: skip


def special_tiles(isa: str, width: int, stride: int) -> list[tuple[int, int]]:
    """Every (owt, cv) for which there is a special kernel."""
    window = {"h": 3, "w": 2 * width, "r": 3, "s": width, "strides": (1, stride)}
    workload, found = DepthwiseConv2d(n=1, c=1, **window), []
    for owt, cv in product(range(1, 10), (1, 2, 3)):
        try:
            compute(workload, special(isa, owt, cv), make_inputs(workload))
            found.append((owt, cv))
        except KernelError:
            continue
    return found


def special(isa: str, owt: int, cv: int, **knobs: int) -> dict:
    return depthwise_config(isa, special=1, owt=owt, cv=cv, **knobs)


def has_special(isa: str, window: dict) -> bool:
    return window["s"] == 3 or isa != "scalar"


def channels(isa: str) -> tuple[int, ...]:
    v = lanes(isa)
    return (1, v - 1, v, v + 1, 2 * v, 3 * v + 2, 4 * v + 1)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("width", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_every_special_tile(width, stride, isa):
    tiles = special_tiles(isa, width, stride)
    # What a row is split into evenly has to be there as well: every smaller tile.
    assert all((owt - 1, cv) in tiles for owt, cv in tiles if owt > 1)
    assert bool(tiles) == (isa != "scalar" or width == 3)
    for (owt, cv), side in product(tiles, SIDES):
        for c in (cv * lanes(isa), (cv + 1) * lanes(isa) + 1):
            width_in = (owt - 1) * stride + width  # just one tile
            shape = {"h": 4, "w": width_in, "r": 3, "s": width, "strides": (1, stride)}
            workload = DepthwiseConv2d(n=1, c=c, **shape, **FULL)
            assert_exact(workload, special(isa, owt, cv), side=side, gaps=(c % 2, 0, 0))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", WINDOWS.values(), ids=list(WINDOWS))
def test_windows_of_special_kernels(window, isa):
    for c in channels(isa):
        workload = DepthwiseConv2d(n=2, c=c, **window, **FULL)
        configs = [depthwise_config(isa)]
        if has_special(isa, window):
            configs += [special(isa, owt, 1) for owt in (1, 3, 4)]
            configs += [special(isa, 4, 2)] if isa != "scalar" else []
        for config, side in product(configs, SIDES):
            assert_exact(workload, config, side=side)
            assert_exact(workload, {**config, "cb": lanes(isa) + 1}, gaps=(2, 3, 1), side=side)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", OTHER_WINDOWS.values(), ids=list(OTHER_WINDOWS))
def test_windows_of_the_general_kernel(window, isa):
    for c in channels(isa):
        workload = DepthwiseConv2d(n=2, c=c, **window, **FULL)
        for side in SIDES:
            assert_exact(workload, depthwise_config(isa), side=side)
            assert_exact(workload, depthwise_config(isa, cb=5), gaps=(2, 3, 1), side=side)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, isa):
    params = EXACT.get(activation, (0.0, 0.0))
    epilogue = FULL | {"activation": activation}
    workload = DepthwiseConv2d(n=1, c=lanes(isa) + 3, **WINDOWS["3x3"], **epilogue)
    for config in (depthwise_config(isa), special(isa, 4, 1)):
        if activation in EXACT:
            assert_exact(workload, config, params=params, gaps=(0, 5, 0))
        else:
            i = make_inputs(workload)
            assert_close(compute(workload, config, i, params), answer(workload, i, params), 8, 1e-6)


@pytest.mark.parametrize("seed", range(20))
def test_random_workloads_and_configs(seed):
    rng = random.Random(seed)
    for _ in range(10):
        window = rng.choice([*WINDOWS.values(), *OTHER_WINDOWS.values()])
        workload = DepthwiseConv2d(
            n=rng.choice((1, 1, 3)),
            c=rng.randint(1, 70),
            **{
                **window,
                "h": window["h"] + rng.randint(0, 4),
                "w": window["w"] + rng.randint(0, 9),
            },
            bias=rng.random() < 0.5,
            residual=rng.random() < 0.3,
            activation=rng.choice(list(EXACT)),
            threads=rng.choice((1, 2)),
        )
        config = rng.choice(space("depthwise_conv2d", workload).configs)
        gaps = tuple(rng.choice((0, 0, 1, 5)) for _ in range(3))
        how = {"params": EXACT[workload.activation], "gaps": gaps, "side": rng.choice(SIDES)}
        assert_exact(workload, config, rng.randrange(1000), **how)


@pytest.mark.parametrize("isa", ISAS)
def test_the_same_bits_for_any_number_of_threads_and_tile(isa):
    workload = DepthwiseConv2d(n=2, c=lanes(isa) + 5, **WINDOWS["3x3"], **FULL)
    i = make_inputs(workload, kind=noise)
    configs = [depthwise_config(isa, threads=t) for t in (1, 2, 3)]
    configs += [special(isa, owt, 1, threads=t) for owt in (1, 4) for t in (1, 2)]
    results = [compute(workload, config, i) for config in configs]
    assert_close(results[0], answer(workload, i), 0, 1e-5)
    assert_same_bits(results)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinities_spread_as_in_numpy(value, isa):
    workload = DepthwiseConv2d(n=1, c=19, **WINDOWS["3x3"], bias=True, activation="relu")
    i = make_inputs(workload)
    i.x[0, 2, 3, 1::3] = value
    with np.errstate(invalid="ignore"):
        expected = answer(workload, i)
    assert not np.isfinite(expected).all()
    for config in (depthwise_config(isa), special(isa, 4, 1)):
        assert np.array_equal(compute(workload, config, i), expected, equal_nan=True)


BAD = [
    {"n": -1},
    {"n": 1 << 40},
    {"ih": 0},
    {"ih": (1 << 31) - 1, "iw": (1 << 31) - 1},
    {"oh": (1 << 31) - 1, "ow": (1 << 31) - 1},
    {"kh": (1 << 31) - 1, "kw": (1 << 31) - 1},
    {"c": 0},
    {"sh": 0},
    {"sw": (1 << 31) - 1, "ow": (1 << 31) - 1},
    {"dh": -1},
    {"dh": (1 << 31) - 1, "ldx": 1 << 20},
    {"pt": -1},
    {"pl": 1 << 62},
    {"pt": (1 << 31) - 1, "ldx": 1 << 20},
    {"ldx": 3},
    {"ldy": 3},
    {"ldr": -1},
    {"isa": 9},
    {"isa": -1},
    {"cb": 0},
    {"threads": 0},
    {"act": 99},
    {"special": 1, "owt": 0},
    {"special": 1, "owt": 9, "cv": 1},
    {"special": 1, "owt": 2, "cv": 3},
    {"special": 1, "owt": 2, "cv": 1, "dw": 2},
    {"special": 1, "owt": 2, "cv": 1, "sw": 3},
    {"special": 1, "owt": 2, "cv": 1, "kw": 4},
    {"x": None},
    {"w": None},
    {"y": None},
]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_the_driver_refuses(bad):
    workload = DepthwiseConv2d(n=1, c=4, **WINDOWS["3x3"])
    i, config = make_inputs(workload), depthwise_config("scalar")
    sound = {
        **fields.workload_fields(workload),
        **fields.config_fields(config),
        **{"x": i.x, "w": fields.pack_weights(workload, i.w, config)},
        "y": np.zeros((1, 6, 13, 4), np.float32),
    }
    _kernels.call("depthwise_conv2d", sound)
    with pytest.raises(KernelError, match="depthwise_conv2d"):
        _kernels.call("depthwise_conv2d", {**sound, **bad})


def test_no_images():
    assert_exact(DepthwiseConv2d(n=0, c=3, **WINDOWS["3x3"]), depthwise_config("scalar"))
