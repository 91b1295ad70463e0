"""Programs that run one exported model without Python: built from the C sources of the package."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import luthier.graph
import luthier.kernels
from luthier.errors import ArgumentError
from luthier.graph.bundle import Entry, calls, used_isas
from luthier.kernels import _kernels
from luthier.kernels.flags import CFLAGS, isa_flags, kernel_sources

__all__ = ["HEADER", "LIBRARY", "MODEL", "PROGRAM", "build", "compiler_for"]

MODEL = "model.luthier"
PROGRAM = "model"
LIBRARY = "libluthier.a"
HEADER = "luthier.h"

_COSTLY = {
    "dwconv": {"depthwise_conv2d", "chain"},
    "eltwise": {"unary", "binary", "reduce", "softmax", "layer_norm", "lrn", "cast", "where"},
    "nbits": {"gemm_nbits"},
    "qdwtile": {"qdepthwise_conv2d"},
    "qgemm": {"qgemm", "qconv2d"},
}
"""Files by the name in front of the instruction set that take long to compile, and the operators
that they are for. Others are compiled in any case: the linker takes what is needed."""

_TILES = {f"GEMM_{nv}_{ku}" for nv in range(1, 5) for ku in range(5)}
_TILES |= {f"DW_{kw}_{s}_{cv}" for kw in (3, 5) for s in (1, 2) for cv in (1, 2)}
"""Register tiles that can be left out."""

_IDLE = ["-Os"]
"""Flags for kernels that stand in where there is no instruction set to use."""

_KERNELS = Path(luthier.kernels.__path__[0])
_GRAPH = Path(luthier.graph.__path__[0])


def build(model: Path, entries: Sequence[Entry], *, embed: bool = False) -> list[Path]:
    """Build a static program, a static library and its header in the folder of `model`.

    Parameters
    ----------
    model : path
        A file of `luthier.export`.
    entries : sequence of Entry
        Its plans, for targets of one architecture; instruction sets that they do not use are left
        out.
    embed : bool
        Put the model into the program, which then is one file.

    Returns
    -------
    list of Path
        The program, the library and the header.

    Notes
    -----
    ``CFLAGS`` of the environment comes last on the compiler's command line.

    Raises
    ------
    ArgumentError
        The targets are of several architectures, or there is no compiler; or it failed, with its
        first complaint.
    """
    arches = sorted({entry.target.arch for entry in entries})
    if len(arches) != 1:
        raise ArgumentError(f"a program is for one architecture, not for {', '.join(arches)}")
    cc, ar = compiler_for(arches[0])
    every = isa_flags(arches[0])
    wanted = {isa for entry in entries for isa in used_isas(entry.plan)}
    folder = model.resolve().parent
    includes = [_KERNELS / "include", _KERNELS / "csrc", _GRAPH / "csrc"]
    flags = ["-O3", *CFLAGS, "-ffunction-sections", "-fdata-sections"]
    flags += shlex.split(os.environ.get("CFLAGS", ""))
    flags += [f"-I{include}" for include in includes]
    flags += [f"-DLT_WITHOUT_{isa.upper()}" for isa in every if isa not in wanted]
    flags += [f'-DLT_SOURCES="{_kernels.SOURCES}"']
    called = [call for entry in entries for call in calls(entry.plan)]
    ops = {op for op, _ in called}
    flags += [f"-DLT_WITHOUT_OP_{op}=1" for op in _kernels.OPS if op not in ops]
    flags += [f"-DLT_WITHOUT_{tile}=1" for tile in sorted(_TILES - _used_tiles(called))]
    parts = kernel_sources(_KERNELS / "csrc", [isa for isa in every if isa in wanted])
    idle = {name for name, users in _COSTLY.items() if not ops & users}
    jobs = [
        (path, every.get(part, _IDLE if path.stem.endswith("_scalar") and len(wanted) > 1 else []))
        for part, paths in parts.items()
        for path in paths
        if part == "base" or path.stem.removesuffix(f"_{part}") not in idle
    ]
    jobs += [(path, []) for path in sorted((_GRAPH / "csrc").glob("*.c"))]
    jobs += [(_GRAPH / "standalone/luthier.c", [])]
    with tempfile.TemporaryDirectory() as room:

        def compile_one(number: int, source: Path, extra: Sequence[str]) -> Path:
            made = Path(room, f"{number}-{source.stem}.o")
            _run([*cc, *flags, *extra, "-c", str(source), "-o", str(made)])
            return made

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = [*pool.map(compile_one, range(len(jobs)), *zip(*jobs, strict=True))]
        library = folder / LIBRARY
        library.unlink(missing_ok=True)
        _run([*ar, "rcs", str(library), *map(str, objects)])
        own = [compile_one(len(jobs), _GRAPH / "standalone/main.c", [])]
        if embed:
            text = str(model.resolve()).replace("\\", "\\\\").replace('"', '\\"')
            quoted = '-DLUTHIER_MODEL="\\"' + text + '\\""'
            own.append(compile_one(len(jobs) + 1, _GRAPH / "standalone/embed.c", [quoted]))
        program = folder / PROGRAM
        link = ["-static", "-s", "-Wl,--gc-sections", "-pthread", "-o", str(program)]
        _run([*cc, *map(str, own), str(library), *link, "-lm"])
    header = folder / HEADER
    shutil.copyfile(_GRAPH / "csrc" / HEADER, header)
    return [program, library, header]


def _used_tiles(called: Iterable[tuple[str, Mapping[str, int]]]) -> set[str]:
    """Of `_TILES`: those that the calls name, and narrower ones for last columns."""
    used = set()
    for op, args in called:
        if op == "depthwise_conv2d":
            used.add(f"DW_{args['kw']}_{args['sw']}_{args['cv']}")
        if op == "gemm_nbits":
            args = {"nv": 2, "ku": 4}
        if "ku" in args:
            # Where B is not read in place (0), or not in halves (2, 3), it is by single steps.
            used |= {f"GEMM_{n}_{k}" for n in range(1, args["nv"] + 1) for k in (args["ku"], 1)}
    return used


def compiler_for(arch: str) -> tuple[list[str], list[str]]:
    """The command lines of a C compiler and an archiver for an architecture.

    Raises
    ------
    ArgumentError
        None is installed; the message names the package that has one.
    """
    own = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    if arch == own and shutil.which("cc"):
        return ["cc"], ["ar"]
    prefix = f"{arch.replace('_', '-') if arch == 'x86_64' else arch}-linux-gnu-"
    if shutil.which(f"{prefix}gcc"):
        return [f"{prefix}gcc"], [f"{prefix}ar"]
    if shutil.which("zig"):
        return ["zig", "cc", "-target", f"{arch}-linux-musl"], ["zig", "ar"]
    package = f"gcc-{prefix.removesuffix('-')}" if arch != own else "gcc"
    raise ArgumentError(
        f"no C compiler for {arch}: install {package} (Debian, Ubuntu), or zig (pip install"
        " ziglang, and its program on the path)"
    )


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines()
        telling = (line for line in lines if "error:" in line or "undefined reference" in line)
        first = next(telling, lines[0] if lines else "failed")
        raise ArgumentError(f"{command[0]}: {first}")
