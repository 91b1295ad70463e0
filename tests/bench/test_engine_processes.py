"""Engines in processes of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from luthier.bench.peers import UnavailableError
from luthier.bench.remote import Remote
from luthier.bench.rounds import Engine


def open_spinner(path: Path) -> Engine:
    """An engine with a thread that never rests, and counts in a file."""

    def spin() -> None:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(b".")
                time.sleep(0.001)

    threading.Thread(target=spin, daemon=True).start()
    return Engine("spinner", lambda: [np.arange(3)], "1.5")


def open_hog() -> Engine:
    return Engine("hog", lambda: [np.ones(8 << 20, np.uint8)])


def open_badly(reason: str) -> Engine:
    if reason:
        raise UnavailableError(reason)
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def die_later() -> Engine:
    runs = iter([[np.zeros(1)]])
    return Engine("mortal", lambda: next(runs, None) or os._exit(3))


def test_a_remote_engine_rests_between_bursts(tmp_path: Path) -> None:
    path = tmp_path / "count"
    with Remote("spinner", partial(open_spinner, path)) as racer:
        assert racer.version == "1.5"
        np.testing.assert_array_equal(racer.answer, [[0, 1, 2]])
        time.sleep(0.05)  # the signal has come
        counted = path.stat().st_size
        time.sleep(0.1)
        assert path.stat().st_size == counted
        times = racer.burst(4)
        assert len(times) == 4 and min(times) > 0
        process = racer._process
    assert not process.is_alive()


def test_memory_is_told() -> None:
    with Remote("hog", open_hog) as racer:
        memory = racer.memory()
    if Path("/proc/self/status").exists():
        assert memory is not None and 8 << 20 <= memory < 32 << 20
    else:
        assert memory is None


@pytest.mark.parametrize(
    ("reason", "message"),
    [("no such model", "no such model"), ("", r"bad: crashed \(exit code -11")],
)
def test_failures_are_reported(reason: str, message: str) -> None:
    with pytest.raises(UnavailableError, match=message):
        Remote("bad", partial(open_badly, reason))


def test_a_crash_in_a_burst_is_reported() -> None:
    with (
        Remote("mortal", die_later) as racer,
        pytest.raises(UnavailableError, match=r"mortal: crashed \(exit code 3\)"),
    ):
        racer.burst(1)
