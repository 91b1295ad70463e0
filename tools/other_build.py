"""Another build of luthier beside the ordinary one, which stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["run"]

ROOT = Path(__file__).resolve().parents[1]

SITE = """
# The editable install would hide the packages beside this file.
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "_EditableFinder" not in str(f)]
"""


def run(
    name: str,
    arguments: Sequence[str],
    switches: Mapping[str, str],
    settings: Mapping[str, str] | None = None,
) -> int:
    """Build into ``build/NAME``, then run Python with `arguments` on it; returns its exit code.

    Parameters
    ----------
    switches : mapping
        Environment of both, which setup.py reads.
    settings : mapping, optional
        More of Python's environment.
    """
    folder, environment = ROOT / "build" / name, os.environ | dict(switches)
    build = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(folder)]
    subprocess.run(build, cwd=ROOT, env=environment, check=True)
    (folder / "sitecustomize.py").write_text(SITE)
    environment |= {"PYTHONPATH": str(folder), **(settings or {})}
    return subprocess.call([sys.executable, *arguments], cwd=ROOT, env=environment)
