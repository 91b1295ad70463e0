"""Runs Python with luthier built with AddressSanitizer and UndefinedBehaviorSanitizer.

    python tools/sanitized.py -m pytest tests/kernels

The build goes to ``build/sanitized``; the ordinary one stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "sanitized"
SANITIZERS = "address,undefined"

SITE = """
# The editable install would hide the packages beside this file.
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "_EditableFinder" not in str(f)]
"""


def _library(name: str) -> str:
    """The compiler's run-time library `name`."""
    words = [os.environ.get("CC", "gcc"), f"-print-file-name={name}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main(arguments: list[str]) -> int:
    """Build, then run Python with `arguments`."""
    environment = os.environ | {"LUTHIER_SANITIZE": SANITIZERS}
    build = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(BUILD)]
    subprocess.run(build, cwd=ROOT, env=environment, check=True)
    (BUILD / "sitecustomize.py").write_text(SITE)
    environment |= {
        "PYTHONPATH": str(BUILD),
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": f"{_library('libasan.so')} {_library('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    return subprocess.call([sys.executable, *arguments], cwd=ROOT, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
