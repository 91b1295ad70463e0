"""Interleaved rounds, with engines and a clock that are made up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.bench.rounds import burst, median_interval, race


class Clock:
    """Goes on by what engines say that they take."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Fake:
    version = "1"

    def __init__(self, name: str, clock: Clock, seconds: float, answer: float = 1.0) -> None:
        self.name, self.clock, self.seconds = name, clock, seconds
        self.answer = [np.array([0.0, answer])]
        self.bursts: list[int] = []

    def run(self) -> None:
        self.clock.now += self.seconds

    def burst(self, count: int) -> list[float]:
        self.bursts.append(count)
        return burst(self.run, count, self.clock)


def test_race() -> None:
    clock = Clock()
    first, slow = Fake("first", clock, 0.01), Fake("slow", clock, 0.04)
    rows = race([first, slow], rounds=7, flops=2e8, clock=clock)
    assert first.bursts == [1] + [5] * 7
    assert slow.bursts == [1] + [2] * 7
    assert [row["median"] for row in rows] == pytest.approx([0.01, 0.04])
    assert [row["ratio"] for row in rows] == pytest.approx([1, 4])
    assert (rows[1]["lo"], rows[1]["hi"]) == pytest.approx((4, 4))
    assert rows[0]["gflops"] == pytest.approx(20)
    assert [(row["rounds"], row["runs"]) for row in rows] == [(7, 35), (7, 14)]
    assert not any(row["differs"] or row["disagrees"] for row in rows)


def test_rounds_end_with_the_time() -> None:
    clock = Clock()
    racer = Fake("a", clock, 1.0)
    (row,) = race([racer], rounds=100, seconds=30, clock=clock)
    assert row["rounds"] == 10  # two runs and one to wake up, after two of the first burst
    (row,) = race([Fake("a", clock, 100.0)], rounds=100, seconds=1, clock=clock)
    assert row["rounds"] == 6


def test_all_answers_are_compared() -> None:
    clock = Clock()
    racers = [Fake("a", clock, 1), Fake("b", clock, 1, 1.0005), Fake("c", clock, 1, 2)]
    rows = race(racers, rounds=1)
    assert [row["differs"] for row in rows] == [False, False, True]
    assert [row["disagrees"] for row in rows] == [["c"], ["c"], ["a", "b"]]
    assert rows[2]["reason"] == "output 0: error above 0.001 of the range"


@pytest.mark.parametrize("n", [1, 2, 5, 6, 15, 200])
def test_median_interval_holds_95_percent(n: int) -> None:
    lo, hi = median_interval(range(n))
    assert lo + hi == n - 1
    outside = 2 * sum(math.comb(n, i) for i in range(int(lo) + 1)) / 2**n
    assert outside <= 0.05 or lo == 0
    assert outside + 2 * math.comb(n, int(lo) + 1) / 2**n > 0.05  # and is the shortest one
