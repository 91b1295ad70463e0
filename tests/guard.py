"""Arrays that end, or start, at a page which must not be touched.

A kernel that reads or writes beyond such an array dies at once instead of going unnoticed.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["guarded", "guarded_copy"]

_PAGE = mmap.PAGESIZE
_PROT_NONE = 0

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def guarded(shape: int | Sequence[int], dtype: Any = np.float32, side: str = "end") -> np.ndarray:
    """An array of zeros beside a forbidden page.

    Parameters
    ----------
    shape : int or sequence of int
    dtype : dtype
    side : str
        ``"end"``: the page follows the last byte; ``"start"``: it precedes the first.

    Returns
    -------
    numpy.ndarray
        C-contiguous and writable; the memory lives as long as the array.

    Examples
    --------
    >>> guarded((2, 3)).shape
    (2, 3)
    """
    if side not in ("start", "end"):
        raise ValueError(f"side must be 'start' or 'end', not {side!r}")
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    room = -(-size // _PAGE) * _PAGE
    memory = mmap.mmap(-1, room + _PAGE)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    forbidden = base if side == "start" else base + room
    if _libc.mprotect(forbidden, _PAGE, _PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect failed")
    offset = _PAGE if side == "start" else room - size
    return np.frombuffer(memory, dtype, size // dtype.itemsize, offset).reshape(shape)


def guarded_copy(array: np.ndarray, side: str = "end") -> np.ndarray:
    """A copy of `array` beside a forbidden page."""
    copy = guarded(array.shape, array.dtype, side)
    copy[...] = array
    return copy
