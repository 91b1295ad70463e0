"""Hashes of content, in little memory."""

from __future__ import annotations

try:
    # What hashlib itself takes; but to import hashlib is to load OpenSSL, 4 MB of it.
    from _blake2 import blake2b
except ImportError:  # an interpreter that is built otherwise
    from hashlib import blake2b

__all__ = ["blake2b"]
