"""The inner loops of the NEON kernels: of what they consist, and how long cores issue them.

    python tools/inner_loops.py              builds for Arm and prints a table of the largest tiles
    python tools/inner_loops.py gemm_8_3_2   the instructions of kernels by that name
    python tools/inner_loops.py --record     writes tests/data/neon_loops.json for the tests

Kernels are read from the objects of a cross build, as ``objdump`` disassembles them. An inner loop
is what a branch back encloses with no other such branch in it; that of a kernel is the one with the
most products in an instruction. Nothing is run: instructions in a loop and the products that they
make are exact, and so is their ratio.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cross

ROOT = Path(__file__).resolve().parents[1]
OBJECTS = ROOT / "build" / "c-linux-aarch64" / "kernels" / "csrc"
RECORD = ROOT / "tests" / "data" / "neon_loops.json"
TOOL = "aarch64-linux-gnu-"


MACS = {"sdot": 16, "smmla": 32, "bfmmla": 16}
"""Products in an instruction, where that is not the lanes of the result."""


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly."""

    name: str
    operands: str

    def __str__(self) -> str:
        return f"{self.name}\t{self.operands}"

    @property
    def registers(self) -> list[str]:
        """Registers in the order of the operands: ``v0`` of any width, ``x0`` of any width."""
        found = re.findall(r"\b([vqdsbhxw])(\d+)\b|\b(sp|xzr|wzr)\b", self.operands)
        return [c or ("v" if kind in "vqdsbh" else "x") + number for kind, number, c in found]

    @property
    def kind(self) -> str:
        """What issues it: ``vector``, ``insert``, ``load``, ``load64`` (to a vector register),
        ``load128``, ``store``, ``branch`` or ``integer``."""
        first = self.operands.split(",")[0].strip()
        if self.name.startswith(("ldr", "ldp", "ldur", "ld1", "ldnp")):
            if self.name.startswith("ld1") or first.startswith("q"):
                return "load128"
            return "load64" if first[0] in "dsv" else "load"
        if self.name.startswith("prfm"):
            return "load"
        if self.name.startswith("st"):
            return "store"
        if self.name.startswith(("b.", "cb", "tb")) or self.name in ("b", "bl", "ret"):
            return "branch"
        if first.startswith(("v", "q", "d", "s")) and not first.startswith("sp"):
            moved = self.name in ("mov", "ins", "fmov") and re.search(r", [xw]\d+$", self.operands)
            return "insert" if moved else "vector"
        return "integer"

    @property
    def reads(self) -> list[str]:
        """Registers that it needs."""
        registers = self.registers
        if self.kind in ("store", "branch") or self.name.startswith(("cmp", "prfm", "tst")):
            return registers
        merges = self.name[:4] in ("fmla", "smla", "sdot", "udot", "smml", "sada") or (
            self.kind == "insert" and ".d[" in self.operands
        )
        return registers if merges else registers[self.results :]

    @property
    def writes(self) -> list[str]:
        """Registers that it changes."""
        registers = self.registers
        if self.kind in ("store", "branch") or self.name.startswith(("cmp", "prfm", "tst")):
            return []
        moved = re.search(r"\[(x\d+)\], |\[(x\d+).*\]!", self.operands)
        return registers[: self.results] + ([moved[1] or moved[2]] if moved else [])

    @property
    def results(self) -> int:
        """How many of its first operands it writes."""
        return 2 if self.name.startswith("ldp") else 1

    @property
    def macs(self) -> int:
        """Products of elements in it."""
        if self.name in MACS:
            return MACS[self.name]
        lanes = re.match(r"v\d+\.(\d+)[sh]\b", self.operands)
        known = self.name.startswith(("fmla", "smlal", "smull"))
        return int(lanes[1]) if known and lanes else 0


@dataclass(frozen=True)
class Core:
    """Issue rules of a core. `fma` counts 128-bit vector instructions a cycle."""

    fma: int
    width: int
    loads: int
    in_order: bool = False
    load64_alone: bool = False


