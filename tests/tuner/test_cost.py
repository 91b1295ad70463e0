"""The cost model: its rules, and how well it ranks what was measured."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from luthier.kernels import Workload
from luthier.kernels.spaces import is_legal, space
from luthier.target import Target, profile
from luthier.tuner import Task
from luthier.tuner.cost import estimate, estimate_task, ranked
from luthier.tuner.cost import fit as fitting
from luthier.tuner.cost.blocks import busiest, sweep
from luthier.tuner.cost.core import Core, core_of, gemm_step
from luthier.tuner.cost.estimate import clock
from luthier.tuner.cost.factors import FAMILIES, PARTS, fitted
from luthier.tuner.cost.traffic import traffic_of
from luthier.tuner.cost.validate import load, main, quality

FOLDER = Path(__file__).parents[1] / "data" / "replay"

A53, A72, N1, ZEN4 = map(profile, ("cortex-a53", "raspberry-pi-4", "neoverse-n1", "zen4"))

WORKLOADS = (
    "gemm/f32/b1m40n360k120/packed/epi=bias/t1",
    "gemm/f32/b1m256n256k256/packed/epi=bias/t4",
    "gemm/f32/b8m40n40k15/plain/epi=none/t2",
    "gemm/f32/b1m0n16k0/packed/epi=none/t1",
    "conv2d/f32/n1c3h32w32/k16r3s3/st2.2/p1.1.1.1/d1.1/g1/epi=bias,relu/t1",
    "conv2d/f32/n1c32h28w28/k64r3s3/st1.1/p1.1.1.1/d1.1/g1/epi=bias,silu/t4",
    "conv2d/f32/n2c32h14w14/k64r1s1/st1.1/p0.0.0.0/d1.1/g2/epi=bias,residual/t2",
    "depthwise_conv2d/f32/n1c96h28w28/r3s3/st2.2/p1.1.1.1/d1.1/epi=bias,clip/t4",
    "depthwise_conv2d/f32/n1c5h9w9/r3s3/st1.1/p1.1.1.1/d2.2/epi=none/t1",
    "qgemm/u8s8u8/b1m1n100k128/packed/epi=bias/t1",
    "qconv2d/u8s8u8/n1c24h14w14/k144r1s1/st1.1/p0.0.0.0/d1.1/g1/epi=bias/t2",
    "qconv2d/u8s8u8/n1c16h14w14/k32r3s3/st1.1/p1.1.1.1/d1.1/g1/epi=bias/t1",
    "qdepthwise_conv2d/u8s8u8/n1c144h14w14/r3s3/st1.1/p1.1.1.1/d1.1/epi=bias/t2",
)


# -- rules of cores --------------------------------------------------------------------------------


@pytest.mark.parametrize(("mr", "nv", "cycles"), [(4, 2, 14), (8, 2, 24), (8, 3, 34)])
def test_loads_and_products_take_turns_in_order(mr: int, nv: int, cycles: float) -> None:
    """A Cortex-A53 takes a cycle for 128 bits of products, and two to load as many."""
    assert gemm_step(core_of(A53, "neon"), "neon", 1, 0, mr, nv) == cycles


def test_halves_go_beside_products_in_order() -> None:
    a53 = core_of(A53, "neon")
    assert gemm_step(a53, "neon", 2, 0, 8, 2) < gemm_step(a53, "neon", 1, 0, 8, 2)
    n1 = core_of(N1, "neon")
    assert gemm_step(n1, "neon", 2, 0, 8, 2) >= gemm_step(n1, "neon", 1, 0, 8, 2)


def test_the_slowest_rate_counts_out_of_order() -> None:
    core = Core(fmas=2, loads=2, issue=6, latency=4)
    assert gemm_step(core, "avx512", 1, 0, 14, 2) == 14  # 28 products
    assert gemm_step(core, "avx512", 1, 0, 1, 1) == 4  # latency
    assert gemm_step(core, "avx512", 1, 0, 14, 1) == 7.5  # 15 loads
    assert gemm_step(core, "avx512", 1, 0, 6, 4) == 12
    assert gemm_step(core, "avx2", 1, 0, 6, 4) == 18  # 13 of 29 vectors have no register


def test_unknown_cores_are_as_usual() -> None:
    assert core_of(profile("arm"), "neon").fmas >= 1
    wide = core_of(profile("x86-64-v4"), "avx512")
    assert wide.fmas == 2 and core_of(ZEN4, "avx512").fmas == 1  # halves of 512 bits


def test_the_clock_is_that_of_the_core() -> None:
    assert clock(A72) == 1.8e9
    unknown = Target("unknown", "aarch64", profile("arm").clusters, ("neon",))
    assert 1e9 < clock(unknown) < 4e9


# -- blocks ----------------------------------------------------------------------------------------


def test_a_sweep_is_the_sum_over_its_tiles() -> None:
    def step(rows: int, vectors: int) -> float:
        return 100.0 * rows + vectors

    found = sweep(step, 23, 40, 6, 2, 16)
    # Four tiles of 6, 6, 6 and 5 rows; columns in a panel of two vectors and one of one.
    rows = [5, 6, 6, 6]
    assert found.step == sum(step(r, v) for r in rows for v in (2, 1))
    assert (found.tiles, found.stores) == (8, 23 * 3)
    assert sweep(step, 0, 40, 6, 2, 16).step == 0


def test_the_busiest_thread() -> None:
    assert [busiest(n, 4) for n in (0, 1, 4, 5, 9)] == [0, 1, 1, 2, 3]


def test_data_come_from_the_cache_that_they_fit_in() -> None:
    def sources(within: float) -> tuple[bool, bool, bool]:
        t = traffic_of(ZEN4, "avx512", 1)
        t.add(1 << 20, within)
        return t.near > 0, t.far > 0, t.memory > 0

    assert sources(16 << 10) == (False, False, False)
    assert sources(512 << 10) == (True, False, False)
    assert sources(8 << 20) == (False, True, False)
    assert sources(64 << 20) == (False, False, True)
    # Four threads of a Raspberry Pi 4 share one L2.
    assert traffic_of(A72, "neon", 4).l2 == traffic_of(A72, "neon", 1).l2 / 4


# -- estimates -------------------------------------------------------------------------------------


HALVES = replace(profile("graviton3"), precision="bf16")


@pytest.mark.parametrize(
    "target", [A53, A72, N1, ZEN4, profile("arm"), HALVES], ids=lambda t: t.name
)
@pytest.mark.parametrize("key", WORKLOADS)
def test_every_config_has_an_estimate(key: str, target: Target) -> None:
    w = Workload.parse(key)
    for config in space(w.op, w, target, max_error=1.0).configs:
        found = estimate(w, config, target)
        assert math.isfinite(found.seconds) and found.seconds >= 0
        assert set(found.parts) <= set(PARTS) and min(found.parts.values(), default=0) >= 0
        assert found.seconds == pytest.approx(sum(found.parts.values()))


def test_more_work_takes_longer() -> None:
    for target in (A53, A72, ZEN4):
        seconds = [
            ranked(w, space("gemm", w, target).configs, target)[0].seconds
            for w in (
                Workload.parse(f"gemm/f32/b1m{n}n{n}k{n}/packed/epi=none/t1") for n in (32, 64, 256)
            )
        ]
        assert seconds == sorted(seconds)
        assert seconds[2] > 20 * seconds[1]


def test_threads_pay_for_much_work_only() -> None:
    small, large = (
        Workload.parse(f"gemm/f32/b1m{n}n{n}k{n}/packed/epi=none/t4") for n in (16, 512)
    )
    best = [ranked(w, space("gemm", w, A72).configs, A72)[0].config for w in (small, large)]
    assert [c["threads"] for c in best] == [1, 4]


@pytest.mark.parametrize("target", [A53, A72, ZEN4], ids=lambda t: t.name)
def test_the_record_of_a_task(target: Target) -> None:
    w = Workload.parse("conv2d/f32/n1c32h28w28/k64r3s3/st1.1/p1.1.1.1/d1.1/g1/epi=bias/t2")
    found = estimate_task(Task(w), target)
    assert found is not None
    seconds = [g.seconds for g in found.best]
    assert len(seconds) == 5 and seconds == sorted(seconds)
    assert seconds[0] <= found.default.seconds and found.ratio <= 1
    assert all(is_legal(g.config, w, target) for g in found.best)
    assert found.configs == len(space(w.op, w, target).configs)
    assert found.device.core == target.core
    assert found.confidence == ("medium" if target is ZEN4 else "low")


def test_what_decides_about_others_has_no_estimate() -> None:
    conv = "conv2d/f32/n1c8h16w16/k8r1s1/st1.1/p0.0.0.0/d1.1/g1/epi=none/t1"
    assert estimate_task(Task(Workload.parse(f"chain//{conv}//{conv}")), A72) is None


# -- quality ---------------------------------------------------------------------------------------


def test_estimates_rank_what_was_measured() -> None:
    """With factors that were fitted to other tasks, as a search for a new layer has them."""
    samples, core = load(FOLDER)
    assert core == "amd-25-17" and len(samples) >= 12
    assert {s.family for s in samples} == set(FAMILIES)
    guesses = fitting.leave_one_out(samples)
    found = [quality(s, g) for s, g in zip(samples, guesses, strict=True)]
    for q in found:
        assert q.five <= 0.10, q
        assert q.five <= q.random_five, q
    assert np.mean([q.correlation for q in found]) > 0.7
    assert np.mean([q.five for q in found]) < 0.03
    assert np.mean([q.five for q in found]) < np.mean([q.default for q in found])
    assert np.mean([q.first for q in found]) < np.mean([q.random for q in found]) / 4


def test_the_factors_are_those_of_the_recordings() -> None:
    samples, core = load(FOLDER)
    assert fitted().core == core
    for family, stored in fitted().families.items():
        own = [s for s in samples if s.family == family]
        assert stored.tasks == len(own)
        fresh = fitting.fit(own)
        assert [stored.factors[name] for name in PARTS] == pytest.approx(fresh, rel=0.05)


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="expected spaces of one type of core"):
        main([str(tmp_path)])
