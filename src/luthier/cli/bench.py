"""``luthier bench``: compare luthier with other engines."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli import common
from luthier.errors import ArgumentError, LuthierError

if TYPE_CHECKING:
    import numpy as np

    from luthier.bench.rounds import Engine

HELP = "measure models, beside other engines if wanted"


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _threads(text: str) -> list[int]:
    return [common.positive(part) for part in text.split(",")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", metavar="MODEL", nargs="+", type=common.model, help=common.OR_EXPORTED
    )
    parser.add_argument(
        "--compare",
        metavar="ENGINES",
        type=_names,
        default=[],
        help="comma-separated: untuned (luthier without records), onnxruntime, openvino, ncnn",
    )
    parser.add_argument(
        "--threads",
        metavar="N,...",
        type=_threads,
        help="of runs (default: 1, or as many as a file was exported for)",
    )
    parser.add_argument(
        "--rounds", metavar="N", type=common.positive, default=15, help="interleaved rounds"
    )
    parser.add_argument(
        "--seconds",
        metavar="TIME",
        type=common.duration,
        default=math.inf,
        help="such as 10s; no rounds are begun later than this after a model's first",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the results as JSON, after each model"
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what the file of --json has, and do the rest"
    )
    parser.add_argument("--report", metavar="FILE.html", type=Path, help="write a report")
    common.add_shapes(parser)
    common.add_records(parser)
    common.add_precision(parser)


def run(args: argparse.Namespace) -> int:
    from luthier.bench import peers, report

    unknown = [name for name in args.compare if name not in ("untuned", *peers.PEERS)]
    if unknown:
        raise ArgumentError(
            f"unknown engines {', '.join(unknown)}, choose from: untuned, {', '.join(peers.PEERS)}"
        )
    if args.resume and not args.json:
        raise ArgumentError("--resume needs --json FILE")
    if args.report:
        report.require_jinja()
    results: list[dict[str, Any]] = []
    if args.resume and args.json.exists():
        results = report.read_json(args.json)["results"]
    failures: list[LuthierError] = []
    for path in args.models:
        for threads in args.threads or [None]:
            try:
                _add(results, path, threads, args)
            except LuthierError as error:
                failures.append(error)
                break  # it is the model's error, whatever the threads
            if args.json:
                report.write_json(report.document(results), args.json)
    document = report.document(results)
    if args.report:
        report.write_html(document, args.report)
    if results:
        common.print_table(report.COLUMNS, report.rows(document))
        print("", *report.summary_lines(document), sep="\n")
    for failure in failures[:-1]:
        common.complain(str(failure))
    if failures:
        raise failures[-1]
    return 1 if any(e["disagrees"] for r in results for e in r["engines"]) else 0


def _add(results: list[dict[str, Any]], path: Path, threads: int | None, args: Any) -> None:
    """Measure one model with one number of threads, unless the results have it."""
    from luthier.bench import peers, report
    from luthier.exported import ExportedModel
    from luthier.feeds import example_feeds
    from luthier.kernels.cpu import native_target
    from luthier.kernels.spaces import allow
    from luthier.session import open_model

    model = open_model(path)
    if isinstance(model, ExportedModel):
        if args.compare:
            raise ArgumentError(f"{path}: is exported; --compare needs its ONNX model")
        threads = threads or model.bundle.threads
    threads = threads or 1
    feeds = example_feeds(model, dict(args.shape))
    identity = {
        "model": report.label(str(path)),
        "digest": model.digest,
        "threads": threads,
        "shapes": {name: list(array.shape) for name, array in feeds.items()},
        "device": allow(native_target(), args.precision, args.max_error)[0].fingerprint,
        "compare": args.compare,
        "max_error": args.max_error,
    }
    if any(identity.items() <= result.items() for result in results):
        return
    flops = _flops(model, feeds, threads)
    del model  # engines have the machine's memory to themselves
    openers: dict[str, Callable[[], Engine]] = {
        "luthier": partial(_open_luthier, path, feeds, threads, args.records or "default", args)
    }
    for name in args.compare:
        openers[name] = (
            partial(_open_luthier, path, feeds, threads, None, args)
            if name == "untuned"
            else partial(peers.open_peer, name, path, feeds, threads)
        )
    engines, absent = _race(openers, args.rounds, flops, args.seconds)
    results.append(identity | {"flops": flops, "engines": engines, "absent": absent})


def _flops(model: Any, feeds: dict[str, np.ndarray], threads: int) -> int:
    from luthier.exported import ExportedModel
    from luthier.tuner import extract

    if isinstance(model, ExportedModel):
        return model.plan().flops
    # Chains have the work of their members once more; of both precisions only one is computed.
    counts = {"chain": 0, "precision": -1}
    tasks = extract(model.specialise(feeds), threads)
    return sum(counts.get(t.workload.op, 1) * t.weight * t.workload.flops for t in tasks)


def _race(
    openers: dict[str, Callable[[], Engine]], rounds: int, flops: int, seconds: float
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The engines' results; and why the others have none. An engine may fail at any time."""
    from luthier.bench.peers import UnavailableError
    from luthier.bench.remote import Remote
    from luthier.bench.rounds import race

    absent: dict[str, str] = {}
    with ExitStack() as stack:
        racers: dict[str, Remote] = {}
        while True:
            name = ""
            try:
                for name, opener in openers.items():
                    if name not in absent and name not in racers:
                        racers[name] = stack.enter_context(Remote(name, opener))
                engines = race(list(racers.values()), rounds, flops, seconds)
                for engine in engines:
                    name = engine["name"]
                    engine["memory"] = racers[name].memory()
                return engines, absent
            except UnavailableError as failure:
                name = next((n for n, racer in racers.items() if racer.failed), name)
                if name == "luthier":
                    raise LuthierError(str(failure)) from None
                racers.pop(name, None)
                absent[name] = str(failure)
                print(f"luthier: {failure}", file=sys.stderr)


def _open_luthier(
    path: Path, feeds: dict[str, np.ndarray], threads: int, records: Path | str | None, args: Any
) -> Engine:
    import luthier
    from luthier.bench.rounds import Engine

    session = luthier.InferenceSession(
        path,
        num_threads=threads,
        records=records,
        max_error=args.max_error,
        precision=args.precision,
    )
    name = "untuned" if records is None else "luthier"
    return Engine(name, lambda: session.run(None, feeds), luthier.__version__)