CORES = {
    "cortex-a53": Core(1, 2, 1, in_order=True, load64_alone=True),
    "cortex-a55": Core(1, 2, 1, in_order=True),
    "cortex-a72": Core(1, 3, 1),
    "cortex-a76": Core(2, 4, 2),
    "neoverse-n1": Core(2, 4, 2),
    "neoverse-v1": Core(4, 8, 3),
}
"""Widths and ports after Arm's software optimization guides. In-order cores have none: a 128-bit
load takes two cycles and nothing goes beside it, a 64-bit one to a vector register takes one, on
A55 beside a multiply-add; other loads, moves between register files and integers go beside one."""

LATENCY = {"vector": 4, "insert": 2, "load": 3, "load64": 4, "load128": 4}


@cache
def functions(path: Path) -> dict[str, list[tuple[int, Instruction]]]:
    """Symbol -> its instructions with their addresses."""
    words = [f"{TOOL}objdump", "-d", "--no-show-raw-insn", str(path)]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[tuple[int, Instruction]]] = {}
    for line in text.splitlines():
        if start := re.match(r"[0-9a-f]+ <([^>]+)>:", line):
            found[start[1]] = []
        elif code := re.match(r"\s+([0-9a-f]+):\t(\S+)(?:\t(.*))?", line):
            operands = re.sub(r"\s*//.*", "", code[3] or "")
            body = found[next(reversed(found))]
            body.append((int(code[1], 16), Instruction(code[2], operands)))
    return found


def loops(body: list[tuple[int, Instruction]]) -> list[list[Instruction]]:
    """The innermost loops of a function."""
    place = {address: index for index, (address, _) in enumerate(body)}
    spans = []
    for index, (_, i) in enumerate(body):
        to = re.search(r"\b([0-9a-f]+) <", i.operands) if i.kind == "branch" else None
        start = place.get(int(to[1], 16), len(body)) if to else len(body)
        # What lies out of line ends with a jump, which no inner loop has.
        if start <= index and all(j.name not in ("b", "ret", "bl") for _, j in body[start:index]):
            spans.append((start, index))
    inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return [[i for _, i in body[start : end + 1]] for start, end in inner]


@cache
def inner_loop(path: Path, symbol: str) -> list[Instruction]:
    """The loop of a kernel with the most multiply-adds.

    Raises
    ------
    LookupError
        There is no such function, or no loop with multiply-adds in it.
    """
    if symbol not in functions(path):
        raise LookupError(f"{path.name}: no function {symbol}")
    found = loops(functions(path)[symbol])
    best = max(found, key=lambda loop: macs(loop) / len(loop), default=[])
    if not macs(best):
        raise LookupError(f"{path.name}: {symbol} has no inner loop with multiply-adds")
    return best


def macs(loop: list[Instruction]) -> int:
    """Products of elements in one pass of a loop."""
    return sum(i.macs for i in loop)


def cycles(loop: list[Instruction], core: Core) -> float:
    """Cycles of one pass in the steady state, with all data in L1."""
    if core.in_order:
        first, second = _in_order(loop, core, 4), _in_order(loop, core, 8)
        return (second - first) / 4
    vector = sum(i.kind in ("vector", "insert") for i in loop)
    loads = sum(1 + i.name.startswith("ldp") for i in loop if i.kind.startswith("load"))
    return max(vector / core.fma, loads / core.loads, len(loop) / core.width)


def limit(loop: list[Instruction], core: Core) -> float:
    """Cycles of its multiply-adds alone."""
    return sum(i.macs > 0 for i in loop) / core.fma


def _in_order(loop: list[Instruction], core: Core, passes: int) -> int:
    """When the last of so many passes has been issued, two instructions a cycle at most."""
    ready: dict[str, int] = {}
    now, used = 0, set()
    for i in loop * passes:
        alone = i.kind in ("load128", "store") or (i.kind == "load64" and core.load64_alone)
        unit = {"vector": "vector", "load": "memory", "load64": "memory"}.get(i.kind, i.kind)
        when = max([now, *(ready.get(r, 0) for r in _awaited(i))])
        if when > now:
            now, used = when, set()
        if used and (alone or unit in used or len(used) == 2 or "alone" in used):
            now, used = now + 1, set()
        used.add("alone" if alone else unit)
        span = 2 if i.kind == "load128" else 1
        if i.name.startswith("ldp") and i.kind == "load128":
            span = 4
        for n, r in enumerate(i.writes):
            ready[r] = now + (LATENCY.get(i.kind, 1) if n < i.results else 1)
        if alone and span > 1:
            now, used = now + span - 1, {"alone"}
    return now


