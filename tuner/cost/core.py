"""What a core does in a cycle, and how long one step of a register tile takes by that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from luthier.kernels import _kernels
from luthier.kernels.spaces import HALVES
from luthier.target import Target

__all__ = ["Core", "core_of", "gemm_step", "lanes", "qgemm_step"]


@dataclass(frozen=True)
class Core:
    """Rates of one core, for vectors of one instruction set.

    Attributes
    ----------
    fmas, loads, broadcasts, issue : float
        Vector multiply-adds, vector loads, loads of one value to all of a vector, and instructions
        of any kind, in a cycle.
    latency : float
        Cycles until a sum can be added to again.
    in_order : bool
        Whether loads take the place of multiply-adds, instead of going on beside them.
    load_cycles : float
        Of an in-order core: cycles of one vector load.
    l2, l3, memory : float
        Bytes in a cycle from each of them.
    """

    fmas: float = 2
    loads: float = 2
    broadcasts: float = 2
    issue: float = 4
    latency: float = 4
    in_order: bool = False
    load_cycles: float = 1
    l2: float = 16
    l3: float = 8
    memory: float = 4


# Arm: the Software Optimization Guides of the cores (A57, A72, A76, A78, N1, N2, V1, V2); of
# in-order ones the instruction costs are measured elsewhere: a 128-bit load takes the place of two
# multiply-adds on A53 and A55. Bandwidths of the A53 and A72 are those of boards, others guesses.
_A53 = Core(fmas=1, loads=1, issue=2, in_order=True, load_cycles=2, l2=8, l3=4, memory=1.5)
_A72 = Core(fmas=1, loads=1, issue=3, latency=4, l2=12, l3=6, memory=2)
_A76 = Core(fmas=2, loads=2, issue=4, l2=16, l3=8, memory=4)
_V1 = Core(fmas=4, loads=3, issue=8, l2=32, l3=12, memory=6)
ARM_CORES = {
    "armv8-a": _A72,
    "cortex-a53": _A53,
    "cortex-a55": replace(_A53, issue=2, l2=10, memory=2),
    "cortex-a57": _A72,
    "cortex-a72": _A72,
    "cortex-a73": replace(_A72, fmas=2, issue=2),
    "cortex-a76": _A76,
    "cortex-a78": replace(_A76, issue=6),
    "neoverse-n1": _A76,
    "neoverse-n2": replace(_A76, issue=5, loads=3),
    "neoverse-v1": _V1,
    "neoverse-v2": _V1,
    "cortex-x1": replace(_V1, issue=5),
}

# x86: A. Fog, "Instruction tables" (2024), and Intel's and AMD's optimisation manuals. The first
# prefix that fits counts.
_AVX512 = Core(fmas=2, loads=2, issue=6, l2=48, l3=16, memory=5)
_AVX2 = Core(fmas=2, loads=2, issue=6, l2=32, l3=16, memory=5)
_ZEN4 = Core(fmas=2, loads=2, broadcasts=1.7, issue=6, l2=32, l3=16, memory=6)
X86_CORES = (
    ("amd-25", "avx512", replace(_ZEN4, fmas=1, loads=1, broadcasts=2)),
    ("amd-25", "avx2", _ZEN4),
)

REGISTERS = {"avx512": 32, "avx512vnni": 32, "avx2": 16, "avxvnni": 16, "scalar": 16}
"""Vector registers, where they are not 32."""

DOTS = {"avx512": 2, "avx2": 2, "neon": 2, "neonmull": 3, "neoni8mm": 1}
"""Instructions of the product of one vector of bytes, where it is not one."""

PREFETCH_CYCLES = 0.5
"""Of each vector asked for ahead of time, whatever else goes on."""


def lanes(isa: str) -> int:
    """Values of float32 in a vector."""
    return _kernels.isa_lanes(isa)


@lru_cache
def core_of(target: Target, isa: str) -> Core:
    """The fastest cores of a target; what is not known of them is as usual in their kind."""
    if target.arch == "aarch64":
        known = ARM_CORES.get(target.core, _A76)
        return replace(known, fmas=target.fmas or known.fmas)
    wide = lanes(isa) == 16
    for prefix, name, core in X86_CORES:
        if target.core.startswith(prefix) and wide == (name == "avx512"):
            return core
    return _AVX512 if wide else _AVX2


def gemm_step(core: Core, isa: str, ku: int, prefetch: int, mr: int, nv: int) -> float:
    """Cycles in which a register tile of `mr` rows by `nv` vectors takes in one more k.

    The products, the loads and all instructions have rates of their own, the slowest of which
    counts; on an in-order core loads and products take turns, unless loads are halves of vectors,
    two instructions that go beside products. Tiles that do not fit in the registers store and load
    what is too much.
    """
    products, loads, broadcasts = mr * nv, float(nv), 0.0
    if isa.startswith("neon"):  # a register holds four k of a row, picked by lane
        loads += mr / 4
        held = products + nv + min(mr, 4)
        if ku in HALVES:
            beside = 4 * nv + mr + 2
            width = 2 if core.in_order else core.issue
            return max(products / core.fmas, (products + beside) / width)
    else:
        broadcasts = mr
        held = products + nv + (nv > 1)
    ahead = PREFETCH_CYCLES * nv * (prefetch > 0)
    return _cycles(core, isa, products, loads, broadcasts, held) + ahead


def qgemm_step(core: Core, isa: str, mr: int, nv: int) -> float:
    """The same of bytes, for one more group of k."""
    products, loads, broadcasts = mr * nv * DOTS.get(isa, 1), float(nv), 0.0
    if isa.startswith("neon"):
        loads += mr / 4
        held = mr * nv + nv + mr
    else:
        broadcasts = mr
        held = mr * nv + nv + 1
    return _cycles(core, isa, products, loads, broadcasts, held)


def _cycles(
    core: Core, isa: str, products: float, loads: float, broadcasts: float, held: float
) -> float:
    loads += 2 * max(0.0, held - REGISTERS.get(isa, 32))
    if core.in_order:
        return products / core.fmas + (loads + broadcasts) * core.load_cycles
    count = products + loads + broadcasts + broadcasts / 3 + 2
    return max(
        products / core.fmas,
        loads / core.loads + broadcasts / core.broadcasts,
        count / core.issue,
        core.latency,
    )
