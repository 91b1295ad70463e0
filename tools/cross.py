"""setup.py for this machine or another one, run by one process at a time."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
PREFIXES = {"aarch64": "aarch64-linux-gnu-", "armv7l": "arm-linux-gnueabihf-"}
"""Of the cross compilers, as Debian and Ubuntu name them."""


def machines() -> list[str]:
    """Machines that can be built for here: this one, and those whose compilers are installed."""
    found = [machine for machine, prefix in PREFIXES.items() if shutil.which(f"{prefix}gcc")]
    return list(dict.fromkeys([platform.machine(), *found]))


def run_setup(machine: str, *arguments: str, variables: Mapping[str, str] | None = None) -> None:
    """Run ``setup.py -q`` with these arguments for `machine`; an error ends the program.

    Two at a time would write to the same folders of ``build``.
    """
    environment = dict(os.environ)
    environment.pop("LUTHIER_SANITIZE", None)
    if machine != platform.machine():
        prefix = PREFIXES[machine]
        environment |= {
            "_PYTHON_HOST_PLATFORM": f"linux-{machine}",
            "CC": f"{prefix}gcc",
            "LDSHARED": f"{prefix}gcc -shared",
            "AR": f"{prefix}ar",
            "CFLAGS": "",
            "LDFLAGS": "",
        }
    (ROOT / "build").mkdir(exist_ok=True)
    with FileLock(ROOT / "build" / "setup.lock"):
        run([sys.executable, "setup.py", "-q", *arguments], environment | dict(variables or {}))


def run(words: list[str], environment: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
    """Standard output of a command; if it fails, the program ends with what it said."""
    done = subprocess.run(
        words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = done.stdout + done.stderr
        raise SystemExit(f"{' '.join(words[:4])} failed with {done.returncode}\n{said}")
    return done.stdout
