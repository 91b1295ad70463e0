"""Runs Python with luthier built with AddressSanitizer and UndefinedBehaviorSanitizer.

    python tools/sanitized.py -m pytest tests/kernels

The build goes to ``build/sanitized``; the ordinary one stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys

import other_build

SANITIZERS = "address,undefined"


def _library(name: str) -> str:
    """The compiler's run-time library `name`."""
    words = [os.environ.get("CC", "gcc"), f"-print-file-name={name}"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def main(arguments: list[str]) -> int:
    """Build, then run Python with `arguments`."""
    settings = {
        "PYTHONMALLOC": "malloc",
        "LD_PRELOAD": f"{_library('libasan.so')} {_library('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }
    return other_build.run("sanitized", arguments, {"LUTHIER_SANITIZE": SANITIZERS}, settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
