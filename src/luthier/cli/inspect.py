"""``luthier inspect``: the plan of a model, which is the answer to "why is this slow"."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from luthier.cli import common
from luthier.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np

    from luthier.graph import Plan
    from luthier.session import InferenceSession
    from luthier.target import Target
    from luthier.tuner import Estimates

HELP = "show a model's inputs, and its plan: kernel, layout, config and rung of every step"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    common.add_model(parser, common.OR_EXPORTED)
    parser.add_argument("--profile", action="store_true", help="run it, and show every step's time")
    parser.add_argument(
        "--repeats", metavar="N", type=common.positive, default=20, help="runs of --profile"
    )
    parser.add_argument(
        "--target",
        metavar="T",
        default="native",
        help="plan for a profile instead (see luthier cpu --targets)",
    )
    common.add_shapes(parser)
    common.add_threads(parser)
    common.add_records(parser)
    common.add_precision(parser)
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict, replace

    from luthier.exported import ExportedModel
    from luthier.feeds import example_feeds
    from luthier.kernels.cpu import native_target
    from luthier.session import InferenceSession
    from luthier.target import profile

    target = native_target() if args.target == "native" else profile(args.target)
    target = replace(target, precision=args.precision)
    foreign = target.arch != native_target().arch
    if foreign and args.profile:
        raise ArgumentError(f"--profile: this machine cannot run plans for {target.name}")
    session = InferenceSession(
        args.model,
        num_threads=args.threads or (target.cores if foreign else None),
        records=args.records or "default",
        target=None if foreign or args.target == "native" else target,
        max_error=args.max_error,
        precision=args.precision,
    )
    feeds = session.check_feeds(example_feeds(session.model, dict(args.shape)))
    plan = _plan_for(target, session, feeds, args) if foreign else session.plan(feeds)
    times = plan.profile(list(feeds.values()), args.repeats) if args.profile else None
    estimates = _estimates(plan, target, args)
    if args.json:
        steps = [asdict(node) for node in plan.nodes]
        for step, seconds in zip(steps, [] if times is None else times.tolist(), strict=False):
            step["seconds"] = seconds
        document = {
            "model": session.model.name,
            "target": target.name,
            "inputs": {name: array.shape for name, array in feeds.items()},
            "threads": session.num_threads,
            "flops": plan.flops,
            "arena_bytes": plan.arena_bytes,
            "weights_bytes": plan.weights_bytes,
            "steps": steps,
            "estimates": [common.estimates_dict(e) for e in estimates],
        }
        common.print_json(document)
        return 0
    for kind, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        for value in values:
            shape = ", ".join("?" if d is None else str(d) for d in value.shape)
            print(f"{kind} {value.name}: {value.type} [{shape}]")
    if isinstance(session.model, ExportedModel):
        bundle = session.model.bundle
        print(f"exported for {', '.join(bundle.targets)}: {bundle.targets[bundle.chosen]} suits")
    bound = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
    where = "" if args.target == "native" else f" on {target.name}"
    print(f"plan for {bound}, {session.num_threads} threads{where}")
    print(plan.text(times))
    slow = [node for node in plan.nodes if node.backend == "reference"]
    print(
        f"{plan.flops / 1e9:.3f} GFLOP, {len(plan.nodes)} steps,"
        f" {len(slow)} of them on the reference backend"
    )
    if times is not None:
        total = float(times.sum())
        print(f"{common.text_time(total)}, {plan.flops / total / 1e9:.1f} GFLOP/s")
    if estimates:
        common.print_estimates(estimates)
    return 0


def _plan_for(
    target: Target,
    session: InferenceSession,
    feeds: Mapping[str, np.ndarray],
    args: argparse.Namespace,
) -> Plan:
    """A plan that cannot run here."""
    from luthier.graph import lower
    from luthier.model import Model
    from luthier.session import config_chooser, open_records

    model, threads, max_error = session.model, session.num_threads, session.max_error
    if not isinstance(model, Model):
        raise ArgumentError(f"{args.model}: exported for targets of its own")
    choose = config_chooser(
        open_records(args.records or "default"),
        target,
        model=model.digest,
        shapes={name: array.shape for name, array in feeds.items()},
        threads=threads,
        max_error=max_error,
    )
    graph = model.specialise(feeds)
    return lower(graph, choose, threads, max_error=max_error, target=target)


def _estimates(plan: Plan, target: Target, args: argparse.Namespace) -> list[Estimates]:
    """Those that configs of the plan come from."""
    from luthier.session import open_records
    from luthier.tuner import guesser

    guess = guesser(open_records(args.records or "default"), target)
    keys = dict.fromkeys(key for node in plan.nodes for key in node.tasks)
    return [found for found in map(guess, keys) if found is not None]
