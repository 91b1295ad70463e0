"""``luthier run``: run a model once, or replay stored test sets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.cli import common
from luthier.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np

    from luthier.model import Model
    from luthier.session import InferenceSession

HELP = "run a model, or check it against stored inputs and outputs"
RTOL = 2e-4
"""Largest error of an output that `--check` accepts, relative to the output's range."""
ATOL = 1e-6
"""Absolute errors that it accepts in any case: an output may be all but constant."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model(parser, common.OR_EXPORTED)
    parser.add_argument(
        "--input",
        metavar="NAME=FILE",
        action="append",
        default=[],
        help="a .npy, .pb or .png file for an input; may be repeated. A picture is resized to the"
        " input, RGB or grey, 0 to 1 where the input is floating point",
    )
    parser.add_argument("--random", action="store_true", help="make up inputs that are not given")
    parser.add_argument("--seed", type=int, default=0, help="of made-up inputs")
    parser.add_argument(
        "--check",
        metavar="DIR",
        type=Path,
        help="replay a test_data_set folder, or all of those in a folder",
    )
    parser.add_argument(
        "--rtol",
        type=float,
        default=RTOL,
        help=f"error that --check accepts, relative to an output's range (default: {RTOL})",
    )
    parser.add_argument(
        "--atol",
        type=float,
        default=ATOL,
        help=f"absolute error that --check accepts in any case (default: {ATOL})",
    )
    parser.add_argument("--output", metavar="DIR", type=Path, help="write outputs as .npy files")
    parser.add_argument(
        "--backend",
        metavar="NAME",
        action="append",
        help="native or reference; may be repeated (default: both, in this order)",
    )
    common.add_shapes(parser)
    common.add_threads(parser)
    common.add_records(parser)
    common.add_precision(parser)
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from luthier.graph.lowering.lower import BACKENDS
    from luthier.session import InferenceSession

    session = InferenceSession(
        args.model,
        num_threads=args.threads,
        records=args.records or "default",
        backends=args.backend or BACKENDS,
        max_error=args.max_error,
        precision=args.precision,
    )
    if args.check:
        return _check(session, args)
    feeds = _feeds(session.model, args)
    outputs = dict(
        zip((o.name for o in session.get_outputs()), session.run(None, feeds), strict=True)
    )
    if args.output:
        import numpy as np

        args.output.mkdir(parents=True, exist_ok=True)
        for i, array in enumerate(outputs.values()):
            np.save(args.output / f"output_{i}.npy", array)
    rows = [_describe(name, array) for name, array in outputs.items()]
    if args.json:
        common.print_json(rows)
    else:
        common.print_table(list(rows[0]), [list(row.values()) for row in rows])
    return 0


def _describe(name: str, array: np.ndarray) -> dict[str, object]:
    numeric = array.dtype.kind in "fiub" and array.size > 0
    return {
        "output": name,
        "dtype": str(array.dtype),
        "shape": list(array.shape),
        "min": float(f"{array.min():.6g}") if numeric else None,
        "max": float(f"{array.max():.6g}") if numeric else None,
        "mean": float(f"{array.mean(dtype='f8'):.6g}") if numeric else None,
    }


def _feeds(model: Model, args: argparse.Namespace) -> dict[str, np.ndarray]:
    from luthier.feeds import random_feeds

    values = {v.name: v for v in model.graph.inputs}
    shapes = dict(args.shape)
    feeds = {}
    for text in args.input:
        name, equals, file = text.partition("=")
        if not equals or name not in values:
            raise ArgumentError(
                f"--input {text}: expected NAME=FILE, NAME being one of: {', '.join(values)}"
            )
        feeds[name] = _load(Path(file), values[name], shapes.get(name))
    missing = [name for name in values if name not in feeds]
    if missing and not args.random:
        raise ArgumentError(f"missing inputs: {', '.join(missing)} (give --input or --random)")
    if missing:
        known = {name: array.shape for name, array in feeds.items()}
        feeds = random_feeds(model, shapes | known, args.seed) | feeds
    return feeds


def _load(path: Path, value, shape: tuple[int, ...] | None) -> np.ndarray:
    import numpy as np

    if path.suffix == ".pb":
        from luthier.onnx_frontend import load_tensor

        return load_tensor(path)
    if path.suffix == ".npy":
        try:
            return np.load(path, allow_pickle=False)
        except ValueError as error:
            raise ArgumentError(f"{path}: not a .npy file: {error}") from None
    if path.suffix in (".png", ".jpg", ".jpeg"):
        from luthier.picture import load_picture

        return load_picture(path, value, shape)
    raise ArgumentError(f"{path}: expected a .npy, .pb or .png file")


def _check(session: InferenceSession, args: argparse.Namespace) -> int:
    from luthier.bench.answers import compare
    from luthier.feeds import stored_sets

    sets = stored_sets(args.check)
    if not sets:
        raise ArgumentError(f"{args.check}: no test_data_set folder with input_I.pb, output_I.pb")
    rows = []
    for stored in sets:
        expected = stored.outputs()
        names = [o.name for o in session.get_outputs()]
        if len(expected) != len(names):
            raise ArgumentError(
                f"{stored.path}: expected {len(names)} outputs, found {len(expected)} files"
            )
        got = session.run(None, stored.feeds(session.model))
        for name, mine, theirs in zip(names, got, expected, strict=True):
            answer = compare(mine, theirs, args.rtol, args.atol)
            rows.append({"set": stored.path.name, "output": name} | vars(answer))
    failed = sum(not row["ok"] for row in rows)
    if args.json:
        common.print_json({"rtol": args.rtol, "atol": args.atol, "failed": failed, "outputs": rows})
        return 1 if failed else 0
    common.print_table(
        ["set", "output", "largest error", "of range", "result"],
        [
            (
                row["set"],
                row["output"],
                "-" if row["max_abs"] is None else f"{row['max_abs']:.3g}",
                "-" if row["of_range"] is None else f"{row['of_range']:.3g}",
                "ok" if row["ok"] else row["reason"],
            )
            for row in rows
        ],
    )
    good = len(rows) - failed
    bound = f"{args.rtol:g} of their range, or {args.atol:g} absolute"
    print(f"{good} of {len(rows)} outputs within {bound}")
    return 1 if failed else 0
