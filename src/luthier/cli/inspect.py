"""``luthier inspect``: the plan of a model, which is the answer to "why is this slow"."""

from __future__ import annotations

import argparse

from luthier.cli import common

HELP = "show a model's inputs, and its plan: kernel, layout, config and rung of every step"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model(parser)
    parser.add_argument("--profile", action="store_true", help="run it, and show every step's time")
    parser.add_argument(
        "--repeats", metavar="N", type=common.positive, default=20, help="runs of --profile"
    )
    common.add_shapes(parser)
    common.add_threads(parser)
    common.add_records(parser)
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    raise NotImplementedError
