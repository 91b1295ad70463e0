"""Sampling finds the right ratio under noise; its timers are functions, so nothing is timed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from luthier.tuner.sampling import (
    Effort,
    abba,
    calibrate,
    paired,
    ratio_and_interval,
)
from luthier.tuner.stats import bootstrap_interval, mad, trimmed_mean


class Machine:
    """Two kernels on a machine whose clock drifts and that is disturbed now and then."""

    def __init__(self, seed: int, ratio: float, drift: float = 0.01, spikes: float = 0.05) -> None:
        self.rng = np.random.default_rng(seed)
        self.ratio = ratio
        self.drift, self.spikes = drift, spikes
        self.pace = 1.0
        self.calls = 0

    def timer(self, seconds: float):
        def run(inner: int) -> float:
            self.calls += 1
            self.pace *= 1 + self.drift
            spike = 3.0 if self.rng.random() < self.spikes else 1.0
            return seconds * self.pace * spike * math.exp(self.rng.normal(0, 0.005))

        return run

    @property
    def pair(self):
        return self.timer(1e-4 * self.ratio), self.timer(1e-4)


def test_calibrate_fills_a_sample() -> None:
    for seconds in (1e-7, 1e-5, 1e-3, 0.004, 1.0):
        inner = calibrate(lambda inner, s=seconds: s, 0.005)
        assert inner * seconds >= 0.005
        assert inner == 1 or (inner - 1) * seconds < 0.011


def test_calibrate_is_bounded_for_a_broken_clock() -> None:
    assert calibrate(lambda inner: 0.0, 0.005) == 1_000_000


@pytest.mark.parametrize("ratio", [0.5, 0.97, 1.03])
def test_paired_ratio_withstands_drift_and_spikes(ratio: float) -> None:
    found = []
    for seed in range(20):
        times, logs = paired(*Machine(seed, ratio).pair, Effort(), best=1.0)
        assert times.n == len(times.samples) == len(logs)
        assert times.min <= times.median
        found.append(math.exp(trimmed_mean(logs)))
    assert np.median(found) == pytest.approx(ratio, rel=0.02)


def test_a_slow_config_is_dropped_after_two_samples() -> None:
    _, logs = paired(*Machine(0, 2.0, spikes=0).pair, Effort(), best=1.0)
    assert len(logs) == 2


def test_a_tie_with_the_best_gets_more_samples() -> None:
    _, tie = paired(*Machine(0, 0.8, spikes=0).pair, Effort(), best=0.8)
    _, clear = paired(*Machine(0, 0.8, spikes=0, drift=0).pair, Effort(), best=0.9)
    assert len(tie) == Effort().most
    assert len(clear) == Effort().samples


def test_a_result_too_good_is_measured_again() -> None:
    _, logs = paired(*Machine(0, 0.3, spikes=0).pair, Effort(), best=0.9)
    assert len(logs) == Effort().most


def test_without_a_best_there_is_nothing_to_tie_with() -> None:
    _, logs = paired(*Machine(0, 1.0, spikes=0, drift=0).pair, Effort())
    assert len(logs) == Effort().samples


def test_abba_cancels_a_steady_drift() -> None:
    machine = Machine(3, 1.0, drift=0.02, spikes=0)
    times, logs = abba([machine.timer(1e-3), machine.timer(0.97e-3)], Effort(rounds=10))
    assert [t.n for t in times] == [20, 20]
    assert logs[0] == [0.0] * 10
    ratio, lo, hi = ratio_and_interval(logs[1])
    assert ratio == pytest.approx(0.97, abs=0.005)
    assert lo <= ratio <= hi < 1


def test_intervals_cover_the_truth() -> None:
    covered = 0
    for seed in range(100):
        x = np.random.default_rng(seed).normal(0.0, 0.01, 12)
        lo, hi = bootstrap_interval(x, seed=seed)
        covered += lo <= 0.0 <= hi
    assert covered >= 85


def test_statistics_of_small_samples() -> None:
    assert trimmed_mean([1.0]) == 1.0
    assert trimmed_mean([1.0, 2.0, 3.0, 4.0, 100.0]) == 3.0
    assert mad([1.0, 2.0, 4.0]) == 1.0
