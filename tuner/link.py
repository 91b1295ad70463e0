"""The other end of ``kernels/runner/main.c``: a device's kernels, spoken to over a pipe.

The protocol is described there. Whatever the device answers is checked: lengths are bounded,
bytes have a checksum, and what is not understood ends the connection.
"""

from __future__ import annotations

import itertools
import os
import selectors
import shlex
import signal
import subprocess
import tempfile
import time
import weakref
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

import luthier.kernels
from luthier.errors import ArgumentError, KernelError
from luthier.kernels import _kernels
from luthier.kernels.noise import Noise
from luthier.target import Target
from luthier.tuner.record import Failed

__all__ = ["Handle", "Link", "Open", "emulator", "over_ssh", "program", "runner_path"]

PROTOCOL = "1"
START_TIMEOUT = 120.0
"""Seconds to connect, send the program and get its first answer."""
GRACE = 30.0
"""Seconds that an answer may be late."""
IDS = 255
MOST_BYTES = 1 << 32
MOST_LINE = 1 << 16

Open = Callable[[], "Link"]
"""Connects to a device."""

EMULATED = ("cortex-a35", "cortex-a53", "cortex-a57", "cortex-a72", "cortex-a76", "neoverse-n1")
"""Cores that every qemu-aarch64 since version 7 knows."""

_BOOTSTRAP = (
    "umask 077; echo luthier $(uname -m); read -r size || exit 1; "
    "folder=$(mktemp -d) || exit 1; "
    'trap "rm -rf $folder" EXIT; trap "exit 1" HUP INT TERM; '
    'head -c "$size" >"$folder/runner" && [ "$(wc -c <"$folder/runner")" -eq "$size" ] || exit 1; '
    'chmod 700 "$folder/runner"; exec "$folder/runner" --once'
)
"""Run by the shell of a device. The program deletes itself and its folder as it starts."""


class Handle:
    """A buffer or call on the device; gone there when nobody holds this any more."""

    def __init__(self, link: Link) -> None:
        if not link.free:
            raise KernelError("too many buffers on the device")
        self.id = link.free.pop()
        weakref.finalize(self, link.garbage.append, self.id).atexit = False


