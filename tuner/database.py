"""The record file: appending, tolerant reading, lookup, merging and pruning."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier import knobs
from luthier.errors import RecordError
from luthier.tuner.line_index import LineIndex, read_lines
from luthier.tuner.record import (
    Config,
    Device,
    Estimates,
    ModelVerdict,
    Record,
    Start,
    Trial,
    Verdict,
    config_key,
    decode,
    encode,
)

__all__ = ["Database", "Found", "default_path"]


def default_path() -> Path:
    """Where records live: ``LUTHIER_RECORDS``, or else the platform's user-data folder."""
    override = knobs.records_path()
    if override is not None:
        return override
    import platformdirs

    return Path(platformdirs.user_data_dir("luthier")) / "records.jsonl"


@dataclass(frozen=True)
class Found:
    """The answer of a lookup.

    Attributes
    ----------
    config : dict or None
        None stands for the built-in default.
    rung : str
        ``"exact"``, ``"core"``, ``"estimated"`` or ``"default"``.
    """

    config: Config | None
    rung: str


class Database:
    """A file of records (JSON lines).

    Lookups decode only the lines that they are about. Whatever reads the whole file lists the lines
    that cannot be read in `problems` as ``path:line: reason``; they are never used, and never
    removed.

    Parameters
    ----------
    path : path-like, optional
        Default: `default_path()`. The file need not exist.

    Examples
    --------
    >>> db = Database("records.jsonl")                                # doctest: +SKIP
    >>> db.lookup("gemm/f32/...", device, kernels="1f0c", space="1")  # doctest: +SKIP
    Found(config={'mr': 6, 'nv': 2}, rung='exact')
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path) if path is not None else default_path()
        self.problems: list[str] = []
        self._index = LineIndex(self.path)

    # -- writing -----------------------------------------------------------------------------

    def check_writable(self) -> None:
        """Make the folder and open the file for appending.

        Raises
        ------
        RecordError
            With path and reason, if that is not possible.
        """
        with self._appending():
            pass

    def append(self, record: Record, *, sync: bool = False) -> None:
        """Add one line, by a single write under the file's lock.

        `sync` waits until the line is on the disk.
        """
        self._write([encode(record)], sync)

    def _write(self, lines: list[bytes], sync: bool) -> None:
        with self._appending() as fd:
            size = os.fstat(fd).st_size
            # A torn last line (power loss) must not swallow the new one.
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            data = (b"\n" if torn else b"") + b"".join(lines)
            try:
                if os.write(fd, data) != len(data):
                    raise OSError("short write, is the disk full?")
                if sync:
                    os.fsync(fd)
            except OSError as e:
                raise RecordError(f"{self.path}: cannot write: {e.strerror or e}") from e

    @contextlib.contextmanager
    def _appending(self) -> Iterator[int]:
        with self._locked():
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            except OSError as e:
                raise RecordError(f"{self.path}: cannot write: {e.strerror}") from e
            try:
                yield fd
            finally:
                os.close(fd)

    @contextlib.contextmanager
    def _locked(self, suffix: str = ".lock", timeout: float = 60) -> Iterator[None]:
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{self.path}{suffix}", timeout=timeout)
            lock.acquire()
        except Timeout:
            raise RecordError(f"{self.path}: in use by another process") from None
        except OSError as e:
            raise RecordError(f"{self.path}: cannot write: {e.strerror or e}") from e
        try:
            yield
        finally:
            lock.release()

    def tuning_lock(self) -> contextlib.AbstractContextManager[None]:
        """Held by a tuning run, so that two runs neither disturb nor blame each other.

        Raises
        ------
        RecordError
            On entry, if another run holds it.
        """
        return self._locked(".tuning.lock", timeout=0)

    # -- reading -----------------------------------------------------------------------------

    def records(self) -> list[Record]:
        """All readable records in the order of the file.

        Raises
        ------
        RecordError
            The file exists and cannot be read.
        """
        return [r for r in self._read() if not isinstance(r, bytes)]

    def check(self) -> None:
        """Read the whole file for `problems` alone.

        Raises
        ------
        RecordError
            As for `records`.
        """
        for _ in self._read():
            pass

    def _read(self) -> Iterator[Record | bytes]:
        """Each line as a record, or verbatim if it is not one (and noted in `problems`)."""
        self.problems = []
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(read_lines(file), 1):
                    try:
                        yield decode(line)
                    except ValueError as e:
                        self.problems.append(f"{self.path}:{number}: {e}")
                        yield line
        except FileNotFoundError:
            return
        except OSError as e:
            raise RecordError(f"{self.path}: cannot read: {e.strerror}") from e

    def trials(
        self, workload: str, device: Device, *, kernels: str, space: str, seed: int
    ) -> list[Trial | Start]:
        """What earlier runs with the same seed did here: trials, and starts without an end."""
        done: dict[object, Trial | Start] = {}
        for r in reversed(list(self._index.latest(workload, tried=True, decided=False))):
            if (
                isinstance(r, Trial | Start)
                and r.device.fingerprint == device.fingerprint
                and (r.kernels, r.space, r.seed) == (kernels, space, seed)
            ):
                key = config_key(r.config)
                if isinstance(r, Start):
                    done.setdefault(key, r)
                    continue
                done.pop(key, None)
                if r.result.status != "device_lost":  # that says nothing of the config
                    done[key] = r
        return list(done.values())

    def _verdicts(self, workload: str) -> Iterator[Verdict]:
        """The verdicts of a workload, the latest first."""
        for r in self._index.latest(workload, tried=False):
            if isinstance(r, Verdict):
                yield r

    def verdict(self, workload: str, device: Device, *, kernels: str, space: str) -> Verdict | None:
        """The latest verdict of this very device and these very kernels."""
        for v in self._verdicts(workload):
            if v.device.fingerprint == device.fingerprint and (v.kernels, v.space) == (
                kernels,
                space,
            ):
                return v
        return None

    def error(self, workload: str, config: Config) -> float | None:
        """The latest measured error of a config, as a share of the output's range; None if none
        is recorded."""
        key = config_key(config)
        for r in self._index.latest(workload, tried=True):
            if isinstance(r, Trial | Verdict):
                check = r.result.check
                if check is not None and check.max_rel is not None and config_key(r.config) == key:
                    return check.max_rel
        return None

    def seconds(
        self, workload: str, config: Config, device: Device, *, kernels: str
    ) -> float | None:
        """The latest time of a config on this very device; None if none is recorded."""
        wanted = config_key(config), device.fingerprint, kernels
        for r in self._index.latest(workload, tried=True):
            if not isinstance(r, Trial | Verdict) or not r.result.times:
                continue
            if (config_key(r.config), r.device.fingerprint, r.kernels) == wanted:
                return r.result.times.median
        return None

    def lookup(self, workload: str, device: Device, *, kernels: str, space: str) -> Found:
        """Find the config for a workload: exact device, same core type, estimated, or default.

        Records of another space version or other kernels are stale and not used.
        """
        exact = self.verdict(workload, device, kernels=kernels, space=space)
        if exact is not None:
            return Found(exact.config, "exact") if exact.won else Found(None, "default")
        for v in self._verdicts(workload):
            same = (v.device.core, v.device.isa) == (device.core, device.isa)
            if same and v.won and (v.kernels, v.space) == (kernels, space):
                return Found(v.config, "core")
        guessed = self.estimates(workload, device, kernels=kernels, space=space)
        if guessed is not None:
            return Found(guessed.best[0].config, "estimated")
        return Found(None, "default")

    def estimates(
        self, workload: str, device: Device, *, kernels: str, space: str
    ) -> Estimates | None:
        """The latest estimates for this type of core and these very kernels."""
        for e in self._index.latest(workload, tried=False):
            if not isinstance(e, Estimates):
                continue
            same = (e.device.core, e.device.isa) == (device.core, device.isa)
            if same and (e.kernels, e.space) == (kernels, space):
                return e
        return None

    def seeds(
        self, workload: str, device: Device, *, kernels: str, space: str, seed: int, limit: int = 5
    ) -> list[Config]:
        """Configs to start a search from, to be measured again: the estimated ones of this type of
        core, then those that won elsewhere on the same ISA, or with older kernels; latest first.

        What the same search (device, kernels, space and seed) found is left out: its trials are
        recalled, and it must take the same course again.
        """
        own = (device.fingerprint, kernels, space, seed)
        guessed = self.estimates(workload, device, kernels=kernels, space=space)
        found: dict[object, Config] = {
            config_key(g.config): g.config for g in (guessed.best if guessed else ())
        }
        limit += len(found)
        for v in self._verdicts(workload):
            same = (v.device.fingerprint, v.kernels, v.space, v.seed) == own
            if v.won and v.device.isa == device.isa and not same:
                found.setdefault(config_key(v.config), v.config)
        return list(found.values())[:limit]

    def stale(self, device: Device, *, kernels: str, spaces: dict[str, str]) -> int:
        """How many verdicts of these workloads were measured here with what is outdated.

        `spaces` maps a workload's key to the version of its space.
        """
        return sum(
            v.device.fingerprint == device.fingerprint and (v.kernels, v.space) != (kernels, space)
            for workload, space in spaces.items()
            for v in self._verdicts(workload)
        )

    def model_verdict(
        self,
        model: str,
        shapes: dict[str, tuple[int, ...]],
        threads: int,
        device: Device,
        *,
        kernels: str,
    ) -> ModelVerdict | None:
        """The latest whole-model verdict for these shapes on this very device."""
        for r in self._index.latest(model, tried=False):
            if (
                isinstance(r, ModelVerdict)
                and (r.shapes, r.threads) == (shapes, threads)
                and (r.device.fingerprint, r.kernels) == (device.fingerprint, kernels)
            ):
                return r
        return None

    def summary(self) -> dict[str, dict[str, int]]:
        """Per device fingerprint: how many records of each kind, and trials of each status."""
        table: dict[str, Counter[str]] = {}
        for r in self.records():
            counter = table.setdefault(r.device.fingerprint, Counter())
            counter[type(r).__name__.lower()] += 1
            if isinstance(r, Trial):
                counter[f"trial.{r.result.status}"] += 1
        return {device: dict(counts) for device, counts in table.items()}

    # -- upkeep ------------------------------------------------------------------------------

    def merge(self, others: Iterable[str | os.PathLike[str]]) -> int:
        """Append the records of other files that this one does not have; return how many.

        Raises
        ------
        RecordError
            A file cannot be read, or this one cannot be written.
        """
        have = {encode(r) for r in self.records()}
        new: list[bytes] = []
        for path in others:
            other = Database(path)
            if not other.path.exists():
                raise RecordError(f"{other.path}: cannot read: no such file")
            for record in other.records():
                line = encode(record)
                if line not in have:
                    have.add(line)
                    new.append(line)
            self.problems += other.problems
        if new:
            self._write(new, sync=True)
        return len(new)

    def prune(self, best: int = 5) -> int:
        """Keep the `best` trials and the latest verdict of each key; return how many lines went.

        A key is workload, device, kernels and space. The file is replaced at once: a reader sees
        the old or the new one. Lines that cannot be read are kept as they are.
        """
        with self._locked():
            if not self.path.exists():
                return 0
            lines = list(self._read())
            keep = _kept(lines, best)
            folder = self.path.parent
            try:
                fd, name = tempfile.mkstemp(prefix=self.path.name, suffix=".tmp", dir=folder)
                try:
                    with os.fdopen(fd, "wb") as file:
                        for i in keep:
                            r = lines[i]
                            file.write(r if isinstance(r, bytes) else encode(r))
                        file.flush()
                        os.fsync(file.fileno())
                    Path(name).replace(self.path)
                except BaseException:
                    Path(name).unlink(missing_ok=True)
                    raise
            except OSError as e:
                raise RecordError(f"{self.path}: cannot write: {e.strerror}") from e
            return len(lines) - len(keep)


def _kept(lines: list[Record | bytes], best: int) -> list[int]:
    """Indices of the lines that `Database.prune` keeps."""
    keep = [i for i, r in enumerate(lines) if isinstance(r, bytes)]
    trials: dict[tuple[str, ...], list[tuple[float, int]]] = defaultdict(list)
    latest: dict[object, int] = {}
    for i, r in enumerate(lines):
        if isinstance(r, Trial):
            key = (r.workload, r.device.fingerprint, r.kernels, r.space)
            ratio = r.result.ratio
            trials[key].append((math.inf if ratio is None else ratio, i))
        elif isinstance(r, Verdict):
            latest["verdict", r.workload, r.device.fingerprint, r.kernels, r.space] = i
        elif isinstance(r, Estimates):
            latest["estimates", r.workload, r.device.core, r.device.isa, r.kernels, r.space] = i
        elif isinstance(r, ModelVerdict):
            shapes = tuple(sorted(r.shapes.items()))
            latest["plan", r.model, shapes, r.threads, r.device.fingerprint, r.kernels] = i
    for group in trials.values():
        keep += [i for _, i in sorted(group)[:best]]
    return sorted([*keep, *latest.values()])
