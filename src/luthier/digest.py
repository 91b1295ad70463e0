"""Hashes of content, in little memory."""

from __future__ import annotations

import os
from pathlib import Path

try:
    # What hashlib itself takes; but to import hashlib is to load OpenSSL, 4 MB of it.
    from _blake2 import blake2b
except ImportError:  # an interpreter that is built otherwise
    from hashlib import blake2b

__all__ = ["blake2b", "content_digest"]


def content_digest(source: str | os.PathLike[str] | bytes) -> str:
    """Of a file, or of what would be in one: its name in records and reports."""
    digest = blake2b(source if isinstance(source, bytes) else b"", digest_size=32)
    if isinstance(source, bytes):
        return digest.hexdigest()
    with Path(source).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