def _awaited(i: Instruction) -> list[str]:
    """Operands that must be there at issue: a sum is wanted only when the product is made."""
    return i.reads[1:] if i.macs and i.name != "smull" else i.reads


# -- the kernels -----------------------------------------------------------------------------------

INTEGER = frozenset("add sub subs cmp mov lsl".split())
LOADS = frozenset("ldr ldp ldur ldnp ld1".split())
END = frozenset("b.ne b.gt b.lt b.cc b.hi cbnz".split())
COMMON = INTEGER | LOADS | END


@dataclass(frozen=True)
class Family:
    """Kernels of one kind.

    Attributes
    ----------
    name : str
        As in the tables.
    path : str
        The object, below the folder of C sources.
    pattern : str
        Of the symbols; a match as a whole.
    allowed : frozenset of str
        The instructions that inner loops may have.
    element : str
        How the last operand of each multiply-add ends, in families that multiply by elements.
    shown : tuple of str
        The symbols in the tables.
    moves : int
        Copies from vector register to vector register that a loop may have.
    """

    name: str
    path: str
    pattern: str
    allowed: frozenset[str]
    element: str = ""
    shown: tuple[str, ...] = ()
    moves: int = 0

    @property
    def object(self) -> Path:
        """The object file."""
        return OBJECTS / self.path

    def symbols(self) -> list[str]:
        """Its kernels."""
        return [s for s in functions(self.object) if re.fullmatch(self.pattern, s)]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TILES = [(4, 2), (6, 2), (8, 2), (12, 2), (4, 4), (8, 3), (6, 4)]
FAMILIES = (
    Family(
        *("fp32 GEMM", "gemm/gemm_neon.o", r"gemm_\d+_\d_[01]"),
        *(COMMON | _names("fmla prfm cbz"), ".s["),
        tuple(f"gemm_{mr}_{nv}_1" for mr, nv in _TILES),
    ),
    Family(
        *("fp32 GEMM in halves", "gemm/gemm_neon.o", r"gemm_\d+_\d_[23]"),
        *(COMMON | _names("fmla prfm"), ".s["),
        tuple(f"gemm_{mr}_{nv}_{ku}" for ku in (2, 3) for mr, nv in _TILES if mr < 12),
    ),
    Family(
        # Of one or two registers the compiler unrolls a whole block; 8 and 9 rows of one vector,
        # which only last columns have, do not do without the stack.
        *("fp16 GEMM", "gemm/gemm_neonfp16.o", r"gemm_([3-7]_1|\d_[234])_1"),
        *(COMMON | {"fmla"}, ".h["),
        ("gemm_7_1_1", "gemm_8_2_1", "gemm_7_3_1", "gemm_5_4_1"),
    ),
    Family(
        *("bf16 GEMM, BFMMLA", "gemm/gemm_neonbf16.o", r"gemm_\d+_\d_1", COMMON | {"bfmmla"}),
        shown=("gemm_12_1_1", "gemm_12_2_1", "gemm_8_3_1"),
        moves=6,
    ),
    Family(
        *("fp32 depthwise", "dwconv/dwconv_neon.o", r"dw_\d_\d_\d_\d", COMMON | {"fmla"}),
        shown=("dw_3_1_8_1", "dw_3_1_4_2", "dw_3_2_8_1", "dw_5_1_8_1", "dw_5_2_8_1"),
        moves=2,
    ),
    Family(
        *("int8 GEMM, 16 bits of armv8.0", "quant/qgemm_neon.o", r"qgemm_\d+_\d"),
        *(COMMON | _names("smlal smlal2"), ".h["),
        ("qgemm_8_1", "qgemm_7_2", "qgemm_4_4"),
    ),
    Family(
        *("int8 GEMM, 8 bits of armv8.0", "quant/qgemm_neonmull.o", r"qgemm_(flip_)?\d+_\d"),
        COMMON | _names("smull smlal2 sadalp tbl eor"),
        shown=("qgemm_8_1", "qgemm_6_2", "qgemm_4_4"),
    ),
    Family(
        *("int8 GEMM, SDOT", "quant/qgemm_neondot.o", r"qgemm_(flip_)?\d+_\d"),
        *(COMMON | _names("sdot eor"), ".4b["),
        ("qgemm_8_1", "qgemm_8_2", "qgemm_6_3", "qgemm_4_4"),
    ),
    Family(
        *("int8 GEMM, I8MM", "quant/qgemm_neoni8mm.o", r"qgemm_(flip_)?\d+_\d"),
        COMMON | _names("smmla eor"),
        shown=("qgemm_8_1", "qgemm_8_2", "qgemm_6_3", "qgemm_4_4"),
        moves=4,
    ),
    Family(
        *("int8 depthwise", "quant/qdwtile_neon.o", r"qdw_\d_\d_\d"),
        COMMON | _names("smlal smlal2 uxtl uxtl2 eor"),
        shown=("qdw_3_1_4", "qdw_3_2_4", "qdw_5_1_4", "qdw_5_2_4"),
        moves=3,
    ),
)
"""All of them. Winograd convolutions multiply by the tiles of GEMM."""

