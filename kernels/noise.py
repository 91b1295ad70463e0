"""Arrays made from a seed, the same on every machine and in C (``runner/main.c``)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["Noise"]


@dataclass(frozen=True)
class Noise:
    """float32 numbers, uniform with mean 0 and variance 1.

    Number i is the upper 24 bits of a hash of ``i + 0x9e3779b9 seed``, as a signed number, times
    sqrt(3) / 2**23. The hash is lowbias32 of C. Wellons, "Prospecting for Hash Functions" (2018).

    Attributes
    ----------
    shape : tuple of int
    seed : int
        From 0 to 2**32 - 1.

    Examples
    --------
    >>> Noise((2, 3), seed=1).array.shape
    (2, 3)
    """

    shape: tuple[int, ...]
    seed: int

    @cached_property
    def array(self) -> np.ndarray:
        """The numbers."""
        h = np.arange(math.prod(self.shape), dtype=np.uint32)
        h += np.uint32(self.seed * 0x9E3779B9 & 0xFFFFFFFF)
        h ^= h >> 16
        h *= np.uint32(0x7FEB352D)
        h ^= h >> 15
        h *= np.uint32(0x846CA68B)
        h ^= h >> 16
        numbers = (h.view(np.int32) >> 8).astype(np.float32)
        numbers *= np.float32(1.7320508) / np.float32(1 << 23)
        return numbers.reshape(self.shape)
