"""Builds luthier-runner, the kernels as a program: ``kernels/bin/luthier-runner-<machine>``.

python tools/runner.py              for this machine, and for aarch64 if the cross compiler is there
python tools/runner.py aarch64      for that one
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CROSS = "aarch64-linux-gnu-"


def machines() -> list[str]:
    """Machines that a runner can be built for here."""
    cross = ["aarch64"] if shutil.which(f"{CROSS}gcc") else []
    return list(dict.fromkeys([platform.machine(), *cross]))


def build(machine: str) -> None:
    """Make the runner for `machine`, or bring it up to date."""
    environment = dict(os.environ)
    environment.pop("LUTHIER_SANITIZE", None)
    if machine != platform.machine():
        environment |= {
            "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
            "CC": f"{CROSS}gcc",
            "AR": f"{CROSS}ar",
            "CFLAGS": "",
            "LDFLAGS": "",
        }
    command = [sys.executable, "setup.py", "-q", "build_runner"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"runner: building for {machine} failed\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    for name in sys.argv[1:] or machines():
        build(name)
