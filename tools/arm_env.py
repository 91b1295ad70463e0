"""An emulated 64-bit Arm Python with luthier's wheel, under ``build/arm``.

    python tools/arm_env.py -m pytest tests/kernels     runs that on an emulated cortex-a53
    python tools/arm_env.py --cpu neoverse-n1 -c "..."

Made of the system's arm64 packages in a folder of their own (no chroot, no binfmt, no root), wheels
for aarch64, and our own wheel, cross-built. It takes a minute, once; later calls rebuild what
changed. Needs gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile

import arm_root
import wheels
from arm_root import ARM, TREE
from cross import ROOT, run
from filelock import FileLock

TOOLS = (*arm_root.TOOLS, "qemu-aarch64")
WHEELS = ("numpy", "onnx", "msgspec", "filelock", "platformdirs", "rich", "pytest")


def missing_tools() -> list[str]:
    """Names of the programs that are needed and absent."""
    return arm_root.missing(TOOLS)


def prepare() -> None:
    """Make the environment, or bring its build of luthier up to date."""
    if absent := missing_tools():
        raise SystemExit(f"missing programs: {', '.join(absent)}")
    arm_root.prepare()
    with FileLock(ARM / "env.lock"):
        if not (ARM / "site.done").exists():
            _make_site()
            (ARM / "site.done").touch()
        wheel = wheels.build("aarch64", ARM / "dist")
        shutil.rmtree(ARM / "inst", ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(ARM / "inst")


def command(arguments: list[str], cpu: str = "cortex-a53") -> list[str]:
    """The command line that runs the emulated Python with these arguments."""
    path = f"{ARM / 'inst'}:{ARM / 'site'}"
    variables = [f"PYTHONPATH={path}", "PYTHONDONTWRITEBYTECODE=1", "PYTHONNOUSERSITE=1"]
    settings = [word for v in variables for word in ("-E", v)]
    python = str(arm_root.python())
    return ["qemu-aarch64", "-cpu", cpu, "-L", str(TREE), *settings, python, *arguments]


def _make_site() -> None:
    """Install wheels for aarch64."""
    minor = arm_root.python().name.removeprefix("python3.")
    shutil.rmtree(ARM / "site", ignore_errors=True)
    platforms = ("manylinux_2_28_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
    run(
        [
            *(sys.executable, "-m", "pip", "install", "-q", "--target", str(ARM / "site")),
            *(word for p in platforms for word in ("--platform", p)),
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
    prepare()
    return subprocess.call(command(arguments, cpu), cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
