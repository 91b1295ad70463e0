"""The process that runs kernels for a measurer: ``python -m luthier.tuner.worker [module]``.

It lives apart from the tuner because an untried config may crash or hang. It reads requests from
its standard input and answers on its standard output, one JSON object a line, and ends when the
input does. `module` provides ``Workload`` and ``Runner``; it is ``luthier.kernels`` by default.
"""

from __future__ import annotations

import importlib
import math
import os
import queue
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from luthier.errors import KernelError
from luthier.tuner import protocol
from luthier.tuner.environment import Watch, undisturbed
from luthier.tuner.record import Check, Config, Failed, Reference, Result, Times, config_key
from luthier.tuner.sampling import UNSTABLE, Timer, abba, paired, ratio_and_interval
from luthier.tuner.stats import mad

__all__ = ["Worker", "main"]

CACHED = 4
"""Reference runners kept, each with its weights."""


class Worker:
    """Answers requests with kernels.

    Parameters
    ----------
    kernels : module or the like
        Provides ``Workload`` and ``Runner``.
    watch : callable
        Begins to observe the machine.
    steady : callable
        Makes a timer of runners proof against disturbances.
    """

    def __init__(
        self,
        kernels: Any,
        watch: Callable[[], Watch] = Watch,
        steady: Callable[[Timer], Timer] = undisturbed,
    ) -> None:
        self._kernels = kernels
        self._watch = watch
        self._steady = steady
        self._references: OrderedDict[tuple[object, ...], tuple[Any, Result | None]] = OrderedDict()

    def handle(self, request: protocol.Request) -> tuple[Result, ...]:
        """The results of a request; a failure is a result."""
        reference, failure = self._reference(request.workload, request.reference)
        if failure is None:
            try:
                if isinstance(request, protocol.Confirm):
                    return self._confirm(request, reference)
                return (self._measure(request, reference),)
            except Exception as e:
                failure = _failure(e)
        return (failure,) * (len(request.configs) if isinstance(request, protocol.Confirm) else 1)

    def _measure(self, request: protocol.Measure, reference: Any) -> Result:
        watch = self._watch()
        same = request.config == request.reference
        runner, failure = (
            (reference, None) if same else self._checked(request.workload, request.config)
        )
        if failure is not None:
            return failure
        best = math.inf if request.best is None else request.best
        times, logs = paired(runner.time, reference.time, request.effort, best)
        if mad(logs) > UNSTABLE:
            return Result("unstable", f"spread of log ratios {mad(logs):.2f}", times)
        # By definition the reference's own ratio is one; measured it would be noise.
        return _result(
            request.reference, times, [0.0] if same else logs, watch, runner.check_result
        )

    def _confirm(self, request: protocol.Confirm, reference: Any) -> tuple[Result, ...]:
        watch = self._watch()
        made = [self._checked(request.workload, config) for config in request.configs]
        sound = [runner for runner, failure in made if failure is None]
        times, logs = abba([r.time for r in (reference, *sound)], request.effort)
        timed = iter(zip(times[1:], logs[1:], strict=True))
        return tuple(
            failure or _result(request.reference, *next(timed), watch, runner.check_result)
            for runner, failure in made
        )

    def _reference(self, workload: str, config: Config) -> tuple[Any, Result | None]:
        key = (workload, config_key(config))
        if key not in self._references:
            if len(self._references) >= CACHED:
                self._references.popitem(last=False)
            self._references[key] = self._checked(workload, config)
        self._references.move_to_end(key)
        return self._references[key]

    def _checked(self, workload: str, config: Config) -> tuple[Any, Result | None]:
        """A runner whose answer is right, or the result that tells what is wrong."""
        try:
            runner = _Checked(self._kernels, workload, config, self._steady)
        except Exception as e:
            return None, _failure(e)
        check = runner.check_result
        if not check.ok:
            error = "not finite" if check.max_abs is None else f"{check.max_abs:.3g}"
            return None, Result("wrong", f"largest error: {error}", check=check)
        return runner, None


class _Checked:
    """A runner with the outcome of its check."""

    def __init__(
        self, kernels: Any, workload: str, config: Config, steady: Callable[[Timer], Timer]
    ) -> None:
        runner = kernels.Runner(kernels.Workload.parse(workload), config)
        check = runner.check()
        self.check_result = Check(bool(check.ok), _finite(check.max_abs), _finite(check.max_rel))
        self.time = steady(runner.time)


def _failure(error: Exception) -> Result:
    """An exception as a result."""
    if isinstance(error, Failed):
        return Result(error.status, str(error))
    if isinstance(error, KernelError):
        return Result("constraint", str(error))
    return Result("run_error", f"{type(error).__name__}: {error}")


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _result(
    reference: Config, times: Times, logs: list[float], watch: Watch, check: Check
) -> Result:
    compared = Reference(reference, *ratio_and_interval(logs))
    return Result("ok", "", times, compared, check, watch.read())


def main(argv: list[str]) -> None:
    """Serve requests until the input ends."""
    # Whatever prints must not spoil the messages: they get a descriptor of their own.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    worker = Worker(importlib.import_module(argv[0] if argv else "luthier.kernels"))
    out.write(protocol.encode(protocol.Ready()) + b"\n")
    while True:
        request = protocol.decode_request(requests.get())
        out.write(protocol.encode(protocol.Reply(worker.handle(request))) + b"\n")


def _read(requests: queue.SimpleQueue[bytes]) -> None:
    """Pass lines on. The end of input means that the tuner is gone: end, whatever is running."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