MODELLED = ("cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1")
"""Cores for which the best GEMM tile is to be near the limit of multiply-adds."""


def build() -> None:
    """Bring the objects for aarch64 up to date."""
    cross.run_setup("aarch64", "build_clib")


def kernels() -> Iterator[tuple[Family, str, list[Instruction]]]:
    """Each family, symbol and inner loop."""
    for family in FAMILIES:
        for symbol in family.symbols():
            yield family, symbol, inner_loop(family.object, symbol)


def compiler() -> str:
    """Version of the compiler that builds for aarch64."""
    words = [f"{TOOL}gcc", "-dumpfullversion"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def measured() -> dict[str, dict[str, list[int]]]:
    """Family -> symbol -> instructions in one pass of the inner loop, and products."""
    found: dict[str, dict[str, list[int]]] = {family.name: {} for family in FAMILIES}
    for family, symbol, loop in kernels():
        found[family.name][symbol] = [len(loop), macs(loop)]
    return found


def write_record() -> None:
    """Write what `measured` finds to `RECORD`, a kernel a line."""
    families = []
    for name, symbols in measured().items():
        lines = ",\n".join(f"   {json.dumps(s)}: {v}" for s, v in sorted(symbols.items()))
        families.append(f"  {json.dumps(name)}: {{\n{lines}\n  }}")
    body = ",\n".join(families)
    RECORD.write_text(f'{{\n "gcc": "{compiler()}",\n "loops": {{\n{body}\n }}\n}}\n')


def share(loop: list[Instruction], core: str) -> float:
    """What part of the time of a loop its multiply-adds need on a core."""
    return limit(loop, CORES[core]) / cycles(loop, CORES[core])


def tables() -> str:
    """The largest tiles of each family as Markdown."""
    lines = [
        f"| kernel | instructions | products | per product | {' | '.join(CORES)} |",
        "| --- " * (4 + len(CORES)) + "|",
    ]
    for family in FAMILIES:
        lines.append(f"| **{family.name}** |" + " |" * (3 + len(CORES)))
        for symbol in family.shown:
            loop = inner_loop(family.object, symbol)
            counts = f"{len(loop)} | {macs(loop)} | {len(loop) / macs(loop):.3f}"
            shares = " | ".join(f"{share(loop, core):.0%}" for core in CORES)
            lines.append(f"| `{symbol}` | {counts} | {shares} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    build()
    if arguments == ["--record"]:
        write_record()
    elif not arguments:
        print(tables())
    else:
        for family, symbol, loop in kernels():
            if symbol in arguments:
                counts = ", ".join(f"{n} {name}" for name, n in Counter(map(_name, loop)).items())
                print(f"{family.name}: {symbol}: {counts}")
                print(*loop, sep="\n")
    return 0


def _name(instruction: Instruction) -> str:
    return instruction.name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
