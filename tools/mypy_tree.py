"""Runs mypy on the packages as they are when installed.

setup.py maps folders to packages; mypy knows no such map, so it gets a tree of links under build/.
"""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / "build" / "mypy"


def package_dir() -> dict[str, str]:
    """The map in setup.py."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    return setup.call_args.kwargs["package_dir"]


def main() -> int:
    """Link the packages and check them."""
    shutil.rmtree(TREE, ignore_errors=True)
    for package, folder in package_dir().items():
        home = TREE.joinpath(*package.split("."))
        home.mkdir(parents=True, exist_ok=True)
        for path in (ROOT / folder).iterdir():
            if path.suffix == ".py" or (path.is_dir() and (path / "__init__.py").exists()):
                (home / path.name).symlink_to(path)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    return subprocess.call([*command, "-p", "luthier"], cwd=TREE)


if __name__ == "__main__":
    sys.exit(main())
