"""What is in the wheel of this machine and in the source distribution."""

from __future__ import annotations

import csv
import io
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import runner
import wheels
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).parents[1]
MACHINE = platform.machine()
PACKAGES = ("src/luthier", "kernels", "graph", "tuner", "onnx_frontend", "bench")
GLIBC = 28
"""Wheels install on systems of this glibc 2.x and later."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runner.build(MACHINE)
    return wheels.build(MACHINE, tmp_path_factory.mktemp("dist"))


def files(archive: zipfile.ZipFile) -> list[str]:
    """Names of what is not a folder."""
    return [entry.filename for entry in archive.infolist() if not entry.is_dir()]


def installed(path: Path) -> str:
    """Where a file of the repository is in the installed package."""
    return "luthier/" + path.relative_to(ROOT).as_posix().removeprefix("src/luthier/")


def sources(*patterns: str) -> set[Path]:
    """Files of the packages."""
    found = {p for folder in PACKAGES for pattern in patterns for p in ROOT.glob(folder + pattern)}
    return {p for p in found if "__pycache__" not in p.parts}


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(files(archive))
    info = {name for name in names if ".dist-info/" in name}
    wanted = {installed(p) for p in sources("/**/*.py")}
    wanted |= {installed(p) for p in sources("/targets/*.toml", "/py.typed", "/templates/*.html")}
    wanted |= {installed(p) for p in sources("/**/*.json")}
    wanted |= {installed(p) for p in sources("/csrc/**/*.[ch]", "/include/**/*.h")}
    wanted |= {installed(p) for p in sources("/standalone/*.c", "/bin/*")}
    libraries = {name for name in names if name.endswith(".so")}
    assert {re.sub(r"\..*", "", name) for name in libraries} == {
        "luthier/kernels/_kernels",
        "luthier/graph/_executor",
    }
    assert names - info - libraries == wanted
    assert f"luthier/kernels/bin/luthier-runner-{MACHINE}" in names
    assert {name.partition("/")[2] for name in info} >= {"licenses/LICENSE", "METADATA", "RECORD"}


def test_the_tag_is_that_of_the_libraries(wheel: Path) -> None:
    tag = re.fullmatch(rf"luthier-[\d.]+-(\w+-\w+)-manylinux_2_(\d+)_{MACHINE}.whl", wheel.name)
    assert tag is not None and int(tag[2]) <= GLIBC
    assert tag[1] == "cp311-abi3" if sys.version_info >= (3, 11) else tag[1].startswith("cp310-")
    needed: set[str] = set()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                file = ELFFile(io.BytesIO(archive.read(name)))
                (section,) = (s for s in file.iter_sections() if isinstance(s, DynamicSection))
                needed |= {t.needed for t in section.iter_tags("DT_NEEDED")}
                assert ".debug_info" not in [s.name for s in file.iter_sections()]
    assert {name.partition(".")[0] for name in needed} <= {"libc", "libm"}


def test_runners_need_nothing_and_can_be_started(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for entry in archive.infolist():
            if "/bin/" in entry.filename and not entry.is_dir():
                file = ELFFile(io.BytesIO(archive.read(entry)))
                assert not any(s["p_type"] == "PT_INTERP" for s in file.iter_segments())
                assert entry.external_attr >> 16 & 0o111 == 0o111, entry.filename


def test_an_unpacked_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
        (record,) = (n for n in archive.namelist() if n.endswith("RECORD"))
        rows = [row[0] for row in csv.reader(archive.read(record).decode().splitlines())]
        assert sorted(rows) == sorted(files(archive))
    code = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'Editable' not in str(f)];"
        f"sys.path.insert(0, {str(tmp_path)!r});"
        "import numpy as np, luthier; from luthier import kernels;"
        f"assert luthier.__file__.startswith({str(tmp_path)!r}), luthier.__file__;"
        "a = np.eye(5, dtype='f'); assert (kernels.gemm(a, a, num_threads=2) == a).all()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert done.returncode == 0


def test_the_source_distribution_holds_what_builds_it(tmp_path: Path) -> None:
    with tarfile.open(wheels.build_source(tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = sources("/**/*.py", "/**/*.[ch]", "/**/*.pyx")
    wanted |= sources("/targets/*.toml", "/templates/*.html", "/**/*.json")
    missing = {p.relative_to(ROOT).as_posix() for p in wanted} - names
    assert missing == set()
    assert names >= {"setup.py", "pyproject.toml", "Makefile", "LICENSE", "src/luthier/py.typed"}
    assert not [n for n in names if n.endswith((".so", ".o", ".pyc")) or "/bin/" in n]
    assert not [n for n in names if n.startswith("build")]
