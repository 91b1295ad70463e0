"""``luthier quantize``: a float model becomes an int8 model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.cli import common

if TYPE_CHECKING:
    from luthier.quantizer import Outcome
    from luthier.quantizer.execute import Progress

HELP = "quantise a float32 model to int8, calibrated on sample inputs"


def numbers(text: str) -> tuple[float, ...]:
    """``0.485,0.456,0.406``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected 0.5 or 0.5,0.4,0.3, got {text!r}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model(parser)
    parser.add_argument(
        "--data",
        metavar="DIR|FILE.npz",
        type=Path,
        required=True,
        help="samples: a folder of .npy, .npz, .pb or picture files or of test_data_set folders, or"
        " a .npz file with an array for each input, whose first axis counts samples",
    )
    parser.add_argument(
        "--held-out",
        metavar="DIR|FILE.npz",
        type=Path,
        help="samples to judge the result by (default: every fourth of --data)",
    )
    parser.add_argument(
        "--samples", metavar="N", type=common.positive, help="use at most so many of --data"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT.onnx",
        type=Path,
        help="default: MODEL.int8.onnx beside the model",
    )
    parser.add_argument(
        "--method",
        choices=["minmax", "percentile", "entropy", "mse"],
        default="percentile",
        help="how the range of an activation is chosen (default: percentile)",
    )
    parser.add_argument(
        "--percentile", metavar="P", type=float, default=99.99, help="of --method percentile"
    )
    parser.add_argument(
        "--per-channel",
        action="store_true",
        default=True,
        help="a weight scale for each output channel (the default)",
    )
    parser.add_argument(
        "--per-tensor",
        dest="per_channel",
        action="store_false",
        help="one scale for all weights of a layer",
    )
    parser.add_argument(
        "--format",
        choices=["qdq", "qoperator"],
        default="qdq",
        help="QuantizeLinear and DequantizeLinear around operators, or QLinearConv and its like",
    )
    parser.add_argument("--activations", choices=["uint8", "int8"], default="uint8")
    parser.add_argument(
        "--exclude",
        metavar="NODE",
        nargs="+",
        action="extend",
        default=[],
        help="nodes that stay float, by name",
    )
    parser.add_argument(
        "--max-drop",
        metavar="D",
        type=float,
        help="leave layers in float, those of most noise of their own first, until the outputs keep"
        " within D: 1 - top-1 agreement for classifiers with 10 held-out samples, else the"
        " relative error",
    )
    parser.add_argument(
        "--equalize", action="store_true", help="equalise channels of neighbouring convolutions"
    )
    parser.add_argument(
        "--bias-correction", action="store_true", help="take out the mean error of rounded weights"
    )
    parser.add_argument(
        "--scale", type=float, default=1 / 255, help="of pixels, first (default: 1/255)"
    )
    parser.add_argument(
        "--mean", type=numbers, default=(0.0,), help="taken off scaled pixels, such as 0.5 or R,G,B"
    )
    parser.add_argument("--std", type=numbers, default=(1.0,), help="divides them then")
    common.add_threads(parser)
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from luthier.quantizer import Pixels, quantize

    with _bar() as progress:
        outcome = quantize(
            args.model,
            args.data,
            args.output,
            method=args.method,
            percentile=args.percentile,
            per_channel=args.per_channel,
            format=args.format,
            activations=args.activations,
            exclude=args.exclude,
            max_drop=args.max_drop,
            equalize=args.equalize,
            bias_correction=args.bias_correction,
            samples=args.samples,
            held_out=args.held_out,
            pixels=Pixels(args.scale, args.mean, args.std),
            num_threads=args.threads,
            progress=progress,
        )
    if args.json:
        common.print_json(_as_dict(outcome))
    else:
        _print(outcome)
    return 0 if args.max_drop is None or outcome.drop <= args.max_drop else 1


@contextmanager
def _bar() -> Iterator[Progress]:
    """A progress bar for each stage, on standard error if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    tasks: dict[str, Any] = {}
    with Bars(console=console, disable=not console.is_terminal, transient=True) as bars:

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage)
            bars.update(tasks[stage], completed=done, total=total)

        yield progress


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    lists = {
        "layers": [vars(layer) for layer in outcome.layers],
        "outputs": [vars(output) for output in outcome.outputs],
    }
    return {**vars(outcome), **lists}


def _print(outcome: Outcome) -> None:
    if outcome.layers:
        common.print_table(
            ["layer", "op", "SNR dB", "alone dB"],
            [(n.node, n.op, _decibels(n.snr_db), _decibels(n.own_snr_db)) for n in outcome.layers],
        )
    where = "held out" if outcome.disjoint else "the same"
    print(f"{outcome.calibrated} samples to calibrate, {outcome.held_out} {where} to judge by")
    for name in outcome.left_float:
        print(f"left in float: {name}")
    for o in outcome.outputs:
        value = 1 - o.drop if o.metric == "top-1 agreement" else o.drop
        print(f"output {o.name}: {o.metric} {value:.4g}, SNR {_decibels(o.snr_db)} dB")
    ratio = outcome.bytes_before / outcome.bytes_after
    print(
        f"{outcome.path}: {outcome.bytes_after} bytes, was {outcome.bytes_before}"
        f" ({ratio:.2f} times as large)"
    )


def _decibels(snr: float | None) -> str:
    return "-" if snr is None else f"{snr:.1f}"
