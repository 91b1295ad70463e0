"""Builds luthier-runner, the kernels as a program: ``kernels/bin/luthier-runner-<machine>``.

python tools/runner.py              for this machine, and those whose cross compilers are installed
python tools/runner.py aarch64      for that one
"""

from __future__ import annotations

import sys

import cross


def build(machine: str) -> None:
    """Make the runner for `machine`, or bring it up to date."""
    cross.run_setup(machine, "build_runner")


if __name__ == "__main__":
    for name in sys.argv[1:] or cross.machines():
        build(name)
