"""Engines in processes of their own, stopped while it is another one's turn.

Threads of an idle engine may spin for a while, take memory bandwidth or hold on to a core; a
process that is stopped does nothing. A crash of an engine is its own, too, and its memory is told
apart from that of the others.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from luthier.bench.peers import UnavailableError
from luthier.bench.rounds import Engine, Outputs, burst
from luthier.errors import LuthierError

__all__ = ["Remote"]

OPEN_SECONDS = 180
"""Time to load a model, with its conversion."""
BURST_SECONDS = 60
CLOSE_SECONDS = 5
STOPS = hasattr(signal, "SIGSTOP")
GAP_SECONDS = 0.01
"""Where processes cannot be stopped, a pause before a burst: longer than most threads spin."""
_PR_SET_PDEATHSIG = 1


class Remote:
    """An engine in a process of its own, a `luthier.bench.rounds.Racer`.

    Parameters
    ----------
    name : str
    open_engine : callable
        Makes the engine over there; must be picklable.

    Attributes
    ----------
    answer : sequence of ndarray
        The outputs of its first run.
    failed : bool
        Whether it has crashed, or taken too long; it is of no more use then.

    Raises
    ------
    UnavailableError
        It cannot be opened, crashes or takes too long; the message is one line.

    Examples
    --------
    >>> opener = functools.partial(open_peer, "onnxruntime", path, feeds, 1)   # doctest: +SKIP
    >>> with Remote("onnxruntime", opener) as racer:                           # doctest: +SKIP
    ...     racer.burst(10)
    """

    def __init__(self, name: str, open_engine: Callable[[], Engine]) -> None:
        self.name = name
        self.failed = False
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, open_engine), daemon=True)
        self._process.start()
        theirs.close()
        try:
            kind, *content = self._receive(OPEN_SECONDS)
            if kind == "absent":
                raise UnavailableError(*content)
        except BaseException:
            self.close()
            raise
        self.version: str = content[0]
        self.answer: Outputs = content[1]
        self._stop()

    def burst(self, count: int) -> list[float]:
        """Seconds of `count` runs in a row, after one that wakes the engine up."""
        return self._ask(count)

    def memory(self) -> int | None:
        """Most bytes that the process has held so far, less those before it opened the engine.

        None where the system does not tell.
        """
        return self._ask("memory")

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()  # which a stopped process hears, too
        self._process.join(CLOSE_SECONDS)

    def __enter__(self) -> Remote:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: int | str) -> Any:
        if STOPS:
            self._signal(signal.SIGCONT)
        else:
            time.sleep(GAP_SECONDS)
        try:
            self._connection.send(request)
            answer = self._receive(BURST_SECONDS)
        except OSError:
            raise self._failure("the engine's process has ended") from None
        self._stop()
        return answer

    def _stop(self) -> None:
        if STOPS:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        if self._process.is_alive() and self._process.pid:
            os.kill(self._process.pid, number)

    def _receive(self, seconds: float) -> Any:
        if not self._connection.poll(seconds):
            raise self._failure(f"no answer in {seconds:g} s")
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            self._process.join(CLOSE_SECONDS)
            raise self._failure(f"crashed (exit code {self._process.exitcode})") from None

    def _failure(self, reason: str) -> UnavailableError:
        self.failed = True
        return UnavailableError(f"{self.name}: {reason}")


def _serve(connection: Connection, open_engine: Callable[[], Engine]) -> None:
    """The other process: open the engine, then answer requests until the connection ends."""
    if sys.platform == "linux":  # a stopped process does not see that its parent is gone
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    before = _peak_bytes()
    try:
        engine = open_engine()
        answer = [array.copy() for array in engine.run()]
    except (UnavailableError, LuthierError) as error:
        connection.send(("absent", str(error)))
        return
    connection.send(("ready", engine.version, answer))
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        if request == "memory":
            peak = _peak_bytes()
            connection.send(None if peak is None or before is None else peak - before)
        else:
            connection.send(burst(engine.run, request))


def _peak_bytes() -> int | None:
    """Most resident bytes of this process: of Linux, as others count those of the parent in."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) << 10 if found else None