class Link:
    """A running luthier-runner.

    Parameters
    ----------
    command : sequence of str
        Starts the program, or a shell that `send` gives it to.
    send : callable, optional
        From the machine's name to the program's bytes; `command` then runs `_BOOTSTRAP`.

    Attributes
    ----------
    about : dict of str to str
        What ``hello`` told.

    Raises
    ------
    Failed
        The device cannot be reached or used (status ``"device_lost"``).
    """

    def __init__(self, command: Sequence[str], send: Callable[[str], bytes] | None = None) -> None:
        self.free = list(range(1, IDS + 1))
        self.garbage: list[int] = []
        self._numbers = itertools.count(1)
        self._buffer = bytearray()
        self._trial = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115, closed with the process
        try:
            # A session of its own: Ctrl-C is for the tuner, which then ends the connection.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._stderr.close()
            raise Failed("device_lost", f"{command[0]}: {error.strerror}") from None
        try:
            if send is not None:
                self._bootstrap(send)
            words = self.ask("hello", timeout=START_TIMEOUT).split(" ")
        except BaseException:
            self.close()
            raise
        self.about = dict(word.partition("=")[::2] for word in words)
        if self.about.get("protocol") != PROTOCOL or self.about.get("kernels") != _kernels.SOURCES:
            self.close()
            raise ArgumentError(
                "the luthier-runner is of other sources, build it again: make runner"
            )

    def close(self) -> None:
        """End the program."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                stream.close()

    # -- requests ----------------------------------------------------------------------------

    def ask(self, *words: object, payload: Any = b"", timeout: float = GRACE) -> str:
        """The text of the answer to a request.

        Raises
        ------
        KernelError
            The device refuses.
        Failed
            The trial's process died, or the device was lost.
        """
        answer = self._request(words, payload, timeout)
        if isinstance(answer, bytes):
            raise self._lost("the device answers with data instead of text")
        return answer

    def data(self, *words: object) -> bytes:
        """The bytes of the answer to a request."""
        answer = self._request(words, b"", GRACE)
        if isinstance(answer, str):
            raise self._lost("the device answers with text instead of data")
        return answer

    def file(self, path: Path) -> str:
        """The text of a file of the device; nothing where it cannot be read."""
        try:
            return self.data("file", path.as_posix()).decode(errors="replace")
        except Failed:
            raise
        except KernelError:
            return ""

    def buffer(self, value: np.ndarray | Noise) -> Handle:
        """A buffer with these contents."""
        self.settle()
        handle = Handle(self)
        if isinstance(value, Noise):
            self.ask("noise", handle.id, int(np.prod(value.shape)), value.seed)
        else:
            payload = np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
            # At least 100 KB a second.
            seconds = GRACE + len(payload) / 1e5
            words = ("put", handle.id, len(payload), zlib.crc32(payload))
            self.ask(*words, payload=payload, timeout=seconds)
        return handle

    def room(self, size: int) -> Handle:
        """A buffer of bytes 0xff."""
        self.settle()
        handle = Handle(self)
        self.ask("room", handle.id, size)
        return handle

    def call(self, op: str, copies: int, slots: dict[str, object]) -> Handle:
        """A call of an operator; handles in `slots` are buffers, None is null."""
        self.settle()
        handle = Handle(self)
        words = []
        for name, value in slots.items():
            number = value.id if isinstance(value, Handle) else 0 if value is None else value
            words.append(f"{name}={number!r}")
        self.ask("call", handle.id, op, copies, *words)
        return handle

    def trial(self) -> None:
        """Begin a trial unless one goes on: what runs kernels happens there."""
        if not self._trial:
            self.ask("trial")
            self._trial = True

    def settle(self) -> None:
        """End the trial, if one goes on, and forget what is held by nobody."""
        if self._trial:
            self.ask("end")
            self._trial = False
        while self.garbage:
            unused = self.garbage.pop()
            self.ask("drop", unused)
            self.free.append(unused)

    # -- the wire ----------------------------------------------------------------------------

    def _request(self, words: Sequence[object], payload: Any, timeout: float) -> str | bytes:
        number = str(next(self._numbers))
        line = " ".join([number, *map(str, words)]).encode() + b"\n"
        deadline = time.monotonic() + timeout
        try:
            self._write(line, deadline)
            self._write(payload, deadline)
            while True:
                head, _, rest = self._line(deadline).partition(" ")
                kind, _, text = rest.partition(" ")
                if head == "died":
                    self._trial = False
                    raise _death(rest)
                if head == number:
                    break
            if kind == "ok":
                return text
            if kind == "data":
                return self._data(text, deadline)
        except TimeoutError:
            raise self._lost(f"no answer within {timeout:g} s") from None
        except (OSError, ValueError) as error:
            raise self._lost(str(error)) from None
        except KeyboardInterrupt:
            # The answer that is still to come must not be taken for another one.
            self._process.kill()
            raise
        raise KernelError(text)

    def _data(self, text: str, deadline: float) -> bytes:
        size, crc = (int(word) for word in text.split(" "))
        if not 0 <= size <= MOST_BYTES:
            raise ValueError("the device announces too much data")
        while len(self._buffer) < size:
            self._receive(deadline)
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        if zlib.crc32(found) != crc:
            raise ValueError("data was damaged on the way")
        return found

    def _line(self, deadline: float) -> str:
        while (end := self._buffer.find(b"\n", 0, MOST_LINE)) < 0:
            if len(self._buffer) >= MOST_LINE:
                raise ValueError("the device does not speak the protocol")
            self._receive(deadline)
        line = self._buffer[:end].decode(errors="replace")
        del self._buffer[: end + 1]
        return line

    def _receive(self, deadline: float) -> None:
        stream = self._process.stdout
        assert stream is not None
        self._wait(stream, selectors.EVENT_READ, deadline)
        chunk = os.read(stream.fileno(), 1 << 20)
        if not chunk:
            raise ValueError(self._last_words())
        self._buffer += chunk

    def _write(self, payload: Any, deadline: float) -> None:
        stream = self._process.stdin
        assert stream is not None
        os.set_blocking(stream.fileno(), False)
        rest = memoryview(payload)
        while len(rest):
            self._wait(stream, selectors.EVENT_WRITE, deadline)
            try:
                rest = rest[os.write(stream.fileno(), rest[: 1 << 16]) :]
            except BrokenPipeError:
                raise ValueError(self._last_words()) from None

    def _wait(self, stream: Any, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(stream, event)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError

    def _bootstrap(self, send: Callable[[str], bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        try:
            while True:  # a shell may greet
                word, _, machine = self._line(deadline).partition(" ")
                if word == "luthier":
                    break
            image = send(machine)
            self._write(f"{len(image)}\n".encode() + image, deadline)
        except TimeoutError:
            raise self._lost(f"not connected within {START_TIMEOUT:g} s") from None
        except (OSError, ValueError) as error:
            raise self._lost(str(error)) from None

    def _last_words(self) -> str:
        """How the program, or ssh, ended: its code, and the last line of its errors."""
        code = self._process.wait()
        self._stderr.seek(max(0, self._stderr.seek(0, os.SEEK_END) - 4096))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"the connection ended (exit code {code})"

    def _lost(self, reason: str) -> Failed:
        self._process.kill()
        return Failed("device_lost", reason)


def _death(text: str) -> Failed:
    number = int(text) if text.isdecimal() else 0
    if number == signal.SIGALRM:
        return Failed("run_timeout", "the kernel took too long")
    name = signal.strsignal(number) if number else None
    return Failed("crash", name or "the trial ended by itself")


# -- devices ---------------------------------------------------------------------------------------


def runner_path(machine: str) -> Path:
    """The luthier-runner for a machine such as ``"aarch64"``.

    Raises
    ------
    ArgumentError
        It is not built.
    """
    path = Path(luthier.kernels.__path__[0]) / "bin" / f"luthier-runner-{machine}"
    if not path.exists():
        raise ArgumentError(f"there is no luthier-runner for {machine}, build it: make runner")
    return path


def program(machine: str) -> Open:
    """A program of this machine's own, without a connection."""
    return lambda: Link([str(runner_path(machine))])


