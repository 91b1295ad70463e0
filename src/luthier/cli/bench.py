"""``luthier bench``: compare luthier with other engines."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from luthier.cli import common
from luthier.errors import ArgumentError

HELP = "measure models, beside other engines if wanted"


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _threads(text: str) -> list[int]:
    return [common.positive(part) for part in text.split(",")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", type=common.model, help=common.MODEL_HELP
    )
    parser.add_argument(
        "--compare",
        metavar="ENGINES",
        type=_names,
        default=[],
        help="comma-separated: untuned (luthier without records), onnxruntime, openvino, ncnn",
    )
    parser.add_argument("--threads", metavar="N,...", type=_threads, default=[1])
    parser.add_argument(
        "--rounds", metavar="N", type=common.positive, default=15, help="interleaved rounds"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the results as JSON")
    parser.add_argument("--report", metavar="FILE.html", type=Path, help="write a report")
    common.add_shapes(parser)
    common.add_records(parser)


def run(args: argparse.Namespace) -> int:
    from luthier.bench import peers, report

    unknown = [name for name in args.compare if name not in ("untuned", *peers.PEERS)]
    if unknown:
        raise ArgumentError(
            f"unknown engines {', '.join(unknown)}, choose from: untuned, {', '.join(peers.PEERS)}"
        )
    if args.report:
        report.require_jinja()
    results = [_race(path, threads, args) for path in args.models for threads in args.threads]
    document = report.document(results)
    if args.json:
        report.write_json(document, args.json)
    if args.report:
        report.write_html(document, args.report)
    common.print_table(report.COLUMNS, report.rows(document))
    return 1 if any(engine["differs"] for r in results for engine in r["engines"]) else 0


def _race(path: Path, threads: int, args: argparse.Namespace) -> dict[str, Any]:
    """Measure one model with one number of threads."""
    from luthier.bench import peers, rounds
    from luthier.feeds import example_feeds
    from luthier.kernels.cpu import native_target
    from luthier.model import Model
    from luthier.session import InferenceSession
    from luthier.tuner import extract

    model = Model(path)
    feeds = example_feeds(model, dict(args.shape))
    flops = sum(t.weight * t.workload.flops for t in extract(model.specialise(feeds), threads))

    def session(records: Path | str | None) -> rounds.Engine:
        own = InferenceSession(model, num_threads=threads, records=records)
        name = "untuned" if records is None else "luthier"
        return rounds.Engine(name, lambda: own.run(None, feeds))

    engines, absent = [session(args.records or "default")], {}
    for name in args.compare:
        try:
            engines.append(
                session(None) if name == "untuned" else peers.open_peer(name, path, feeds, threads)
            )
        except peers.UnavailableError as error:
            absent[name] = str(error)
            print(f"luthier: {error}", file=sys.stderr)
    return {
        "model": f"{path.parent.name}/{path.name}",
        "digest": model.digest,
        "threads": threads,
        "shapes": {name: array.shape for name, array in feeds.items()},
        "flops": flops,
        "device": native_target().fingerprint,
        "engines": rounds.race(engines, args.rounds, flops),
        "absent": absent,
    }
