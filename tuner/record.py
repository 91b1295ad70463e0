"""The lines of a record file, and the parts that they are made of.

A record file holds one JSON object a line; its field ``kind`` says which of the structs below
it is. Lines are only ever appended: a failed trial is a record, too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from luthier.errors import KernelError
from luthier.limits import MAX_ERROR

__all__ = [
    "OK",
    "STATUSES",
    "VERSION",
    "Check",
    "Costs",
    "Device",
    "Environment",
    "Estimates",
    "Failed",
    "Guess",
    "Line",
    "ModelVerdict",
    "Record",
    "Reference",
    "Result",
    "Start",
    "Times",
    "Trial",
    "Verdict",
    "config_key",
    "decode",
    "encode",
]

VERSION = 1
"""Version of the line format."""

OK = "ok"
STATUSES = (
    OK,
    "constraint",  # the kernel refused the config
    "run_error",  # an exception while it was prepared or run
    "run_timeout",
    "crash",  # the worker died
    "wrong",  # the answer differs from the reference
    "inaccurate",  # the answer is right, but errs by more than the user allows
    "unstable",  # the samples are too far apart to say anything
    "device_lost",  # no worker could be started
    "killed",  # the tuner itself ended during the trial (power loss, kill -9)
)

Config = dict[str, int | str]


class _Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of the parts of a line: immutable, unset fields are left out."""


class Device(_Part, frozen=True):
    """What a record was measured on.

    Attributes
    ----------
    fingerprint : str
        The exact device: cores, caches, ISA flags in use, maximum frequency.
    core : str
        The type of its fastest core.
    isa : str
        The best ISA in use.
    """

    fingerprint: str
    core: str
    isa: str


class Times(_Part, frozen=True):
    """Seconds of one call: median, median absolute deviation and minimum of `n` samples.

    Each sample is the mean of `inner` calls, or of fewer where the machine is busy.
    """

    median: float
    mad: float = 0.0
    min: float = 0.0
    n: int = 0
    inner: int = 1
    samples: tuple[float, ...] = ()


class Reference(_Part, frozen=True):
    """The comparison with the reference config: time ratio and its 95 % interval."""

    config: Config
    ratio: float
    lo: float
    hi: float


class Check(_Part, frozen=True):
    """How far the answer is from the reference's; `max_rel` is a share of the output's range."""

    ok: bool
    max_abs: float | None = None
    max_rel: float | None = None


class Costs(_Part, frozen=True):
    """Seconds spent on running the trial, and on choosing its config."""

    run: float = 0.0
    suggest: float = 0.0


class Environment(_Part, frozen=True):
    """The state of the machine around a trial; None where it does not tell."""

    frequency: float | None = None
    temperature: float | None = None
    throttled: bool | None = None
    steal: float | None = None
    pinning: tuple[int, ...] = ()


class Result(_Part, frozen=True):
    """What a measurer answers.

    `times` and `reference` are there if `status` is ``"ok"``.
    """

    status: str
    error: str = ""
    times: Times | None = None
    reference: Reference | None = None
    check: Check | None = None
    environment: Environment | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"unknown status {self.status!r}")
        if self.ok and not (self.times and self.reference and self.reference.ratio > 0):
            raise ValueError("an ok result needs times and a positive ratio")

    @property
    def ok(self) -> bool:
        return self.status == OK

    @property
    def ratio(self) -> float | None:
        """Time relative to the reference config; less than one is faster."""
        return self.reference.ratio if self.reference else None

    @property
    def seconds(self) -> float | None:
        """Median seconds of one call."""
        return self.times.median if self.times else None


class Failed(KernelError):
    """A trial that came to no answer; `status` is that of its result."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Line(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag_field="kind"):
    """What every line says.

    Attributes
    ----------
    run : str
        Names the tuning run.
    sequence : int
        Counts the run's lines.
    library, kernels, space : str
        Versions: of luthier, of the compiled kernels (a hash), of the config space.
    seed : int
        The run's seed.
    """

    run: str
    sequence: int
    device: Device
    kernels: str
    version: int = VERSION
    library: str = ""
    seed: int = 0


class Start(Line, tag="start", kw_only=True, frozen=True):
    """Precedes a trial, so that a trial that takes the machine down is known afterwards."""

    workload: str
    space: str
    config: Config


class Trial(Line, tag="trial", kw_only=True, frozen=True):
    """One measured config. `source` says which part of the strategy proposed it."""

    workload: str
    space: str
    config: Config
    source: str
    result: Result
    costs: Costs = Costs()
    prediction: float | None = None


class Verdict(Line, tag="verdict", kw_only=True, frozen=True):
    """The outcome of a confirmation: the config to use for a workload.

    `won` tells whether it beat the reference config with confidence; if not, the reference
    stays in use. `max_error` bounded the errors of what was compared.
    """

    workload: str
    space: str
    config: Config
    result: Result
    won: bool
    max_error: float = MAX_ERROR


class ModelVerdict(Line, tag="plan", kw_only=True, frozen=True):
    """The outcome of an interleaved comparison of a whole model, tuned and untuned.

    Attributes
    ----------
    model : str
        Hash of the model file.
    shapes : dict
        Input name to shape.
    threads : int
    ratio, lo, hi : float
        Time of the kept plan over the untuned plan, with its 95 % interval.
    kept : dict
        Workload key to the config that is used; every other workload keeps its default.
    """

    model: str
    shapes: dict[str, tuple[int, ...]]
    threads: int
    ratio: float
    lo: float
    hi: float
    kept: dict[str, Config] = {}


class Guess(_Part, frozen=True):
    """A config with the seconds that it is estimated to take, and the parts that they add up to."""

    config: Config
    seconds: float
    parts: dict[str, float] = {}


class Estimates(Line, tag="estimates", kw_only=True, frozen=True):
    """What a cost model says of a workload on a device that nobody measured.

    Attributes
    ----------
    best : tuple of Guess
        The most promising configs, the best first.
    default : Guess
        The untuned choice.
    configs : int
        How many were compared.
    core : str
        The type of core that the model was fitted on.
    correlation : float
        Rank correlation of its estimates with measured times there.
    """

    workload: str
    space: str
    best: tuple[Guess, ...]
    default: Guess
    configs: int
    core: str
    correlation: float

    @property
    def ratio(self) -> float:
        """Estimated time of the best config over the untuned one's."""
        return self.best[0].seconds / self.default.seconds

    @property
    def confidence(self) -> str:
        """``"medium"`` where estimates were compared with measured times on the same type of
        core, and put them in the right order; ``"low"`` elsewhere."""
        return "medium" if self.core == self.device.core and self.correlation >= 0.7 else "low"


Record = Start | Trial | Verdict | ModelVerdict | Estimates

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def encode(record: Record) -> bytes:
    """One line, newline included."""
    return _encoder.encode(record) + b"\n"


def decode(line: bytes) -> Record:
    """The inverse of `encode`.

    Raises
    ------
    ValueError
        The line is not a record of this version; the message is the reason.
    """
    record = _decoder.decode(line)
    if record.version != VERSION:
        raise ValueError(f"version {record.version}, not {VERSION}")
    return record


def config_key(config: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """A hashable form of a config, independent of the order of its knobs."""
    return tuple(sorted(config.items()))
