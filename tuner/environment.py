"""The state of the machine, as far as Linux tells; None elsewhere."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Callable
from pathlib import Path

from luthier.tuner.record import Environment
from luthier.tuner.sampling import Timer

__all__ = ["Watch", "undisturbed"]

CPU = Path("/sys/devices/system/cpu")
THERMAL = Path("/sys/class/thermal/thermal_zone0/temp")
STAT = Path("/proc/stat")
THROTTLED = 0.8
"""A clock below this share of the maximum counts as throttled."""

ATTEMPTS = 4


def undisturbed(timer: Timer) -> Timer:
    """A timer that tries again where another process took the CPU away during a sample.

    Each attempt is half as long, for on a busy machine only a short sample fits between two
    interruptions. If none does, the least disturbed one counts.
    """

    def run(inner: int) -> float:
        best = math.inf
        for attempt in range(ATTEMPTS):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
            best = min(best, timer(max(1, inner >> attempt)))
            if resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw == before:
                break
        return best

    return run


def _read(path: Path) -> str:
    """The file's text, or nothing where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""


class Watch:
    """Observes a machine from the watch's creation to `read`.

    Parameters
    ----------
    text : callable
        From the path of a file of that machine to its text; this machine's by default.
    pinning : tuple of int, optional
        The CPUs that may be used; by default those of this process.
    """

    def __init__(
        self, text: Callable[[Path], str] = _read, pinning: tuple[int, ...] | None = None
    ) -> None:
        if pinning is None:
            here = hasattr(os, "sched_getaffinity")
            pinning = tuple(sorted(os.sched_getaffinity(0))) if here else ()
        self._text = text
        self._pinning = pinning
        self._before = self._ticks()

    def read(self) -> Environment:
        """Clock (Hz), temperature (Celsius), throttling, share of stolen time, allowed CPUs."""
        cpu = CPU / f"cpu{self._pinning[0] if self._pinning else 0}" / "cpufreq"
        now, top = (self._number(cpu / f) for f in ("scaling_cur_freq", "cpuinfo_max_freq"))
        temperature = self._number(THERMAL)
        return Environment(
            frequency=now * 1000 if now else None,
            temperature=temperature / 1000 if temperature is not None else None,
            throttled=now < THROTTLED * top if now and top else None,
            steal=self._steal(),
            pinning=self._pinning,
        )

    def _steal(self) -> float | None:
        after = self._ticks()
        if self._before is None or after is None:
            return None
        total = after[0] - self._before[0]
        return round((after[1] - self._before[1]) / total, 4) if total > 0 else None

    def _number(self, path: Path) -> float | None:
        try:
            return float(self._text(path))
        except ValueError:
            return None

    def _ticks(self) -> tuple[int, int] | None:
        """All ticks of all CPUs, and the stolen ones among them."""
        try:
            fields = [int(f) for f in self._text(STAT).split("\n", 1)[0].split()[1:]]
            return sum(fields[:8]), fields[7]
        except (ValueError, IndexError):
            return None
