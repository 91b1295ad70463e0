"""Whether two engines agree on an output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Answer", "compare"]


@dataclass(frozen=True)
class Answer:
    """The outcome of a comparison.

    Attributes
    ----------
    ok : bool
    max_abs : float or None
        Largest error; None where the two cannot be subtracted.
    of_range : float or None
        The same, relative to the range (largest minus smallest finite value) of what is expected.
    reason : str
        Why not, if not.
    """

    ok: bool
    max_abs: float | None = None
    of_range: float | None = None
    reason: str = ""


def compare(got: np.ndarray, expected: np.ndarray, rtol: float, atol: float = 0.0) -> Answer:
    """Compare an output with what is expected of it.

    Parameters
    ----------
    got, expected : numpy.ndarray
        Must have the same shape and dtype. Infinities and NaNs must be at the same places.
    rtol : float
        Bound of the largest error, relative to the expected output's range. Where that range is
        smaller than a thousandth of the largest value (an output that is constant), relative to
        the largest value.
    atol : float
        Absolute errors up to this are accepted, whatever the range.

    Examples
    --------
    >>> compare(np.float32([0, 1.001]), np.float32([0, 1]), rtol=1e-2).ok
    True
    """
    if got.shape != expected.shape:
        return Answer(False, reason=f"shape {list(got.shape)}, not {list(expected.shape)}")
    if got.dtype != expected.dtype:
        return Answer(False, reason=f"dtype {got.dtype}, not {expected.dtype}")
    if expected.dtype.kind not in "fiu" and str(expected.dtype) != "bfloat16":
        wrong = int(np.sum(got != expected))
        return Answer(wrong == 0, reason=f"{wrong} elements differ" if wrong else "")
    mine, theirs = got.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(theirs)
    if not np.array_equal(mine[~finite], theirs[~finite], equal_nan=True):
        return Answer(False, reason="infinities or NaNs differ")
    if not np.isfinite(mine[finite]).all():
        return Answer(False, reason="infinities or NaNs where numbers are expected")
    if not finite.any():
        return Answer(True, 0.0, 0.0)
    error = float(np.abs(mine[finite] - theirs[finite]).max())
    magnitude = float(np.abs(theirs[finite]).max())
    spread = float(np.ptp(theirs[finite]))
    if spread < 1e-3 * magnitude:
        spread = magnitude
    relative = error / (spread or 1.0)
    ok = error <= atol or relative <= rtol
    reason = "" if ok else f"error above {rtol:g} of the range"
    return Answer(ok, error, relative, reason)