def emulator(target: Target) -> Open:
    """An emulated Arm core with the features of `target`."""
    if target.arch != "aarch64":
        raise ArgumentError(f"target {target.name} is {target.arch}: only aarch64 is emulated")
    core = target.core
    if core not in EMULATED:
        core = "cortex-a76" if "asimddp" in target.features else "cortex-a72"
        core = "max" if "i8mm" in target.features else core
    return lambda: Link(["qemu-aarch64", "-cpu", core, str(runner_path("aarch64"))])


def over_ssh(address: str) -> Open:
    """A device behind the system's ssh, with the user's own configuration, keys and known hosts.

    Parameters
    ----------
    address : str
        ``ssh://[user@]host[:port]``; the host may be a name of the user's ssh configuration.

    Raises
    ------
    ArgumentError
        The address has another form.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise ArgumentError(f"device {address!r}: the port is not a number") from None
    host, user = parts.hostname, parts.username
    # A leading dash would be an option of ssh.
    plain = not (parts.password or parts.query or parts.fragment or parts.path.strip("/"))
    if parts.scheme != "ssh" or not host or not plain or f"{user or ''}".startswith("-"):
        raise ArgumentError(f"device {address!r}: expected ssh://[user@]host[:port]")
    words = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"]
    # A device that is gone is noticed within 15 seconds.
    words += ["-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
    words += ["-p", str(port)] if port else []
    words += ["-l", user] if user else []
    command = [*words, "--", host, f"exec sh -c {shlex.quote(_BOOTSTRAP)}"]
    return lambda: Link(command, lambda machine: runner_path(machine).read_bytes())
