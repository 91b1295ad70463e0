"""``luthier tune``: search the fastest kernels for a model on this machine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from luthier.cli import common
from luthier.errors import ArgumentError

if TYPE_CHECKING:
    from luthier.tuner import TaskReport
    from luthier.tuning import Outcome

HELP = "tune a model's kernels to this machine; sessions then use what was found"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model(parser)
    parser.add_argument(
        "--target",
        metavar="T",
        default="native",
        help="native, arm, or a profile that the device is one of (see luthier cpu --targets)",
    )
    parser.add_argument(
        "--device",
        metavar="D",
        default="local",
        help="where to measure: local, ssh://[user@]host[:port] (nothing has to be installed"
        " there), qemu, an emulated Arm core that only checks answers, or none: a plan estimated"
        " for the target, as it is for a target that is not this machine",
    )
    parser.add_argument(
        "--cpu", metavar="NAME", help="the profile of --target arm, or that qemu emulates"
    )
    parser.add_argument(
        "--level",
        choices=["estimated", "quick", "normal", "patient", "exhaustive"],
        default="normal",
        help="how thoroughly to search (default: normal); estimated: only what the cost model finds"
        " most promising",
    )
    parser.add_argument(
        "--budget", metavar="TIME", type=common.duration, help="such as 90s or 5m; all in all"
    )
    parser.add_argument("--seed", type=int, default=0, help="equal seeds continue the same search")
    common.add_shapes(parser)
    common.add_threads(parser)
    common.add_records(parser)
    common.add_precision(parser)
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from luthier.cli.tune_view import view
    from luthier.target import profile
    from luthier.tuner import LEVELS
    from luthier.tuning import tune

    device, name = args.device, args.target
    if device not in ("local", "qemu", "none") and not device.startswith("ssh://"):
        raise ArgumentError(
            f"unknown device {device!r}, choose from: local, none, qemu, ssh://user@host"
        )
    if args.cpu is not None:
        if device != "qemu" and name != "arm":
            raise ArgumentError("--cpu names the core of --target arm, or of --device qemu")
        name = args.cpu
    budget = LEVELS[args.level].budget if args.budget is None else args.budget
    with view(to_stderr=args.json, budget=budget) as watch:
        outcome = tune(
            args.model,
            shapes=dict(args.shape),
            num_threads=args.threads,
            target=None if name == "native" else profile(name),
            device=device,
            records=args.records,
            level=args.level,
            budget=budget,
            seed=args.seed,
            max_error=args.max_error,
            precision=args.precision,
            progress=watch,
            on_tasks=watch.on_tasks,
        )
    if args.json:
        common.print_json(_as_dict(outcome))
    elif outcome.estimates is not None:
        common.print_estimates(outcome.estimates)
        print(f"records: {outcome.records}; see luthier inspect {args.model} --target {name}")
    elif outcome.records is None:
        _print_checks(outcome)
    else:
        _print(outcome, device)
    wrong = any(s in t.statuses for t in outcome.report.tasks for s in ("wrong", "crash"))
    return int(outcome.records is None and wrong)


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    report, found = outcome.report, outcome.comparison
    return {
        "records": outcome.records,
        "seconds": report.seconds,
        "stopped": report.stopped,
        "notices": report.notices,
        "predicted_ratio": report.ratio,
        "model": found and vars(found),
        "error": outcome.error,
        "tasks": [
            {
                "workload": t.task.key,
                "weight": t.task.weight,
                "trials": t.trials,
                "statuses": dict(t.statuses),
                "ratio": t.ratio,
                "interval": t.interval,
                "config": t.config,
                "kept": t.task.key in outcome.kept,
                "in_place": _in_place(outcome, t),
                "failure": t.failure,
            }
            for t in report.tasks
        ],
        "estimates": [common.estimates_dict(e) for e in outcome.estimates or ()],
    }


def _print(outcome: Outcome, device: str) -> None:
    report, found = outcome.report, outcome.comparison
    if report.tasks:
        common.print_table(
            ["task", "times", "trials", "default", "alone", "in place", "result"],
            [
                (
                    t.task.key,
                    t.task.weight,
                    t.trials,
                    common.text_time(t.seconds),
                    f"{t.ratio:.3f}",
                    f"{_in_place(outcome, t):.3f}",
                    t.failure or _result(t.won, t.task.key in outcome.kept),
                )
                for t in report.tasks
            ],
        )
    if report.stopped == "interrupted":
        print("interrupted: what was found until then is kept")
    if device != "local":
        print(f"{len(outcome.kept)} of {len(report.tasks)} tasks are faster alone on {device}")
    elif found:
        print(
            f"whole model: {common.text_time(found.untuned)} -> {common.text_time(found.tuned)},"
            f" {1 / found.ratio:.2f} times as fast (95 %: {1 / found.hi:.2f} to"
            f" {1 / found.lo:.2f}, {found.rounds} rounds)"
        )
    else:
        print("whole model: nothing is faster than the defaults with confidence; they stay")
    if outcome.error is not None:
        print(f"outputs differ from those of float32 by up to {outcome.error:.2%} of their range")
    print(f"records: {outcome.records}")


def _print_checks(outcome: Outcome) -> None:
    """What an emulated device found: no times."""
    common.print_table(
        ["task", "configs", "result"],
        [
            (t.task.key, t.trials, ", ".join(f"{n} {s}" for s, n in t.statuses.items()))
            for t in outcome.report.tasks
        ],
    )
    print("emulated: answers were checked, and nothing is recorded")


def _result(won: bool, kept: bool) -> str:
    if kept:
        return "kept"
    return "faster alone, not in the model" if won else "default stays"


def _in_place(outcome: Outcome, report: TaskReport) -> float:
    """Time over the untuned config's where the layer stands in the model."""
    choice = outcome.kept.get(report.task.key)
    return choice.ratio if choice else 1.0
