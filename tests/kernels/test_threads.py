"""The thread pool: many regions, many callers, many threads, and forks."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from linear_cases import gemm_config, integers

from luthier.kernels import Conv2d, Runner, _kernels, gemm, max_pool2d

A, W = (integers(np.random.default_rng(seed), 24, 24) for seed in (1, 2))
EXPECTED = A @ W

PATIENCE = 120
"""Seconds after which a child process is taken for hung, and killed."""


def product(threads: int) -> np.ndarray:
    """A @ W in a dozen tasks."""
    return gemm(A, W, config=gemm_config("scalar", mc=2, threads=threads), num_threads=threads)


def os_threads() -> int:
    """How many threads this process has; 0 where the system does not tell."""
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.exists() else 0


@pytest.mark.parametrize("threads", [1, 2, 3, 17, 256, 1000])
def test_any_number_of_threads(threads):
    for _ in range(20):
        assert np.array_equal(product(threads), EXPECTED)


@pytest.mark.parametrize("threads", [2, 3, 9, 300])
def test_ten_thousand_regions_end(threads):
    assert _kernels.parallel_overhead(threads, 10_000 if threads < 9 else 300) > 0
    assert np.array_equal(product(threads), EXPECTED)


def test_workers_wake_after_a_pause():
    for _ in range(20):
        assert np.array_equal(product(2), EXPECTED)
        threading.Event().wait(0.002)  # longer than an idle worker spins


def test_many_callers_at_once():
    wrong = []

    def call(threads: int) -> None:
        for _ in range(60):
            if not np.array_equal(product(threads), EXPECTED):
                wrong.append(threads)

    callers = [threading.Thread(target=call, args=(2 + i % 3,)) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


def test_scratch_of_threads_does_not_mix():
    conv = Conv2d(n=2, c=5, h=9, w=9, k=9, r=3, s=3, pads=(1, 1, 1, 1), bias=True, threads=4)
    knobs = {"algo": "im2col", "isa": "scalar", "mr": 4, "nv": 1, "ku": 1, "prefetch": 0}
    runner = Runner(conv, {**knobs, "mc": 3, "nc": 4, "kc": 20, "split_n": 1, "threads": 4})
    for _ in range(50):
        assert runner.check().ok


def in_child(check) -> int:
    """The exit code of a forked child that runs `check`: 0 if it returned true."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is the point
        child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(PATIENCE)
            code = 0 if check() else 2
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def computes_in_parallel() -> bool:
    """Whether a fresh child gets right answers from more than one thread."""
    before = os_threads()
    right = all(np.array_equal(product(2), EXPECTED) for _ in range(50))
    return right and (before == 0 or os_threads() > before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_pool_of_its_own():
    assert np.array_equal(product(2), EXPECTED)
    assert in_child(computes_in_parallel) == 0
    assert np.array_equal(product(2), EXPECTED)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_fork_while_other_threads_compute():
    stop, wrong = threading.Event(), []

    def call() -> None:
        while not stop.is_set():
            if not np.array_equal(product(3), EXPECTED):
                wrong.append(1)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        codes = [in_child(computes_in_parallel) for _ in range(8)]
    finally:
        stop.set()
        for caller in callers:
            caller.join()
    assert codes == [0] * 8
    assert wrong == []


def test_operators_of_different_kinds_take_turns():
    x = integers(np.random.default_rng(3), 1, 300, 12, 12)
    pooled = max_pool2d(x, (2, 2))
    for threads in (2, 1, 4, 3):
        assert np.array_equal(product(threads), EXPECTED)
        assert np.array_equal(max_pool2d(x, (2, 2), num_threads=threads), pooled)
