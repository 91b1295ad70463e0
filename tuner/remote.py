"""A measurer for devices that run luthier-runner: see `luthier.tuner.link`."""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from luthier.errors import ArgumentError, KernelError
from luthier.kernels import _kernels
from luthier.kernels.cpu import System, target_of
from luthier.kernels.noise import Noise
from luthier.kernels.runner import (
    Check,
    call_slots,
    cold_copies,
    compare,
    expected,
    output_dtype,
)
from luthier.kernels.spaces import space, usual_error
from luthier.kernels.workload import Chain, Precision, Workload
from luthier.limits import MAX_ERROR
from luthier.target import Target
from luthier.tuner import protocol
from luthier.tuner.environment import Watch
from luthier.tuner.link import GRACE, Handle, Link, Open
from luthier.tuner.record import Config, Failed, Result
from luthier.tuner.sampling import Effort
from luthier.tuner.strategies.base import Space
from luthier.tuner.worker import Worker

__all__ = ["RemoteMeasurer"]

PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 60.0)
"""Seconds before each attempt to connect again: long enough for a board to boot."""

TRIES = 2
"""Times that a trial may lose the device until its config is to blame."""

CACHE_SHARE = 0.5
"""Of the device's free memory, for buffers that a later trial may need again."""


class RemoteMeasurer:
    """Measures on another device; it has the interface of `luthier.tuner.LocalMeasurer`.

    Samples are taken and judged here, as for this machine; the device calls kernels, and times
    them. When it is lost it is connected to again, and the trial repeated. A config that loses it
    twice is recorded as crashing.

    Parameters
    ----------
    connect : callable
        Connects to the device, such as ``over_ssh("ssh://pi@board")``.
    effort : Effort
        How much time a trial may take.
    timeout : float
        Seconds until a kernel counts as hanging.
    target : Target, optional
        What the device is to count as; by default it is asked.
    max_error : float
        As for `luthier.kernels.spaces.space`.
    on_notice : callable, optional
        Is told of lost connections.

    Raises
    ------
    Failed
        The device cannot be reached.

    Examples
    --------
    >>> with RemoteMeasurer(over_ssh("ssh://pi@board")) as measurer:            # doctest: +SKIP
    ...     print(measurer.target.fingerprint)
    """

    def __init__(
        self,
        connect: Open,
        effort: Effort | None = None,
        *,
        timeout: float = 30.0,
        target: Target | None = None,
        max_error: float = MAX_ERROR,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self.effort = effort or Effort()
        self.timeout = timeout
        self.max_error = max_error
        self.on_notice = on_notice
        self._connect = connect
        self._link: Link | None = connect()
        self._worker = self._new_worker(self._link)
        self.kernels = self._link.about["kernels"]
        found = target_of(system_of(self._link))
        self.target = target or found
        self._fingerprint = found.fingerprint

    def __enter__(self) -> RemoteMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def space(self, workload: Any) -> Space:
        """The space of a workload on the device."""
        return space(workload.op, workload, self.target, self.max_error)

    def measure(
        self, workload: Any, config: Config, reference: Config, best: float = math.inf
    ) -> Result:
        """Check and time one config; a crash, a hang or a wrong answer is a result as well."""
        limit = best if math.isfinite(best) else None
        return self._handle(protocol.Measure(workload.key, config, reference, self.effort, limit))[
            0
        ]

    def confirm(self, workload: Any, configs: Sequence[Config], reference: Config) -> list[Result]:
        """Compare configs with the reference in an interleaved (ABBA) order."""
        if not configs:
            return []
        return self._handle(protocol.Confirm(workload.key, tuple(configs), reference, self.effort))

    def close(self) -> None:
        """End the connection; the device keeps nothing."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _handle(self, request: protocol.Request) -> list[Result]:
        """The results, after connecting again where that was needed."""
        lost = Result("device_lost", "not connected")
        for _ in range(TRIES):
            try:
                if self._link is None:
                    self._reconnect()
                results = list(self._worker.handle(request))
            except Failed as error:
                return [Result(error.status, str(error))] * _count(request)
            except BaseException:
                self.close()
                raise
            found = [r for r in results if r.status == "device_lost"]
            if not found:
                return results
            lost = found[0]
            self.close()
            self._notice(f"device lost: {lost.error}")
        return [Result("crash", f"the device was lost {TRIES} times: {lost.error}")] * _count(
            request
        )

    def _reconnect(self) -> None:
        for turn, pause in enumerate(PAUSES):
            time.sleep(pause)
            try:
                link = self._connect()
            except Failed as error:
                if turn == len(PAUSES) - 1:
                    raise
                self._notice(f"cannot connect: {error}")
                continue
            found = target_of(system_of(link)).fingerprint
            if found != self._fingerprint:
                link.close()
                raise Failed("device_lost", f"another device answers: {found}")
            self._link, self._worker = link, self._new_worker(link)
            self._notice("connected again")
            return

    def _new_worker(self, link: Link) -> Worker:
        read = link.file
        cpus = tuple(int(cpu) for cpu in link.about["cpus"].split(",") if cpu)
        kernels = _Kernels(link, math.ceil(self.timeout))
        return Worker(kernels, watch=lambda: Watch(read, cpus), steady=lambda timer: timer)

    def _notice(self, text: str) -> None:
        if self.on_notice is not None:
            self.on_notice(text)


def system_of(link: Link) -> System:
    """The device as `luthier.kernels.cpu.target_of` takes it."""
    about = link.about
    try:
        isas = int(about["isas"])
        return System(
            machine=about["machine"],
            isas=tuple(n for i, n in enumerate(_kernels.ISA_NAMES) if isas >> i & 1),
            features=tuple(filter(None, about["features"].split(","))),
            cores=int(about["cores"]),
            read=link.file,
        )
    except (KeyError, ValueError):
        raise ArgumentError("the luthier-runner's first answer is not understood") from None


def _count(request: protocol.Request) -> int:
    return len(request.configs) if isinstance(request, protocol.Confirm) else 1


class _Kernels:
    """What a `Worker` needs of kernels. Buffers that may be needed again stay on the device."""

    Workload = Workload

    def __init__(self, link: Link, seconds: int) -> None:
        self.link = link
        self.seconds = seconds
        self.checks: dict[object, Check] = {}
        self._memory = int(CACHE_SHARE * int(link.about["memory"]))
        self._buffers: OrderedDict[object, tuple[Handle, int]] = OrderedDict()

    def Runner(self, workload: Any, config: Config) -> _Runner:
        return _Runner(self, workload, config)

    def buffer(self, value: np.ndarray | Noise) -> Handle:
        """The buffer with these contents, sent only if it is not there."""
        key: object = value
        size = 4 * math.prod(value.shape)
        if isinstance(value, np.ndarray):
            key, size = hashlib.sha256(np.ascontiguousarray(value).data).digest(), value.nbytes
        if key not in self._buffers:
            held = sum(other for _, other in self._buffers.values())
            while self._buffers and (held + size > self._memory or len(self._buffers) >= 100):
                held -= self._buffers.popitem(last=False)[1][1]
            self._buffers[key] = (self.link.buffer(value), size)
        self._buffers.move_to_end(key)
        return self._buffers[key][0]


class _Runner:
    """One workload under one config on a device, as `luthier.kernels.Runner` is here."""

    SEED = 0

    def __init__(self, kernels: _Kernels, workload: Any, config: Config) -> None:
        self._kernels, self._link = kernels, kernels.link
        self._workload, self._config = workload, config
        if isinstance(workload, (Chain, Precision)):
            raise KernelError("chains of layers and precisions are not measured on devices")
        slots = call_slots(workload, config, self.SEED)
        copies = cold_copies(slots["w"])
        self._shape = expected(workload, self.SEED).shape
        self._output = self._link.room(math.prod(self._shape) * output_dtype(workload).itemsize)
        for name, value in slots.items():
            if isinstance(value, (np.ndarray, Noise)):
                slots[name] = kernels.buffer(value)
        # The buffers have to live as long as the call.
        self._slots = {**slots, "y": self._output}
        self._call = self._link.call(workload.op, copies, self._slots)

    def check(self) -> Check:
        """Run, and compare with the NumPy reference; equal answers travel once."""
        self._link.trial()
        self._execute("run", self._call.id)
        total = self._link.ask("sum", self._output.id)
        key = (self._workload.key, usual_error(self._config), total)
        checks = self._kernels.checks
        if key not in checks:
            found = self._link.data("read", self._output.id)
            output = np.frombuffer(found, output_dtype(self._workload)).reshape(self._shape)
            checks[key] = compare(self._workload, self._config, output, self.SEED)
        return checks[key]

    def time(self, inner: int) -> float:
        """Seconds per call over `inner` calls."""
        self._link.trial()
        seconds = float(self._execute("time", self._call.id, inner))
        if not 0 < seconds < math.inf:
            raise Failed("run_error", f"the device answers {seconds} seconds")
        return seconds

    def _execute(self, *words: object) -> str:
        seconds = self._kernels.seconds
        return self._link.ask(*words, seconds, timeout=seconds + GRACE)
