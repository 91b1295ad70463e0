"""The inner loops of all NEON kernels, as the compiler has made them; nothing is run.

Skipped without the cross compiler, unless LUTHIER_REQUIRE_ARM is set.
"""

from __future__ import annotations

import json
import shutil

import inner_loops
import pytest
from emulation import need
from inner_loops import FAMILIES, MODELLED, Family, Instruction

OTHER_COMPILER = 1.15
"""By how much more instructions another version of the compiler may need."""


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    tools = [inner_loops.TOOL + name for name in ("gcc", "objdump")]
    need([tool for tool in tools if shutil.which(tool) is None])
    inner_loops.build()


def loops(family: Family) -> dict[str, list[Instruction]]:
    """The inner loop of each kernel."""
    return {s: inner_loops.inner_loop(family.object, s) for s in family.symbols()}


def is_product(i: Instruction) -> bool:
    return i.name in ("smull", "smlal", "smlal2") or i.macs > 0


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_inner_loops_have_only_what_they_need(family: Family) -> None:
    found = loops(family)
    assert len(found) >= 16 and set(family.shown) <= set(found)
    for symbol, loop in found.items():
        names = {i.name for i in loop}
        assert names <= family.allowed, f"{symbol}: {sorted(names - family.allowed)}"
        stack = [str(i) for i in loop if "sp" in i.registers or i.kind == "store"]
        assert not stack, f"{symbol}: {stack}"
        moves = [str(i) for i in loop if i.name == "mov" and i.kind == "vector"]
        assert len(moves) <= family.moves, f"{symbol}: {moves}"
        products = [i for i in loop if is_product(i)]
        broadcast = [str(i) for i in products if family.element not in i.operands.split(",")[-1]]
        assert not broadcast, f"{symbol}: {broadcast}"


@pytest.mark.parametrize("core", MODELLED)
def test_the_best_tile_is_near_the_limit(core: str) -> None:
    tiles = {s: loop for f in FAMILIES[:2] for s, loop in loops(f).items()}
    shares = {s: inner_loops.share(loop, core) for s, loop in tiles.items()}
    assert max(shares.values()) >= 0.9
    in_order = inner_loops.CORES[core].in_order
    assert shares["gemm_8_3_2" if in_order else "gemm_8_3_1"] >= 0.9


def test_instructions_for_a_product_are_no_more_than_recorded() -> None:
    recorded = json.loads(inner_loops.RECORD.read_text())
    factor = 1.0 if recorded["gcc"] == inner_loops.compiler() else OTHER_COMPILER
    worse = []
    for family, symbols in inner_loops.measured().items():
        last = recorded["loops"].get(family, {})
        assert set(symbols) == set(last), f"{family}: {sorted(set(symbols) ^ set(last))}"
        for symbol, (count, macs) in symbols.items():
            before, products = last[symbol]
            if count * products > before * macs * factor:
                worse.append(f"{symbol} of {family}: {count}/{macs}, was {before}/{products}")
    assert not worse, "\n".join(
        [*worse, "if that is meant to be so: python tools/inner_loops.py --record"]
    )


def loop_of(*lines: str) -> list[Instruction]:
    """Instructions as objdump shows them."""
    return [Instruction(*line.split(maxsplit=1)) for line in lines]


def test_loops_are_found_by_branches_back() -> None:
    body = loop_of(
        "mov x0, #0x0",
        "fmla v0.4s, v1.4s, v2.s[0]",
        "fmla v3.4s, v1.4s, v2.s[1]",
        "b.ne 4 <f+0x4>",
        "b 0 <f>",
        "ret x30",
    )
    found = inner_loops.loops([(4 * n, i) for n, i in enumerate(body)])
    assert [[i.name for i in loop] for loop in found] == [["fmla", "fmla", "b.ne"]]
    assert inner_loops.macs(found[0]) == 8


def test_the_rules_of_cores_that_issue_in_order() -> None:
    fma = [f"fmla v{n}.4s, v30.4s, v31.s[0]" for n in range(8)]
    rules = {
        "ldr x1, [x2]": (8, 8),  # beside a multiply-add
        "mov v28.d[1], x1": (8, 8),
        "ldr d28, [x2]": (9, 8),  # on an A53 alone
        "ldr q28, [x2]": (10, 10),
        "ldp q28, q29, [x2]": (12, 12),
    }
    for line, expected in rules.items():
        loop = loop_of(*fma, line)
        cores = [inner_loops.CORES[core] for core in ("cortex-a53", "cortex-a55")]
        assert tuple(inner_loops.cycles(loop, core) for core in cores) == expected, line
    waits = loop_of("ldr x1, [x2]", "mov v31.d[0], x1", *fma)
    assert inner_loops.cycles(waits, inner_loops.CORES["cortex-a53"]) > 10


def test_the_rules_of_cores_that_issue_out_of_order() -> None:
    fma = [f"fmla v{n}.4s, v30.4s, v31.s[0]" for n in range(8)]
    loads = ["ldr q28, [x2]"] * 6
    for core, expected in (("cortex-a72", 8), ("cortex-a76", 4), ("neoverse-v1", 2)):
        assert inner_loops.cycles(loop_of(*fma, *loads), inner_loops.CORES[core]) == expected
