"""Fits how much each part counts: ``python -m luthier.tuner.cost.fit DIR`` writes factors.json."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from luthier.kernels import Workload
from luthier.target import Target
from luthier.tuner.cost.estimate import clock, parts_of
from luthier.tuner.cost.factors import FAMILIES, FILE, PARTS, Family, Fitted, family_of
from luthier.tuner.recorded import RecordedSpace

__all__ = ["Sample", "fit", "leave_one_out", "sample"]

LEVEL = 0.3
"""Weight of a task's level, relative to the order of its configs."""

PULL = 0.1
"""Weight of a factor's distance from 1, in logarithms: it decides where the data do not."""

FOCUS = 2.0
"""How much more the fast configs count: by this power of their speed."""


@dataclass(frozen=True)
class Sample:
    """A recorded space with the parts of its configs, those that failed left out."""

    space: RecordedSpace
    workload: Any
    parts: np.ndarray
    cycles: np.ndarray
    ratios: np.ndarray
    default: int

    @property
    def family(self) -> str:
        return family_of(self.workload)


def sample(space: RecordedSpace, target: Target) -> Sample:
    """Parts of every config of a space: an array (configs, parts) of cycles."""
    workload = Workload.parse(space.header.workload)
    timed = [
        (c, o) for c, o in zip(space.configs, space.outcomes, strict=True) if not isinstance(o, str)
    ]
    rows = []
    for config, _ in timed:
        parts = parts_of(workload, config, target)
        rows.append([parts.get(name, 0.0) for name in PARTS])
    default = next(i for i, (c, _) in enumerate(timed) if c == space.default)
    ratios = np.array([o for _, o in timed])
    cycles = ratios * space.header.seconds * clock(target)
    return Sample(space, workload, np.array(rows), cycles, ratios, default)


def fit(samples: Sequence[Sample]) -> np.ndarray:
    """Factors, one a part, that make the parts add up to the recorded times.

    Least squares of logarithms, over the logarithms of the factors, so that they stay positive.
    The order of configs within a task counts more than its level, and fast configs more than slow
    ones.
    """
    from scipy.optimize import least_squares

    seen = [i for i in range(len(PARTS)) if any(s.parts[:, i].any() for s in samples)]
    cycles = [np.log(s.cycles) for s in samples]
    weights = [_weights(s) for s in samples]

    def residuals(logs: np.ndarray) -> np.ndarray:
        factors = np.exp(logs)
        found: list[Any] = [PULL * logs]
        for s, y, w in zip(samples, cycles, weights, strict=True):
            error = np.log(s.parts[:, seen] @ factors + 1.0) - y
            level = (w * error).sum()
            found += [np.sqrt(w) * (error - level), [LEVEL * level]]
        return np.concatenate(found)

    best = least_squares(residuals, np.zeros(len(seen)), bounds=(-6.0, 4.0))
    factors = np.ones(len(PARTS))
    factors[seen] = np.exp(best.x)
    return factors


def _weights(s: Sample) -> np.ndarray:
    speed = (s.ratios.min() / s.ratios) ** FOCUS
    return speed / speed.sum()


def leave_one_out(samples: Sequence[Sample]) -> list[np.ndarray]:
    """For each sample its estimated cycles, by factors fitted to the others of its family."""
    found = []
    for s in samples:
        others = [o for o in samples if o is not s and o.family == s.family]
        found.append(s.parts @ fit(others))
    return found


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's."""
    from scipy.stats import spearmanr

    return float(spearmanr(x, y).statistic)


def main(argv: Sequence[str] | None = None) -> None:
    """Fit and write."""
    from luthier.tuner.cost.validate import load

    parser = argparse.ArgumentParser(prog="python -m luthier.tuner.cost.fit", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with recorded spaces (*.jsonl.gz)")
    parser.add_argument("--output", type=Path, default=FILE)
    args = parser.parse_args(argv)
    samples, core = load(args.folder)
    families = {}
    guesses = leave_one_out(samples)
    for family in FAMILIES:
        own = [(s, g) for s, g in zip(samples, guesses, strict=True) if s.family == family]
        factors = fit([s for s, _ in own])
        families[family] = Family(
            {name: float(f"{f:.3g}") for name, f in zip(PARTS, factors, strict=True)},
            round(float(np.mean([rank_correlation(g, s.ratios) for s, g in own])), 2),
            len(own),
        )
    text = msgspec.json.format(msgspec.json.encode(Fitted(core, families)), indent=2)
    args.output.write_bytes(text + b"\n")
    print(f"{args.output}: {len(samples)} tasks")


if __name__ == "__main__":
    main()
