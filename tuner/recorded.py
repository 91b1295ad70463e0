"""Fully measured spaces in a file: what strategies are compared on without timing anything.

The file is gzipped JSON lines. The first one is a `Header`; every other one is a config, as the
positions of its values in the header's knobs, with its time ratio or the status of its failure.
``python -m luthier.tuner.recorded KEY FILE`` records the space of one workload on this machine; of
a large one with ``--most N`` so many configs, drawn uniformly, and the default.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from luthier.errors import RecordError
from luthier.tuner.device import device_of
from luthier.tuner.measure import LocalMeasurer, Measurer
from luthier.tuner.record import Config, Device, Result
from luthier.tuner.sampling import Effort

__all__ = ["Header", "RecordedSpace", "load_space", "record_space", "save_space"]


EFFORT = Effort(sample=0.001, samples=5)
"""Short samples, since every config is measured in several passes."""


class Header(msgspec.Struct, frozen=True):
    """The first line: what was measured, where, and the default's seconds."""

    workload: str
    version: str
    device: Device
    kernels: str
    knobs: dict[str, tuple[int | str, ...]]
    default: Config
    seconds: float


class _Row(msgspec.Struct, frozen=True, array_like=True):
    positions: tuple[int, ...]
    outcome: float | str


@dataclass(frozen=True)
class RecordedSpace:
    """A space whose every config has its outcome: the time ratio, or the status of a failure."""

    header: Header
    configs: list[Config]
    outcomes: list[float | str]

    @property
    def knobs(self) -> dict[str, tuple[int | str, ...]]:
        return self.header.knobs

    @property
    def default(self) -> Config:
        return self.header.default

    @property
    def version(self) -> str:
        return self.header.version

    @property
    def optimum(self) -> float:
        """The least time ratio."""
        return min(o for o in self.outcomes if isinstance(o, float))


def record_space(
    measurer: Measurer,
    workload: Any,
    device: Device,
    *,
    passes: int = 3,
    most: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RecordedSpace:
    """Measure every config of a workload's space several times.

    Of a space of more than `most` configs only so many are, drawn uniformly, and the default. Each
    pass has an order of its own, so that a disturbance does not hit neighbours. What counts of a
    config is its fastest sample, for disturbances only ever add. `progress` is told how many
    trials of all are done.

    Raises
    ------
    RecordError
        The default config cannot be measured.
    """
    space = measurer.space(workload)
    rng = random.Random(seed)
    configs = list(space.configs)
    if most is not None and most < len(configs):
        drawn = rng.sample([c for c in configs if c != space.default], most)
        configs = [space.default, *drawn]
    results: dict[int, list[Result]] = {i: [] for i in range(len(configs))}
    for turn in range(passes):
        order = rng.sample(range(len(configs)), len(configs))
        for done, i in enumerate(order, 1):
            results[i].append(measurer.measure(workload, configs[i], space.default))
            progress(turn * len(order) + done, passes * len(order))
    times = [_fastest(results[i]) for i in range(len(configs))]
    own = times[configs.index(space.default)]
    if isinstance(own, str):
        failed = results[configs.index(space.default)][0]
        raise RecordError(f"{workload.key}: the default cannot be measured: {failed.error}")
    header = Header(
        workload=workload.key,
        version=space.version,
        device=device,
        kernels=measurer.kernels,
        knobs={k: tuple(v) for k, v in space.knobs.items()},
        default=space.default,
        seconds=own,
    )
    outcomes = [t if isinstance(t, str) else round(t / own, 4) for t in times]
    return RecordedSpace(header, configs, outcomes)


def _fastest(results: list[Result]) -> float | str:
    """Seconds of the fastest sample, or the status if there is none."""
    return min((r.times.min for r in results if r.ok and r.times), default=results[0].status)


def save_space(path: str | os.PathLike[str], space: RecordedSpace) -> None:
    """Write a recorded space."""
    encoder = msgspec.json.Encoder()
    lines = [encoder.encode(space.header)]
    for config, outcome in zip(space.configs, space.outcomes, strict=True):
        positions = tuple(space.knobs[k].index(config[k]) for k in space.knobs)
        lines.append(encoder.encode(_Row(positions, outcome)))
    # No time stamp: the same content gives the same file.
    Path(path).write_bytes(gzip.compress(b"\n".join(lines) + b"\n", mtime=0))


def load_space(path: str | os.PathLike[str]) -> RecordedSpace:
    """The inverse of `save_space`.

    Raises
    ------
    RecordError
        The file cannot be read or is not a recorded space; the message starts ``path:line``.
    """
    number = 0
    try:
        with gzip.open(path) as file:
            number = 1
            header = msgspec.json.decode(file.readline(), type=Header)
            decoder = msgspec.json.Decoder(_Row)
            names, values = list(header.knobs), list(header.knobs.values())
            configs: list[Config] = []
            outcomes: list[float | str] = []
            for line in file:
                number += 1
                row = decoder.decode(line)
                chosen = [v[p] for v, p in zip(values, row.positions, strict=True)]
                configs.append(dict(zip(names, chosen, strict=True)))
                outcomes.append(row.outcome)
    except (OSError, EOFError, ValueError, IndexError) as e:
        raise RecordError(f"{path}:{number}: {e}") from e
    return RecordedSpace(header, configs, outcomes)


def main(argv: Sequence[str] | None = None) -> None:
    """Record one space."""
    from luthier.kernels import Workload, native_target

    parser = argparse.ArgumentParser(prog="python -m luthier.tuner.recorded", description=__doc__)
    parser.add_argument("key", help="the workload")
    parser.add_argument("file", help="where to write (*.jsonl.gz)")
    parser.add_argument("--most", type=int, help="configs measured at most, besides the default")
    args = parser.parse_args(argv)
    device = device_of(native_target())
    with LocalMeasurer(EFFORT) as measurer:
        recorded = record_space(
            measurer,
            Workload.parse(args.key),
            device,
            most=args.most,
            progress=lambda done, total: print(f"\r{done} of {total}", end="", flush=True),
        )
    save_space(args.file, recorded)
    print(f"\n{args.file}: {len(recorded.configs)} configs, the best at {recorded.optimum:.3f}")


if __name__ == "__main__":
    main()
