"""``luthier export``: plans of a model as one file, and as a program without Python."""

from __future__ import annotations

import argparse
from pathlib import Path

from luthier.cli import common
from luthier.errors import ArgumentError

HELP = "write a model's plans for this or other CPUs, and programs that need no Python"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model(parser)
    parser.add_argument(
        "--target",
        metavar="T",
        nargs="+",
        action="extend",
        default=[],
        help="native (the default) or profiles (see luthier cpu --targets)",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE.luthier|DIR",
        type=Path,
        required=True,
        help="the file; a folder with --standalone",
    )
    parser.add_argument(
        "--standalone",
        action="store_true",
        help="build a static program, a library and its header beside the file",
    )
    parser.add_argument(
        "--embed", action="store_true", help="with --standalone: the model inside the program"
    )
    common.add_shapes(parser)
    common.add_threads(parser)
    common.add_records(parser)
    common.add_precision(parser)
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from luthier.exporting import export
    from luthier.standalone import MODEL, build

    if args.embed and not args.standalone:
        raise ArgumentError("--embed needs --standalone")
    if args.standalone:
        args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / MODEL if args.standalone else args.output
    entries = export(
        args.model,
        path,
        targets=args.target or ["native"],
        shapes=dict(args.shape),
        num_threads=args.threads,
        records=args.records or "default",
        max_error=args.max_error,
        precision=args.precision,
    )
    files = [path]
    if args.standalone:
        files += build(path, entries, embed=args.embed)
    plans = [
        {
            "target": entry.target.name,
            "isa": entry.target.isa,
            "threads": entry.threads,
            "steps": len(entry.plan.nodes),
            "arena_bytes": entry.plan.arena_bytes,
            "weights_bytes": entry.plan.weights_bytes,
        }
        for entry in entries
    ]
    sizes = {str(file): file.stat().st_size for file in files}
    if args.json:
        common.print_json({"plans": plans, "files": sizes})
        return 0
    common.print_table(list(plans[0]), [list(plan.values()) for plan in plans])
    for name, size in sizes.items():
        print(f"{name}: {size} bytes")
    return 0
