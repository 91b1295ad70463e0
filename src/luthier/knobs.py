"""Every environment variable that luthier reads while it runs.

==================== ==============================================================
LUTHIER_ISA          highest instruction set to use, such as ``avx2``
LUTHIER_NUM_THREADS  threads of sessions and commands that do not say how many
LUTHIER_RECORDS      the file of tuning records
==================== ==============================================================
"""

from __future__ import annotations

import os
from pathlib import Path

from luthier.errors import ArgumentError

__all__ = ["forced_isa", "num_threads", "records_path"]


def forced_isa() -> str | None:
    """LUTHIER_ISA, or None where it is unset or empty."""
    return os.environ.get("LUTHIER_ISA") or None


def num_threads() -> int | None:
    """LUTHIER_NUM_THREADS, or None where it is unset or empty.

    Raises
    ------
    ArgumentError
        It is no positive number.
    """
    text = os.environ.get("LUTHIER_NUM_THREADS")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentError(f"LUTHIER_NUM_THREADS: expected a positive number, got {text!r}")
    return int(text)


def records_path() -> Path | None:
    """LUTHIER_RECORDS, or None where it is unset or empty."""
    text = os.environ.get("LUTHIER_RECORDS")
    return Path(text) if text else None
