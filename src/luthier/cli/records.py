"""``luthier records``: the file of tuning records."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.cli import common

if TYPE_CHECKING:
    from luthier.tuner import Database

HELP = "list, merge or prune tuning records"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|merge|prune")
    listing = actions.add_parser("list", help="devices, and the configs that won or were estimated")
    merging = actions.add_parser("merge", help="append the records of other files")
    merging.add_argument("files", metavar="FILE", nargs="+", type=Path)
    pruning = actions.add_parser("prune", help="keep the best trials and the latest verdicts")
    pruning.add_argument("--best", metavar="N", type=common.positive, default=5, help="default: 5")
    for action in (listing, merging, pruning):
        common.add_records(action)
        common.add_json(action)


def run(args: argparse.Namespace) -> int:
    from luthier.tuner import Database

    database = Database(args.records)
    if args.action == "list":
        _list(database, args.json)
    else:
        merging = args.action == "merge"
        count = database.merge(args.files) if merging else database.prune(args.best)
        if args.json:
            common.print_json({"path": database.path, args.action: count})
        else:
            print(f"{database.path}: {count} records {'added' if merging else 'removed'}")
    for problem in database.problems:
        print(f"luthier: {problem}", file=sys.stderr)
    return 0


def _list(database: Database, as_json: bool) -> None:
    from luthier.tuner import Estimates, Verdict

    verdicts = [r for r in database.records() if isinstance(r, Verdict)]
    estimates = [r for r in database.records() if isinstance(r, Estimates)]
    if as_json:
        devices = database.summary()
        rows = [
            {
                "workload": v.workload,
                "core": v.device.core,
                "isa": v.device.isa,
                "won": v.won,
                "ratio": v.result.ratio,
                "config": v.config,
            }
            for v in verdicts
        ]
        guessed = [common.estimates_dict(e) for e in estimates]
        document = {"path": database.path, "devices": devices, "verdicts": rows}
        common.print_json({**document, "estimates": guessed})
        return
    print(database.path)
    for device, counts in database.summary().items():
        print(f"{device}: {', '.join(f'{n} {kind}' for kind, n in sorted(counts.items()))}")
    if verdicts:
        common.print_table(
            ["workload", "core", "isa", "time ratio", "config"],
            [
                (
                    v.workload,
                    v.device.core,
                    v.device.isa,
                    f"{v.result.ratio:.3f}" if v.won and v.result.ratio else "default stays",
                    " ".join(f"{key}={value}" for key, value in v.config.items() if v.won),
                )
                for v in verdicts
            ],
        )
    elif not estimates:
        print("no tuned kernels yet: luthier tune MODEL")
    if estimates:
        common.print_estimates(estimates)
