"""Measurers: how a config's result is found."""

from __future__ import annotations

import math
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO, Any, Protocol

from luthier.tuner import protocol
from luthier.tuner.device import kernels_hash
from luthier.tuner.record import Config, Result
from luthier.tuner.sampling import Effort
from luthier.tuner.strategies.base import Space

__all__ = ["LocalMeasurer", "Measurer"]

START_TIMEOUT = 120.0
"""Seconds for a worker to import its kernels."""


class Measurer(Protocol):
    """What the tuning loop needs of a measurer.

    Attributes
    ----------
    kernels : str
        Hash of the kernels that it measures.
    """

    kernels: str

    def space(self, workload: Any) -> Space:
        """The configs that can be measured."""

    def measure(
        self, workload: Any, config: Config, reference: Config, best: float = math.inf
    ) -> Result:
        """Check and time a config beside the reference; `best` is the best ratio so far."""

    def confirm(self, workload: Any, configs: Sequence[Config], reference: Config) -> list[Result]:
        """Compare a few configs with the reference carefully."""

    def close(self) -> None:
        """Release what is held."""


class LocalMeasurer:
    """Measures in a worker process, which it replaces when a config crashes or hangs.

    Parameters
    ----------
    effort : Effort
        How much time a trial may take.
    timeout : float
        Seconds until a trial counts as hanging.
    module : str
        Provides the worker with ``Workload`` and ``Runner``.
    space : callable, optional
        Makes the space of an operator and a workload; by default that of `luthier.kernels`.
    command : sequence of str, optional
        Starts a worker; with another one (such as by ``ssh``) the worker runs elsewhere.

    Examples
    --------
    >>> with LocalMeasurer() as measurer:                                   # doctest: +SKIP
    ...     space = measurer.space(workload)
    ...     measurer.measure(workload, space.configs[0], space.default).ratio
    """

    def __init__(
        self,
        effort: Effort | None = None,
        *,
        timeout: float = 30.0,
        module: str = "luthier.kernels",
        space: Callable[[str, Any], Space] | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self.effort = effort or Effort()
        self.timeout = timeout
        self.kernels = kernels_hash(module)
        self._space = space
        self._command = [*(command or (sys.executable, "-m", "luthier.tuner.worker")), module]
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._buffer = bytearray()

    def __enter__(self) -> LocalMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def space(self, workload: Any) -> Space:
        """The space of a workload on this machine."""
        if self._space is None:
            from luthier.kernels.spaces import space

            self._space = space
        return self._space(workload.op, workload)

    def measure(
        self, workload: Any, config: Config, reference: Config, best: float = math.inf
    ) -> Result:
        """Check and time one config; a crash, a hang or a wrong answer is a result as well."""
        limit = best if math.isfinite(best) else None
        return self._call(
            protocol.Measure(workload.key, config, reference, self.effort, limit), self.timeout
        )[0]

    def confirm(self, workload: Any, configs: Sequence[Config], reference: Config) -> list[Result]:
        """Compare configs with the reference in an interleaved (ABBA) order."""
        if not configs:
            return []
        request = protocol.Confirm(workload.key, tuple(configs), reference, self.effort)
        results = self._call(request, self.timeout * (1 + len(configs)))
        return results * len(configs) if len(results) < len(configs) else results

    def close(self) -> None:
        """End the worker."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                stream.close()
        self._process = None
        self._buffer.clear()

    # -- the worker --------------------------------------------------------------------------

    def _call(self, request: protocol.Request, timeout: float) -> list[Result]:
        """The worker's results, or a single one that tells how it ended."""
        try:
            process = self._started()
        except (OSError, _Ended, TimeoutError) as e:
            self.close()
            return [Result("device_lost", f"worker does not start: {e}")]
        try:
            assert process.stdin is not None
            process.stdin.write(protocol.encode(request) + b"\n")
            reply = protocol.decode_reply(self._line(process, timeout))
            assert isinstance(reply, protocol.Reply)
            return list(reply.results)
        except TimeoutError:
            self.close()
            return [Result("run_timeout", f"no answer within {timeout:g} s")]
        except (OSError, _Ended) as e:
            self.close()
            return [Result("crash", str(e))]
        except BaseException:
            # Interrupted: the answer that is still to come must not be taken for another one.
            self.close()
            raise

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115, closed with the worker
            # A session of its own: Ctrl-C is for the tuner, which then ends the worker.
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                start_new_session=True,
            )
            protocol.decode_reply(self._line(self._process, START_TIMEOUT))
        return self._process

    def _line(self, process: subprocess.Popen[bytes], timeout: float) -> bytes:
        assert process.stdout is not None
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while (end := self._buffer.find(b"\n")) < 0:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"no answer within {timeout:g} s")
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise _Ended(self._last_words(process))
                self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        """Why the worker ended: its signal or exit code, and the last line of its errors."""
        code = process.wait()
        reason = signal.strsignal(-code) or f"signal {-code}" if code < 0 else f"exit code {code}"
        assert self._stderr is not None
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 4096))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"{reason}: {lines[-1]}" if lines else reason


class _Ended(Exception):
    """The worker closed its output."""
