"""Scales, zero points and other constants of quantised operators, for lowering rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from luthier.graph.ir import Value
from luthier.graph.lowering.context import require

__all__ = ["constant_of", "scale_of", "zero_of"]


def constant_of(value: Value | None, what: str) -> np.ndarray:
    """The content of a constant; NotNative, with a reason that names it, for anything else."""
    require(value is not None and value.data is not None, f"{what} is not constant")
    assert value is not None
    return value.data


def _number(value: Value | None, what: str) -> Any:
    data = constant_of(value, what)
    require(data.size == 1, f"{what} is not one number")
    return data.reshape(()).item()


def scale_of(value: Value | None) -> np.float32:
    """A scale of a whole tensor."""
    return np.float32(_number(value, "a scale"))


def zero_of(value: Value | None) -> int:
    """A zero point of a whole tensor, 0 where it is left out."""
    return 0 if value is None else int(_number(value, "a zero point"))
