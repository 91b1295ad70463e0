"""What several commands share: arguments, units, tables."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.limits import PRECISION_ERRORS

if TYPE_CHECKING:
    from luthier.tuner import Estimates
    from luthier.tuner.record import Guess

__all__ = [
    "MODEL_HELP",
    "OR_EXPORTED",
    "add_json",
    "add_model",
    "add_precision",
    "add_records",
    "add_shapes",
    "add_threads",
    "complain",
    "duration",
    "estimates_dict",
    "model",
    "positive",
    "print_estimates",
    "print_json",
    "print_table",
    "shape",
    "text_time",
]


def positive(text: str) -> int:
    """A positive number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)


def duration(text: str) -> float:
    """Seconds: ``90``, ``90s``, ``5m``, ``1h30m``."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
    hours, minutes, rest = (float(n or 0) for n in match.groups()) if match else (0.0, 0.0, 0.0)
    seconds = 3600 * hours + 60 * minutes + rest
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 5m or 1h30m, got {text!r}")
    return seconds


def shape(text: str) -> tuple[str, tuple[int, ...]]:
    """``NAME=1,3,224,224``."""
    name, equals, dims = text.rpartition("=")
    sizes = dims.split(",") if dims else []
    if not equals or not name or not all(d.isdecimal() for d in sizes):
        raise argparse.ArgumentTypeError(f"expected NAME=1,3,224,224, got {text!r}")
    return name, tuple(int(d) for d in sizes)


MODEL_HELP = "an ONNX file, or zoo:NAME for a network with made-up weights, such as zoo:resnet50"


def model(text: str) -> Path:
    """The file of a model: a path, or ``zoo:NAME`` of `luthier.bench.zoo`."""
    if not text.startswith("zoo:"):
        return Path(text)
    from luthier.bench import zoo
    from luthier.errors import ArgumentError

    try:
        return zoo.cached(text.removeprefix("zoo:"))
    except ArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


OR_EXPORTED = MODEL_HELP + "; or a file of luthier export"


def add_model(parser: argparse.ArgumentParser, what: str = MODEL_HELP) -> None:
    parser.add_argument("model", metavar="MODEL", type=model, help=what)


def add_shapes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shape",
        metavar="NAME=DIMS",
        type=shape,
        action="append",
        default=[],
        help="the shape of an input, such as x=1,3,224,224; may be repeated",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", metavar="N", type=positive, help="threads of a run (default: all free cores)"
    )


def add_records(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--records", metavar="FILE", type=Path, help="tuning records (default: the user's own)"
    )


def _add_max_error(parser: argparse.ArgumentParser) -> None:
    defaults = ", ".join(f"{bound:g} in {name}" for name, bound in PRECISION_ERRORS.items())
    parser.add_argument(
        "--max-error",
        metavar="SHARE",
        type=float,
        help="largest error that a layer's algorithm may add, as a share of its output's range;"
        f" 0 rules out Winograd convolutions (default: {defaults})",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """`--precision`, and the bound on errors that goes with it."""
    parser.add_argument(
        "--precision",
        choices=list(PRECISION_ERRORS),
        default="fp32",
        help="what products may round their factors to where the CPU has kernels for it; sums stay"
        " float32 (default: fp32)",
    )
    _add_max_error(parser)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def complain(message: str) -> None:
    """One line on standard error."""
    print(f"luthier: error: {' '.join(message.split())}", file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON document on standard output; paths and the like become text."""
    json.dump(value, sys.stdout, indent=2, default=str)
    print()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table: drawn on a terminal, aligned text elsewhere; columns of numbers go right."""
    cells = [[str(cell) for cell in row] for row in rows]
    numeric = [all(re.match(r"[-+]?\d|-$|$", row[i]) for row in cells) for i in range(len(columns))]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD)
        for column, right in zip(columns, numeric, strict=True):
            table.add_column(column, justify="right" if right else "left", overflow="fold")
        for row in cells:
            table.add_row(*map(Text, row))
        Console().print(table)
        return
    lines = [list(columns), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        parts = (
            cell.rjust(w) if right else cell.ljust(w)
            for cell, w, right in zip(line, widths, numeric, strict=True)
        )
        print("  ".join(parts).rstrip())


def text_time(seconds: float | None) -> str:
    """Milliseconds or microseconds, with three digits that count."""
    if seconds is None:
        return "-"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def estimates_dict(e: Estimates) -> dict[str, Any]:
    """What was estimated for a task, as JSON has it."""
    from msgspec import structs

    return {
        "workload": e.workload,
        "core": e.device.core,
        "isa": e.device.isa,
        "configs": e.configs,
        "ratio": e.ratio,
        "confidence": e.confidence,
        "default": structs.asdict(e.default),
        "best": [structs.asdict(guess) for guess in e.best],
    }


def print_estimates(estimates: Sequence[Estimates]) -> None:
    """Where the time of each task is estimated to go, and how far that can be believed."""
    print_table(
        ["task", "configs", "default", "best", "ratio", "mostly"],
        [
            (
                e.workload,
                e.configs,
                text_time(e.default.seconds),
                text_time(e.best[0].seconds),
                f"{e.ratio:.3f}",
                _mostly(e.best[0]),
            )
            for e in estimates
        ],
    )
    groups = Counter((e.device.core, e.confidence, e.core, e.correlation) for e in estimates)
    for (own, confidence, core, correlation), count in groups.items():
        print(
            f"{count} {'task' if count == 1 else 'tasks'} estimated, not measured; confidence"
            f" {confidence}: rank correlation {correlation:.2f} with times on {core}"
            + ("" if core == own else f", untested on {own}")
        )


def _mostly(guess: Guess) -> str:
    """The parts of an estimate that take most of its time."""
    parts = sorted(guess.parts.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{name} {seconds / guess.seconds:.0%}" for name, seconds in parts)
