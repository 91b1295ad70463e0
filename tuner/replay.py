"""Strategies compared on recorded spaces: ``python -m luthier.tuner.replay DIR``."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from luthier.tuner.record import OK, Config, Reference, Result, Times, config_key
from luthier.tuner.recorded import RecordedSpace, load_space
from luthier.tuner.strategies import STRATEGIES, strategy_class

__all__ = ["ReplayMeasurer", "reached"]


class ReplayMeasurer:
    """Answers from recorded spaces; always the same, in no time.

    Parameters
    ----------
    spaces : iterable of RecordedSpace
        Of one device and one set of kernels.
    """

    def __init__(self, spaces: Iterable[RecordedSpace]) -> None:
        self._spaces = {s.header.workload: s for s in spaces}
        self._outcomes = {
            key: {config_key(c): o for c, o in zip(s.configs, s.outcomes, strict=True)}
            for key, s in self._spaces.items()
        }
        self.kernels = next(iter(self._spaces.values())).header.kernels

    def space(self, workload: Any) -> RecordedSpace:
        """The recorded space of a workload."""
        return self._spaces[workload.key]

    def measure(
        self, workload: Any, config: Config, reference: Config, best: float = math.inf
    ) -> Result:
        """The recorded result; `reference` must be the default, as in the recording."""
        outcome = self._outcomes[workload.key][config_key(config)]
        if isinstance(outcome, str):
            return Result(outcome, "recorded")
        seconds = self._spaces[workload.key].header.seconds * outcome
        return Result(
            OK, times=Times(seconds, n=1), reference=Reference(reference, outcome, outcome, outcome)
        )

    def confirm(self, workload: Any, configs: Sequence[Config], reference: Config) -> list[Result]:
        """The recorded results."""
        return [self.measure(workload, config, reference) for config in configs]

    def close(self) -> None:
        """Nothing is held."""


def reached(space: RecordedSpace, strategy: str, trials: int, seed: int) -> list[float]:
    """Share of the optimum's speed that a strategy has reached after each trial."""
    measurer = ReplayMeasurer([space])
    searcher = strategy_class(strategy)[0](space, trials=trials, seed=seed)
    workload = _Recorded(space.header.workload)
    best = math.inf
    shares: list[float] = []
    while len(shares) < trials and (config := searcher.ask()) is not None:
        result = measurer.measure(workload, config, space.default, best)
        searcher.tell(config, result)
        best = min(best, result.ratio if result.ratio is not None else math.inf)
        shares.append(space.optimum / best)
    return shares


class _Recorded:
    """A workload of which only the key is known."""

    def __init__(self, key: str) -> None:
        self.key = key


def main(argv: Sequence[str] | None = None) -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m luthier.tuner.replay", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with recorded spaces (*.jsonl.gz)")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    args = parser.parse_args(argv)
    paths = sorted(args.folder.glob("*.jsonl.gz"))
    if not paths:
        sys.exit(f"{args.folder}: no recorded spaces (*.jsonl.gz)")
    spaces = [load_space(path) for path in paths]
    for space in spaces:
        print(f"{space.header.workload}: {len(space.configs)} configs, best {space.optimum:.3f}")
    print(f"share of the optimum after {args.trials} trials, {args.seeds} seeds")
    print(f"{'strategy':10} {'mean':>6} {'median':>6} {'worst':>6} {'within 5 % after':>17}")
    for name in args.strategies.split(","):
        runs = [reached(s, name, args.trials, n) for s in spaces for n in range(args.seeds)]
        last = [run[-1] for run in runs]
        near = [next((i for i, v in enumerate(r, 1) if v >= 0.95), math.inf) for r in runs]
        print(
            f"{name:10} {statistics.mean(last):6.3f} {statistics.median(last):6.3f} "
            f"{min(last):6.3f} {statistics.median(near):17g}"
        )


if __name__ == "__main__":
    main()
