"""GEMM and convolution kernels as a share of the measured FMA peak.

    python -m luthier.bench.roofline [--trials 40] [--json FILE]

Each workload is run with its untuned config and with configs drawn from its space; the best of a
first round is measured again against the default in interleaved rounds. Every config's answer is
checked before it is timed.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from luthier.kernels import Runner, Workload, _kernels, native_target, space

__all__ = ["Row", "measure"]

_POINTWISE = "st1.1/p0.0.0.0/d1.1/g1/epi=bias,relu/t1"
_SAME = "st1.1/p1.1.1.1/d1.1/g1/epi=bias,relu/t1"

WORKLOADS = (
    *(f"gemm/f32/b1m{n}n{n}k{n}/packed/epi=none/t1" for n in (64, 128, 256, 512, 1024, 2048)),
    # MobileNetV2
    "conv2d/f32/n1c3h224w224/k32r3s3/st2.2/p1.1.1.1/d1.1/g1/epi=bias,clip/t1",
    f"conv2d/f32/n1c16h112w112/k96r1s1/{_POINTWISE}",
    f"conv2d/f32/n1c144h56w56/k24r1s1/{_POINTWISE}",
    f"conv2d/f32/n1c192h28w28/k32r1s1/{_POINTWISE}",
    f"conv2d/f32/n1c96h14w14/k576r1s1/{_POINTWISE}",
    f"conv2d/f32/n1c960h7w7/k320r1s1/{_POINTWISE}",
    f"conv2d/f32/n1c320h7w7/k1280r1s1/{_POINTWISE}",
    # ResNet-50
    "conv2d/f32/n1c3h224w224/k64r7s7/st2.2/p3.3.3.3/d1.1/g1/epi=bias,relu/t1",
    f"conv2d/f32/n1c64h56w56/k64r3s3/{_SAME}",
    f"conv2d/f32/n1c128h28w28/k128r3s3/{_SAME}",
    f"conv2d/f32/n1c256h14w14/k256r3s3/{_SAME}",
    f"conv2d/f32/n1c512h7w7/k512r3s3/{_SAME}",
    f"conv2d/f32/n1c64h56w56/k256r1s1/{_POINTWISE}",
    f"conv2d/f32/n1c512h28w28/k128r1s1/{_POINTWISE}",
    f"conv2d/f32/n1c1024h14w14/k256r1s1/{_POINTWISE}",
    f"conv2d/f32/n1c2048h7w7/k512r1s1/{_POINTWISE}",
)


@dataclass(frozen=True)
class Row:
    """One workload: GFLOP/s and share of the peak, untuned and best."""

    workload: str
    default_gflops: float
    default_share: float
    best_gflops: float
    best_share: float
    config: dict


def measure(key: str, peak: float, trials: int, seed: int = 0) -> Row:
    """Measure one workload.

    Parameters
    ----------
    key : str
        The workload's key.
    peak : float
        Floating-point operations a second to compare with.
    trials : int
        How many configs of the space to try beside the default.
    """
    workload = Workload.parse(key)
    found = space(workload.op, workload)
    rng = random.Random(seed)
    configs = [found.default, *rng.sample(found.configs, min(trials, len(found.configs)))]
    inner = max(1, round(2e-3 * peak / workload.flops))
    quick = []
    for config in configs:
        runner = Runner(workload, config, seed)
        if not runner.check().ok:
            raise AssertionError(f"{key} {config}: wrong answer")
        quick.append(min(runner.time(inner) for _ in range(3)))
    best = configs[int(np.argmin(quick))]
    runners = [Runner(workload, c, seed) for c in (found.default, best)]
    rounds = np.array([[r.time(inner) for r in runners] for _ in range(15)])
    rates = workload.flops / np.median(rounds, axis=0)
    if rates[1] < rates[0]:
        best, rates[1] = found.default, rates[0]
    default, top = (float(r) for r in rates)
    return Row(key, default / 1e9, default / peak, top / 1e9, top / peak, dict(best))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="luthier.bench.roofline", description=__doc__)
    parser.add_argument("--trials", type=int, default=40, help="configs tried for each workload")
    parser.add_argument("--json", metavar="FILE", help="also write the rows to FILE")
    options = parser.parse_args(argv)
    target = native_target()
    peak = max(_kernels.peak_flops(isa) for isa in target.isas)
    print(f"{target.name}: {peak / 1e9:.1f} GFLOP/s fp32 a core, measured")
    rows = []
    for key in WORKLOADS:
        row = measure(key, peak, options.trials)
        rows.append(row)
        print(
            f"{row.default_gflops:7.1f} {row.default_share:6.1%}  "
            f"{row.best_gflops:7.1f} {row.best_share:6.1%}  {key}",
            flush=True,
        )
    if options.json:
        with Path(options.json).open("w", encoding="utf-8") as file:
            json.dump({"peak": peak, "rows": [asdict(r) for r in rows]}, file, indent=1)


if __name__ == "__main__":
    main()
