"""Search spaces of qgemm and qconv2d: every config can be run and is exact."""

from __future__ import annotations

import json

import pytest
from quant_cases import INT8_ISAS, exact_types, variants

from luthier.errors import ArgumentError
from luthier.kernels import QConv2d, QGemm, Runner, default_config, space
from luthier.kernels.quant_spaces import TILES, int8_isas
from luthier.kernels.spaces import check_config, is_legal
from luthier.target import profile, profiles

SMALL = [
    QGemm(m=9, n=40, k=21, threads=2, bias=True),
    QGemm(m=1, n=70, k=8, a="s8", wt="s8m", y="s8", table=True),
    QGemm(m=5, n=3, k=100, packed=False, wt="s16", y="s32", batch=2, threads=2),
    QGemm(m=2, n=5, k=0, y="f32"),
    QConv2d(n=1, c=5, h=6, w=7, k=20, r=3, s=3, pads=(1, 1, 1, 1), threads=2, bias=True),
    QConv2d(n=2, c=8, h=5, w=6, k=36, r=1, s=1, threads=2, residual=True),
    QConv2d(n=1, c=6, h=9, w=9, k=9, r=5, s=2, strides=(2, 2), groups=3, wt="s16"),
]

LARGE = [
    QGemm(m=1024, n=4096, k=4096, threads=4),
    QGemm(m=1, n=50000, k=768, threads=8),
    QConv2d(n=1, c=512, h=28, w=28, k=512, r=1, s=1, threads=2),
    QConv2d(n=4, c=512, h=224, w=224, k=512, r=3, s=3, pads=(1, 1, 1, 1), threads=2),
    QConv2d(n=1, c=3, h=224, w=224, k=64, r=7, s=7, strides=(2, 2), pads=(3, 3, 3, 3)),
]


def key_of(workload) -> str:
    return workload.key


@pytest.mark.parametrize("workload", SMALL, ids=key_of)
def test_every_config_is_exact(workload):
    for config in space(workload.op, workload).configs:
        assert check_config(workload, config) == config
        assert Runner(workload, config).check().ok, config


@pytest.mark.parametrize("target", [None, *profiles()])
@pytest.mark.parametrize("workload", SMALL + LARGE, ids=key_of)
def test_a_space_is_what_it_promises(workload, target):
    s = space(workload.op, workload, target and profile(target))
    assert 1 <= len(s.configs) < 10_000
    assert all(list(c) == list(s.knobs) for c in [*s.configs, s.default])
    assert len({tuple(c.values()) for c in s.configs}) == len(s.configs)
    assert s.default in s.configs
    assert json.loads(json.dumps(s.default)) == s.default
    assert max(s.knobs["threads"]) <= workload.threads
    assert is_legal(s.configs[-1], workload, target and profile(target))
    assert not is_legal({**s.default, "mr": 99}, workload, target and profile(target))


@pytest.mark.parametrize("isa", INT8_ISAS)
def test_every_tile_offered_exists_with_all_smaller_ones(isa):
    built = set(variants(isa))
    for nv, rows in TILES[isa].items():
        assert {(m, v) for m in range(1, max(rows) + 1) for v in range(1, nv + 1)} <= built


def test_instruction_sets_of_targets():
    narrow, wide = QGemm(m=1, n=1, k=1), QGemm(m=1, n=1, k=1, wt="s16")
    least, a76 = profile("arm"), profile("cortex-a76")
    assert int8_isas(least, narrow) == ("scalar", "neon", "neonmull")
    assert int8_isas(a76, narrow) == ("scalar", "neon", "neonmull", "neondot")
    assert int8_isas(a76, QGemm(m=1, n=1, k=1, wt="s8m")) == ("scalar", "neon", "neondot")
    assert int8_isas(a76, wide) == ("scalar", "neon")
    assert default_config(QGemm(m=64, n=64, k=64), a76)["isa"] == "neondot"


@pytest.mark.parametrize("isa", INT8_ISAS)
def test_check_config(isa):
    for wt in ("s8", "s8m", "s16"):
        workload = QGemm(m=4, n=40, k=8, wt=wt)
        config = {**default_config(workload), "isa": isa, "mr": 2, "nv": 1}
        if wt in exact_types(isa):
            assert check_config(workload, config) == config
        else:
            with pytest.raises(ArgumentError, match=f"config: {isa} is not exact for"):
                check_config(workload, config)
    for bad, text in (({"mr": 0}, "no kernel with"), ({"isa": "sse"}, "expected isa in")):
        with pytest.raises(ArgumentError, match=f"config: {text}"):
            check_config(SMALL[0], {**default_config(SMALL[0]), **bad})
