"""Where in a record file the lines of a workload or model are.

A session asks for a few dozen workloads in a file that may hold hundreds of thousands of trials:
lines are found by their bytes, and only those that are asked for are decoded.
"""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from luthier.errors import RecordError
from luthier.tuner.record import ModelVerdict, Record, Start, Trial, decode

__all__ = ["MAX_LINE", "LineIndex", "read_lines"]

MAX_LINE = 1 << 20
"""Bytes; longer lines are not records."""

_HEAD = b'{"kind":"'
_ABOUT = {
    b"start": b'"workload":"',
    b"trial": b'"workload":"',
    b"verdict": b'"workload":"',
    b"estimates": b'"workload":"',
    b"plan": b'"model":"',
}
"""Kind of a line -> what its key follows."""
_TRIED = (b"start", b"trial")


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file line by line; a line that is too long comes in pieces."""
    return iter(lambda: file.readline(MAX_LINE), b"")


class LineIndex:
    """The lines of a file by what they are about.

    What others append is noticed, and only that is read; so is a file that was replaced.

    Parameters
    ----------
    path : Path
        The file need not exist.

    Examples
    --------
    >>> index = LineIndex(Path("records.jsonl"))                     # doctest: +SKIP
    >>> next(index.latest("gemm/f32/...", tried=False), None)        # doctest: +SKIP
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._forget()

    def _forget(self) -> None:
        # Of every line the hash of its key, and where it begins, shifted for a bit that says
        # whether it is of what was tried: 16 bytes a line, however many keys there are.
        self._hashes = array("q")
        self._places = array("q")
        self._end = 0
        self._stamp = (0, 0, 0)

    def latest(self, key: str, *, tried: bool, decided: bool = True) -> Iterator[Record]:
        """The records of a workload key or model hash, the latest first.

        `decided` are verdicts and estimates, `tried` trials and starts. Lines that cannot be
        decoded are left out.

        Raises
        ------
        RecordError
            The file exists and cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                self._update(file)
                for place in reversed(self._find(key)):
                    if not (tried if place & 1 else decided):
                        continue
                    file.seek(place >> 1)
                    with contextlib.suppress(ValueError):
                        record = decode(file.readline(MAX_LINE))
                        if _key(record) == key:
                            yield record
        except FileNotFoundError:
            self._forget()
        except OSError as e:
            raise RecordError(f"{self._path}: cannot read: {e.strerror}") from e

    def _find(self, key: str) -> list[int]:
        same = np.frombuffer(self._hashes, np.int64) == hash(key.encode()) if self._hashes else []
        return [self._places[i] for i in np.flatnonzero(same)]

    def _update(self, file: BinaryIO) -> None:
        """Read what came since the last time."""
        stat = os.fstat(file.fileno())
        stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if stamp == self._stamp:
            return
        # Of a file that has grown, the new part, if the known one ended with a line.
        if stat.st_ino != self._stamp[0] or not self._end or stat.st_size <= self._end:
            self._forget()
        file.seek(self._end)
        place, line = self._end, b"\n"
        for line in read_lines(file):
            self._add(line, place)
            place += len(line)
        self._end = place if line.endswith(b"\n") else 0
        self._stamp = stamp

    def _add(self, line: bytes, place: int) -> None:
        kind = line[len(_HEAD) : line.find(b'"', len(_HEAD))]
        about = _ABOUT.get(kind) if line.startswith(_HEAD) else None
        key, mark, _ = line.partition(about)[2].partition(b'"') if about else (b"", b"", b"")
        tried = kind in _TRIED
        if not mark or b"\\" in key:  # not in the form of `encode`: it may be a record all the same
            try:
                record = decode(line)
            except ValueError:
                return
            key = _key(record).encode()
            tried = isinstance(record, Start | Trial)
        self._hashes.append(hash(key))
        self._places.append(place << 1 | tried)


def _key(record: Record) -> str:
    return record.model if isinstance(record, ModelVerdict) else record.workload
