"""How the kernels are compiled: for ``setup.py``, which reads this file before there is a package,
and for programs that are built from an exported model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["CFLAGS", "isa_flags", "kernel_sources"]

CFLAGS = ["-std=c11", "-fno-math-errno", "-ffp-contract=off", "-fvisibility=hidden", "-pthread"]

NEON = ["-fno-schedule-insns"]
ARM_ISAS = {
    "neon": NEON,
    "neonmull": NEON,
    "neondot": [*NEON, "-march=armv8.2-a+dotprod"],
    "neonfp16": [*NEON, "-march=armv8.2-a+fp16"],
    "neonbf16": [*NEON, "-march=armv8.2-a+bf16"],
    "neoni8mm": [*NEON, "-march=armv8.2-a+dotprod+i8mm"],
}
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]
AVX512 += ["-mtune=icelake-server", "-mprefer-vector-width=512"]
X86_ISAS = {
    "avx2": AVX2,
    "avx512": AVX512,
    "avxvnni": [*AVX2, "-mavxvnni"],
    "avx512vnni": [*AVX512, "-mavx512vnni"],
    "avx512bf16": [*AVX512, "-mavx512bf16"],
}

AVXVNNI_AS_EVEX = [*AVX2, "-mavx512f", "-mavx512vl", "-mavx512vnni"]
"""For the files of avxvnni: the same instructions as CPUs with AVX512-VNNI encode them."""


def isa_flags(machine: str) -> dict[str, list[str]]:
    """The instruction sets of an architecture, and what their files are compiled with."""
    if machine in ("x86_64", "amd64"):
        return {"scalar": [], **X86_ISAS}
    if machine in ("aarch64", "arm64"):
        return {"scalar": [], **ARM_ISAS}
    return {"scalar": []}


def kernel_sources(folder: Path, isas: Iterable[str]) -> dict[str, list[Path]]:
    """The files of each of these instruction sets, after those of ``base``, which need none."""
    every = sorted(folder.rglob("*.c"))
    known = ("scalar", *ARM_ISAS, *X86_ISAS)
    sources = {"base": [p for p in every if p.stem.rpartition("_")[2] not in known]}
    return sources | {isa: [p for p in every if p.stem.endswith(f"_{isa}")] for isa in isas}
