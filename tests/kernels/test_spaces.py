"""Search spaces: every config can be run and computes the right answer."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from kernel_cases import ISAS
from linear_cases import EXACT, answer, depthwise_config, gemm_variants, is_right, make_inputs

from luthier.errors import ArgumentError
from luthier.kernels import (
    Conv2d,
    DepthwiseConv2d,
    Gemm,
    Runner,
    Workload,
    _kernels,
    default_config,
    fields,
    space,
)
from luthier.kernels.cpu import native_target
from luthier.kernels.spaces import DEPTHWISE_TILES, SPECIAL_WIDTHS, check_config
from luthier.target import profile, profiles

SMALL = [
    Gemm(m=9, n=40, k=21, threads=2, bias=True),
    Gemm(m=1, n=70, k=8),
    Gemm(m=5, n=3, k=300, packed=False, batch=2, threads=2),
    Gemm(m=60, n=17, k=4, packed=False, threads=3),
    Gemm(m=2, n=5, k=0, bias=True),
    Conv2d(n=1, c=5, h=6, w=7, k=20, r=3, s=3, pads=(1, 1, 1, 1), threads=2, bias=True),
    Conv2d(n=2, c=8, h=5, w=6, k=36, r=1, s=1, threads=2, residual=True),
    Conv2d(n=1, c=6, h=9, w=9, k=9, r=5, s=2, strides=(2, 2), groups=3, activation="relu"),
    Conv2d(n=2, c=6, h=5, w=9, k=40, r=3, s=3, pads=(2, 0, 0, 1), groups=2, residual=True),
    DepthwiseConv2d(n=1, c=40, h=6, w=9, r=3, s=3, pads=(1, 1, 1, 1), threads=2, bias=True),
    DepthwiseConv2d(n=2, c=7, h=7, w=9, r=5, s=5, strides=(2, 2), pads=(2, 2, 2, 2)),
    DepthwiseConv2d(n=1, c=9, h=7, w=9, r=7, s=7, pads=(3, 3, 3, 3)),
]

LARGE = [
    Gemm(m=1024, n=4096, k=4096, threads=4),
    Gemm(m=1, n=50000, k=768, threads=8),
    Gemm(m=193, n=513, k=600, threads=2, packed=False),
    Gemm(m=64, n=64, k=64, batch=96, packed=False, threads=2),
    Conv2d(n=1, c=512, h=28, w=28, k=512, r=1, s=1, threads=2),
    Conv2d(n=8, c=2048, h=64, w=64, k=2048, r=1, s=1, threads=4),
    Conv2d(n=1, c=512, h=15, w=15, k=257, r=1, s=1, threads=2),
    Conv2d(n=4, c=512, h=224, w=224, k=512, r=3, s=3, pads=(1, 1, 1, 1), threads=2),
    Conv2d(n=1, c=512, h=7, w=7, k=512, r=3, s=3, pads=(1, 1, 1, 1), threads=2),
    Conv2d(n=1, c=256, h=56, w=56, k=512, r=1, s=1, strides=(2, 2), threads=2),
    Conv2d(n=1, c=3, h=224, w=224, k=64, r=7, s=7, strides=(2, 2), pads=(3, 3, 3, 3), threads=2),
    Conv2d(n=1, c=1024, h=56, w=56, k=1024, r=3, s=3, groups=32, pads=(1, 1, 1, 1), threads=2),
    DepthwiseConv2d(n=1, c=960, h=112, w=112, r=5, s=5, pads=(2, 2, 2, 2), threads=4),
]

TARGETS = [None, *profiles()]


def key_of(workload: Workload) -> str:
    return workload.key


@pytest.mark.parametrize("workload", SMALL, ids=key_of)
def test_every_config_gives_the_right_answer(workload):
    i = make_inputs(workload)
    expected = answer(workload, i, EXACT[workload.activation])
    plain = isinstance(workload, Gemm) and not workload.packed
    sizes = fields.workload_fields(workload)
    left = "a" if isinstance(workload, Gemm) else "x"
    arrays = {left: i.x, "bias": i.bias, "residual": i.residual}
    epilogue = fields.epilogue_fields(workload.activation)
    for config in space(workload.op, workload).configs:
        w = i.w if plain else fields.pack_weights(workload, i.w, config)
        y = np.full(expected.shape, np.nan, np.float32)
        slots = {**sizes, **epilogue, **arrays, **fields.config_fields(config), "w": w, "y": y}
        _kernels.call(workload.op, slots)
        assert is_right(y, expected, config).all(), config


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("workload", SMALL + LARGE, ids=key_of)
def test_a_space_is_what_it_promises(workload, target):
    s = space(workload.op, workload, target and profile(target))
    assert 1 <= len(s.configs) < 10_000
    names = list(s.knobs)
    assert all(list(c) == names for c in [*s.configs, s.default])
    assert len({tuple(c.values()) for c in s.configs}) == len(s.configs)
    assert s.default in s.configs
    assert s.knobs == {n: tuple(dict.fromkeys(c[n] for c in s.configs)) for n in names}
    assert json.loads(json.dumps(s.default)) == s.default
    assert max(s.knobs["threads"]) <= workload.threads
    assert space(workload.op, workload.key, target and profile(target)) == s


@pytest.mark.parametrize("workload", [SMALL[0], SMALL[6], SMALL[8]], ids=key_of)
def test_neighbours_differ_in_one_knob(workload):
    s = space(workload.op, workload)
    for config in s.configs[:: max(1, len(s.configs) // 20)]:
        near = s.neighbours(config)
        assert [c for c in near if c not in s.configs] == []
        assert all(sum(c[n] != config[n] for n in config) == 1 for c in near)
        every = [c for c in s.configs if sum(c[n] != config[n] for n in config) == 1]
        assert sorted(map(str, near)) == sorted(map(str, every))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("in_order", [False, True])
def test_every_tile_offered_exists_with_all_smaller_ones(isa, in_order):
    built = set(gemm_variants(isa))
    target = replace(native_target(), isas=("scalar", isa), in_order=in_order)
    offered = space("gemm", Gemm(m=64, n=256, k=256), target).configs
    tiles = {(c["mr"], c["nv"], c["ku"]) for c in offered}
    assert len(tiles) > 2
    for mr, nv, ku in tiles:
        assert {(m, v, ku) for m in range(1, mr + 1) for v in range(1, nv + 1)} <= built


def test_cores_that_issue_in_order_get_kernels_for_it():
    work = [Gemm(m=256, n=256, k=256), Conv2d(n=1, c=64, h=28, w=28, k=64, r=3, s=3)]
    for workload, core in itertools.product(work, ("cortex-a53", "cortex-a55", "raspberry-pi-3")):
        config = default_config(workload, profile(core))
        assert config["ku"] == 2 and config["mr"] * config["nv"] >= 16
        assert {c["ku"] for c in space(workload.op, workload, profile(core)).configs} >= {1, 2, 3}
    for workload, core in itertools.product(work, ("cortex-a72", "cortex-a76", "neoverse-n1")):
        assert default_config(workload, profile(core))["ku"] == 1
        assert {c["ku"] for c in space(workload.op, workload, profile(core)).configs} >= {1, 2}


@pytest.mark.parametrize("isa", ISAS)
def test_every_depthwise_tile_offered_exists(isa):
    for width in SPECIAL_WIDTHS[isa]:
        for stride in (1, 2):
            shape = {"h": 3, "w": 40, "r": 3, "s": width, "strides": (1, stride)}
            workload = DepthwiseConv2d(n=1, c=3, **shape)
            for cv, widths in DEPTHWISE_TILES[isa].items():
                for owt in widths:
                    config = depthwise_config(isa, special=1, owt=owt, cv=cv)
                    assert Runner(workload, config).check().ok


def test_the_default_uses_threads_only_for_enough_work():
    assert default_config(Gemm(m=4, n=4, k=4, threads=2))["threads"] == 1
    assert default_config(Gemm(m=512, n=512, k=512, threads=2))["threads"] == 2


def test_the_operator_must_be_the_workloads():
    with pytest.raises(ArgumentError, match="operator 'conv2d' given, but the workload is of"):
        space("conv2d", SMALL[0])
    with pytest.raises(ArgumentError, match="not a workload: 'gemm'"):
        space("gemm", "gemm")


@pytest.mark.parametrize("workload", [SMALL[0], SMALL[5], SMALL[8]], ids=key_of)
def test_check_config(workload):
    config = default_config(workload)
    assert check_config(workload, config) == config
    bad = [
        ({}, "expected the knobs"),
        ({**config, "speed": 1}, "expected the knobs"),
        ({**config, "isa": "sse"}, "expected isa in"),
        ({**config, "isa": ["avx2"]}, "expected isa in"),
        ({**config, "threads": "2"}, "expected threads of 0 to"),
        ({**config, "threads": 2.0}, "expected threads of 0 to"),
        ({**config, "threads": True}, "expected threads of 0 to"),
        ({**config, "threads": -1}, "expected threads of 0 to"),
        ({**config, "threads": 1 << 31}, "expected threads of 0 to"),
    ]
    if "mr" in config:
        bad += [({**config, "mr": 0}, "no kernel with"), ({**config, "nv": 9}, "no kernel with")]
    if "algo" in config:
        bad += [({**config, "algo": "fft"}, "expected algo in")]
    for wrong, text in bad:
        with pytest.raises(ArgumentError, match=f"config: {text}"):
            check_config(workload, wrong)
