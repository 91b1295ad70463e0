"""The Winograd algorithms of conv2d: tiles, edges, blocks and errors."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from kernel_cases import ISAS, SIDES, assert_close, assert_same_bits, lanes
from linear_cases import (
    EXACT,
    answer,
    assert_exact,
    compute,
    conv_config,
    gemm_variants,
    make_inputs,
    noise,
)

from luthier.errors import KernelError
from luthier.kernels import ACTIVATIONS, Conv2d, Runner, _kernels, default_config, fields, space
from luthier.kernels.spaces import WINOGRAD_ERRORS
from luthier.target import profile

TILES = (2, 4, 6)
FULL = {"bias": True, "residual": True, "activation": "relu"}
SHAPES = [  # height, width, pads
    (8, 14, (1, 1, 1, 1)),
    (7, 9, (0, 0, 0, 0)),
    (6, 5, (0, 2, 3, 1)),
    (1, 1, (1, 1, 1, 1)),
    (3, 3, (0, 0, 0, 0)),
    (1, 20, (1, 0, 1, 2)),
    (19, 2, (2, 1, 0, 0)),
    (2, 2, (9, 7, 0, 8)),
]


def shaped(h: int, w: int, pads: tuple, **sizes) -> Conv2d:
    return Conv2d(**{"n": 1, "h": h, "w": w, "r": 3, "s": 3, "pads": pads, **sizes})


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_edges_and_tails(shape, tile, isa):
    for n, c, k, groups in ((1, 3, lanes(isa) + 2, 1), (2, lanes(isa), 6, 1), (1, 10, 6, 2)):
        workload = shaped(*shape, n=n, c=c, k=k, groups=groups, **FULL)
        for side in SIDES:
            config = conv_config(f"winograd{tile}", isa)
            assert_exact(workload, config, side=side)
            blocks = {"mc": 2, "nc": 1, "split_n": 1}
            assert_exact(workload, {**config, **blocks}, gaps=(3, 2, 1), side=side)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("tile", TILES)
def test_every_register_tile(tile, isa):
    for mr, nv, ku in gemm_variants(isa):
        columns = (2 * nv - 1) * lanes(isa) - 1
        workload = shaped(2 * tile, mr * tile, (1, 1, 1, 1), c=5, k=columns, bias=True)
        assert_exact(workload, conv_config(f"winograd{tile}", isa, mr=mr, nv=nv, ku=ku, mc=mr))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("tile", TILES)
def test_blocks(tile, isa):
    columns = 2 * lanes(isa) + 3
    workload = shaped(11, 13, (1, 1, 1, 1), n=2, c=9, k=3 * columns, groups=3, **FULL)
    for mc in (1, 3, 8, 1000):
        for nc, split_n, threads in ((1, 0, 1), (20, 1, 2), (1000, 0, 3), (lanes(isa), 1, 3)):
            knobs = {"mc": mc, "nc": nc, "split_n": split_n, "threads": threads}
            assert_exact(workload, conv_config(f"winograd{tile}", isa, **knobs), seed=mc + nc)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, isa):
    params = EXACT.get(activation, (0.0, 0.0))
    epilogue = FULL | {"activation": activation}
    workload = shaped(7, 6, (1, 1, 1, 1), c=4, k=lanes(isa) + 1, **epilogue)
    for tile in TILES:
        config = conv_config(f"winograd{tile}", isa)
        if activation in EXACT:
            assert_exact(workload, config, params=params, gaps=(0, 5, 0))
        else:
            i = make_inputs(workload)
            y = compute(workload, config, i, params)
            assert_close(y, answer(workload, i, params), 8, 1e-6 if tile == 2 else 0.01)


@pytest.mark.parametrize("seed", range(20))
def test_random_shapes_and_configs(seed):
    rng = random.Random(seed)
    for _ in range(5):
        groups = rng.choice((1, 1, 2))
        workload = shaped(
            rng.randint(3, 17),
            rng.randint(3, 17),
            tuple(rng.choice((0, 0, 1, 2, 4)) for _ in range(4)),
            n=rng.choice((1, 1, 2)),
            c=groups * rng.randint(1, 20),
            k=groups * rng.choice((1, 8, 17, 33)),
            groups=groups,
            bias=rng.random() < 0.5,
            residual=rng.random() < 0.3,
            activation=rng.choice(list(EXACT)),
            threads=rng.choice((1, 2)),
        )
        every = space("conv2d", workload, max_error=1.0).configs
        config = rng.choice([c for c in every if fields.winograd_tile(c)])
        gaps = tuple(rng.choice((0, 0, 1, 5)) for _ in range(3))
        how = {"params": EXACT[workload.activation], "gaps": gaps, "side": rng.choice(SIDES)}
        assert_exact(workload, config, rng.randrange(1000), **how)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("tile", TILES)
def test_the_same_bits_for_any_number_of_threads(tile, isa):
    workload = shaped(13, 9, (1, 1, 1, 1), n=2, c=13, k=40, **FULL)
    i = make_inputs(workload, kind=noise)
    results = [
        compute(workload, conv_config(f"winograd{tile}", isa, threads=t, split_n=s, mc=3, nc=16), i)
        for t, s in ((1, 0), (2, 0), (2, 1), (3, 1))
    ]
    assert_same_bits(results)
    assert_close(results[0], answer(workload, i), 0, 1e-3)


@pytest.mark.parametrize("algo", WINOGRAD_ERRORS)
@pytest.mark.parametrize("channels", [16, 128, 512])
def test_errors_are_as_usual(channels, algo):
    workload = shaped(12, 12, (1, 1, 1, 1), c=channels, k=32, bias=True)
    for isa in ISAS:
        check = Runner(workload, conv_config(algo, isa)).check()
        assert check.ok
        assert 0 < check.max_rel <= WINOGRAD_ERRORS[algo]


def test_the_bound_limits_the_algorithms():
    workload = shaped(28, 28, (1, 1, 1, 1), c=64, k=64)
    for bound, algos in (
        (0.0, set()),
        (1e-6, {"winograd2"}),
        (1e-5, {"winograd2", "winograd4"}),
        (1e-3, set(WINOGRAD_ERRORS)),
    ):
        found = {c["algo"] for c in space("conv2d", workload, max_error=bound).configs}
        assert found == {"direct", "im2col"} | algos
        assert default_config(workload, max_error=bound)["algo"] in found


def test_the_default_where_weights_are_few_and_where_they_are_many():
    target = profile("x86-64-v4")
    few = shaped(56, 56, (1, 1, 1, 1), c=64, k=64)
    assert default_config(few, target)["algo"] == "winograd4"
    many = shaped(4, 4, (1, 1, 1, 1), c=2048, k=2048, threads=2)
    assert default_config(many, target)["algo"] == "direct"


@pytest.mark.parametrize(
    "window",
    [
        {"r": 5},
        {"s": 1},
        {"strides": (1, 2)},
        {"strides": (2, 1)},
        {"dilations": (2, 1)},
        {"dilations": (1, 2)},
    ],
    ids=str,
)
def test_only_dense_3x3_windows(window):
    workload = replace(shaped(9, 9, (1, 1, 1, 1), c=4, k=4), **window)
    algos = {c["algo"] for c in space("conv2d", workload, max_error=1.0).configs}
    assert algos == {"direct", "im2col"}
    room = np.zeros(100_000, np.float32)
    for tile in TILES:
        config = fields.config_fields(conv_config(f"winograd{tile}", "scalar"))
        slots = {**fields.workload_fields(workload), **config}
        with pytest.raises(KernelError, match="out of range"):
            _kernels.call("conv2d", {**slots, "x": room, "w": room, "y": room, "work": room})


def test_no_images():
    workload = shaped(7, 9, (1, 1, 1, 1), n=0, c=3, k=4)
    for tile in TILES:
        assert_exact(workload, conv_config(f"winograd{tile}", "scalar"))
