"""How well estimates rank: ``python -m luthier.tuner.cost.validate DIR`` prints the table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luthier.errors import RecordError
from luthier.target import Target, profile, profiles
from luthier.tuner.cost.fit import Sample, leave_one_out, rank_correlation, sample
from luthier.tuner.recorded import load_space

__all__ = ["Quality", "load", "quality"]

BEST = 5
DRAWS = 2000


@dataclass(frozen=True)
class Quality:
    """How estimates did on one task. A regret is what a choice takes longer than the fastest
    recorded config, as a share of that one's time.

    Attributes
    ----------
    correlation : float
        Spearman's, of estimated and measured times of all configs.
    first, five : float
        Regret of the config that is estimated to be the fastest, and of the fastest of the first
        five.
    random, random_five : float
        Mean regret of a random config, and of the fastest of five of them.
    default : float
        Regret of the untuned choice.
    """

    task: str
    configs: int
    correlation: float
    first: float
    five: float
    random: float
    random_five: float
    default: float


def quality(s: Sample, guess: np.ndarray) -> Quality:
    """Of the estimates of one sample."""
    order = np.argsort(guess, kind="stable")
    regret = s.ratios / s.ratios.min() - 1
    draws = np.random.default_rng(0).integers(0, len(regret), (DRAWS, BEST))
    return Quality(
        s.space.header.workload,
        len(regret),
        rank_correlation(guess, s.ratios),
        float(regret[order[0]]),
        float(regret[order[:BEST]].min()),
        float(regret.mean()),
        float(regret[draws].min(axis=1).mean()),
        float(regret[s.default]),
    )


def target_of(core: str) -> Target:
    """The profile of a type of core, so that results do not depend on the machine."""
    found = [p for p in map(profile, profiles()) if p.core == core]
    if not found:
        raise RecordError(f"no profile has the core {core}")
    return found[0]


def load(folder: Path) -> tuple[list[Sample], str]:
    """The samples of all recorded spaces in a folder, and the core they were recorded on."""
    spaces = [load_space(path) for path in sorted(folder.glob("*.jsonl.gz"))]
    cores = {s.header.device.core for s in spaces}
    if len(cores) != 1:
        raise RecordError(f"{folder}: expected spaces of one type of core, found {sorted(cores)}")
    (core,) = cores
    target = target_of(core)
    return [sample(space, target) for space in spaces], core


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m luthier.tuner.cost.validate", description=__doc__
    )
    parser.add_argument("folder", type=Path, help="folder with recorded spaces (*.jsonl.gz)")
    args = parser.parse_args(argv)
    try:
        samples, core = load(args.folder)
    except RecordError as error:
        sys.exit(str(error))
    found = [quality(s, g) for s, g in zip(samples, leave_one_out(samples), strict=True)]
    print(f"{len(found)} tasks on {core}; factors are fitted to the other tasks of the family")
    print("| task | configs | rank corr. | first | best of 5 | default | random | 5 random |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    for q in found:
        print(
            f"| `{q.task}` | {q.configs} | {q.correlation:.2f} | {q.first:.1%} | {q.five:.1%} |"
            f" {q.default:.1%} | {q.random:.0%} | {q.random_five:.0%} |"
        )
    mean = {name: np.mean([getattr(q, name) for q in found]) for name in _COLUMNS}
    print(
        f"| mean | | {mean['correlation']:.2f} | {mean['first']:.1%} | {mean['five']:.1%} |"
        f" {mean['default']:.1%} | {mean['random']:.0%} | {mean['random_five']:.0%} |"
    )


_COLUMNS = ("correlation", "first", "five", "default", "random", "random_five")

if __name__ == "__main__":
    main()
