"""Comparing answers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from luthier.bench.answers import compare

LINE = np.linspace(-1, 1, 5, dtype=np.float32)


def test_error_is_relative_to_the_range() -> None:
    answer = compare(LINE + np.float32(0.002), LINE, rtol=1e-2)
    assert answer.ok and answer.of_range == pytest.approx(1e-3, rel=1e-2)
    assert not compare(LINE + np.float32(0.04), LINE, rtol=1e-2).ok


def test_a_constant_output_is_judged_by_its_size() -> None:
    ones = np.full(4, 100, np.float32)
    assert compare(ones + np.float32(0.01), ones, rtol=1e-3).ok
    assert not compare(ones + np.float32(1), ones, rtol=1e-3).ok
    zeros = np.zeros(4, np.float32)
    assert compare(zeros, zeros, rtol=0).ok
    assert compare(zeros + np.float32(1e-8), zeros, rtol=0, atol=1e-6).ok


@pytest.mark.parametrize(
    ("got", "reason"),
    [
        (LINE[:4], r"shape \[4\], not \[5\]"),
        (LINE.astype(np.float64), "dtype float64, not float32"),
        (np.where(LINE == 0, np.nan, LINE), "NaNs where numbers"),
        (np.where(LINE == 0, np.inf, LINE), "infinities"),
    ],
)
def test_reasons(got: np.ndarray, reason: str) -> None:
    got = got if got.dtype == np.float64 and "dtype" in reason else got.astype(np.float32)
    answer = compare(got, LINE, rtol=1)
    assert not answer.ok
    assert re.search(reason, answer.reason)


def test_infinities_and_nans_must_match() -> None:
    theirs = np.array([np.nan, np.inf, 1, 2], np.float32)
    assert compare(theirs.copy(), theirs, rtol=0).ok
    assert not compare(np.array([np.nan, -np.inf, 1, 2], np.float32), theirs, rtol=1).ok


def test_integers_and_booleans() -> None:
    counts = np.arange(5)
    assert compare(counts, counts, rtol=0).ok
    assert not compare(counts + 1, counts, rtol=0.1).ok
    flags = counts > 2
    assert compare(~flags, flags, rtol=1).reason == "5 elements differ"
    assert compare(np.zeros((0, 3)), np.zeros((0, 3)), rtol=0).ok
