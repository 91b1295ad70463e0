"""Emulated Arm Pythons with luthier, under ``build/arm``.

    python tools/arm_env.py -m pytest tests/kernels     runs that on an emulated cortex-a53
    python tools/arm_env.py --cpu neoverse-n1 -c "..."
    python tools/arm_env.py --cpu cortex-a7 -c "..."    32 bits, where luthier.kernels alone works

Made of the system's packages for Arm in a folder of their own (no chroot, no binfmt, no root),
wheels for aarch64, and our own wheel, cross-built. It takes a minute, once; later calls rebuild
what changed. Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user; for 32 bits
gcc-arm-linux-gnueabihf and libc6-dev-armhf-cross.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import wheels
from arm_root import AARCH64, ARMV7, ArmRoot
from cross import ROOT, run, run_setup
from filelock import FileLock

WHEELS = ("numpy", "onnx", "msgspec", "filelock", "platformdirs", "rich", "pytest")
OLD_CORES = ("cortex-a7", "cortex-a9", "cortex-a15")
"""Those of 32 bits that can be chosen."""


def prepare(root: ArmRoot = AARCH64) -> None:
    """Make the environment, or bring its build of luthier up to date."""
    root.prepare()
    with FileLock(root.folder / "env.lock"):
        if (
            root is ARMV7
        ):  # there are no wheels of what graphs need, and the package has an old NumPy
            build = ["build", "--build-lib", str(root.folder / "inst")]
            run_setup(root.machine, *build, variables=root.variables())
            return
        if not (root.folder / "site.done").exists():
            _make_site(root)
            (root.folder / "site.done").touch()
        with zipfile.ZipFile(wheels.build(root.machine, root.folder / "dist")) as archive:
            _install(archive, root.folder / "inst")


def command(arguments: list[str], cpu: str = "cortex-a53", root: ArmRoot = AARCH64) -> list[str]:
    """The command line that runs the emulated Python with these arguments."""
    blas = [*root.tree.glob("usr/lib/*/blas"), *root.tree.glob("usr/lib/*/lapack")]
    variables = {
        "PYTHONPATH": f"{root.folder / 'inst'}:{root.folder / 'site'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "LD_LIBRARY_PATH": ":".join(map(str, blas)),
    }
    settings = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
    python = str(root.python)
    return [root.emulator, "-cpu", cpu, "-L", str(root.tree), *settings, python, *arguments]


def _install(wheel: zipfile.ZipFile, folder: Path) -> None:
    """Unpack a wheel, unless the same is there: others may be using it."""
    (record,) = (name for name in wheel.namelist() if name.endswith(".dist-info/RECORD"))
    if (folder / record).exists() and (folder / record).read_bytes() == wheel.read(record):
        return
    shutil.rmtree(folder, ignore_errors=True)
    wheel.extractall(folder)


def _make_site(root: ArmRoot) -> None:
    """Install wheels for its Python."""
    minor = root.python.name.removeprefix("python3.")
    shutil.rmtree(root.folder / "site", ignore_errors=True)
    tags = ("manylinux_2_28", "manylinux_2_17", "manylinux2014")
    run(
        [
            *(sys.executable, "-m", "pip", "install", "-q", "--target", str(root.folder / "site")),
            *(word for tag in tags for word in ("--platform", f"{tag}_{root.machine}")),
            *("--python-version", f"3.{minor}", "--implementation", "cp"),
            *("--abi", f"cp3{minor}", "--abi", "abi3", "--abi", "none", "--only-binary=:all:"),
            *WHEELS,
        ]
    )


def main(arguments: list[str]) -> int:
    """Run the emulated Python; returns its exit code."""
    cpu = "cortex-a53"
    if arguments[:1] == ["--cpu"]:
        _, cpu, *arguments = arguments
    root = ARMV7 if cpu in OLD_CORES else AARCH64
    prepare(root)
    return subprocess.call(command(arguments, cpu, root), cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
