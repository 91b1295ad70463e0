"""Programs and libraries without Python, on this machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from standalone_cases import NAMES, Built, build_cases

import luthier
from luthier.kernels import isas
from luthier.standalone import HEADER, LIBRARY, compiler_for

DOCS = Path(__file__).parents[1] / "docs/deployment.md"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CFLAGS", "-O1")  # to be quick; answers are the same
        target = "x86-64-v3" if "avx2" in isas() else "native"
        return build_cases(tmp_path_factory.mktemp("program"), target)


@pytest.mark.parametrize("name", ["small", *NAMES])
def test_answers_are_those_of_python(built: Built, name: str) -> None:
    if name not in built.sources:
        pytest.skip(f"{name} is not here")
    session = luthier.InferenceSession(built.exported(name))
    for got, expected in zip(built.run(name), session.run(None, built.feeds(name)), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_example_of_the_documentation(built: Built) -> None:
    (code,) = re.findall(r"```c\n(.*?)```", DOCS.read_text(), re.S)
    source, program = built.folder / "classify.c", built.folder / "classify"
    source.write_text(code)
    flags = [f"-I{built.folder}", "-Wall", "-Wextra", "-Werror", "-o", program, source]
    subprocess.run(["cc", *flags, built.folder / LIBRARY, "-pthread", "-lm"], check=True)
    (x,) = built.feeds("small").values()
    (built.folder / "x.bin").write_bytes(x.tobytes())
    command = [program, built.exported("small"), built.folder / "x.bin"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    scores = built.run("small")[0]
    assert done.stdout == f"{scores.argmax()}\n"
    absent = subprocess.run([program, "nowhere", "x"], capture_output=True, text=True, check=False)
    assert absent.returncode == 1 and absent.stderr == "nowhere: No such file or directory\n"


def test_header_is_valid_cplusplus(built: Built) -> None:
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler")
    header = built.folder / HEADER
    subprocess.run(["c++", "-x", "c++", "-fsyntax-only", "-Wall", header], check=True)


def test_program_tells_what_is_wrong(built: Built, tmp_path: Path) -> None:
    model, short, out = built.exported("small"), tmp_path / "short.bin", tmp_path / "out.bin"
    short.write_bytes(bytes(7))
    shown = built.call("--model", model, "--info").stdout
    assert "input x: float32 [2, 3, 9, 10], 2160 bytes" in shown
    assert built.call().returncode == built.call("--what", "x", "y").returncode == 2
    for arguments, reason in (
        ((short, out), "model.luthier: No such file"),
        (("--model", model, short, out), "does not have the size of the inputs"),
        (("--model", model, tmp_path / "no", out), "cannot be opened"),
        (("--model", short, "--info"), "not a file of luthier export"),
    ):
        done = built.call(*arguments)
        assert done.returncode == 1 and reason in done.stderr and done.stderr.count("\n") == 1


def test_program_refuses_damage(built: Built, tmp_path: Path) -> None:
    data, damaged = built.exported("small").read_bytes(), tmp_path / "damaged.luthier"
    for at in range(0, len(data), len(data) // 60):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]):
            damaged.write_bytes(changed)
            done = built.call("--model", damaged, "--info")
            assert done.returncode == 1 and done.stderr.startswith(str(damaged))
            assert done.stderr.count("\n") == 1


def test_compilers_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(luthier.ArgumentError, match="install gcc-riscv64-linux-gnu"):
        compiler_for("riscv64")
