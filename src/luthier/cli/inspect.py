"""``luthier inspect``: the plan of a model, which is the answer to "why is this slow"."""

from __future__ import annotations

import argparse

from luthier.cli import common

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
        help="plan for a profile of this architecture instead (see luthier cpu --targets)",
    )
    common.add_shapes(parser)
    common.add_threads(parser)
    common.add_records(parser)
    common.add_max_error(parser)
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from luthier.exported import ExportedModel
    from luthier.feeds import example_feeds
    from luthier.session import InferenceSession
    from luthier.target import profile

    session = InferenceSession(
        args.model,
        num_threads=args.threads,
        records=args.records or "default",
        target=None if args.target == "native" else profile(args.target),
        max_error=args.max_error,
    )
    feeds = session.check_feeds(example_feeds(session.model, dict(args.shape)))
    plan = session.plan(feeds)
    times = plan.profile(list(feeds.values()), args.repeats) if args.profile else None
    if args.json:
        steps = [asdict(node) for node in plan.nodes]
        for step, seconds in zip(steps, [] if times is None else times.tolist(), strict=False):
            step["seconds"] = seconds
        document = {
            "model": session.model.name,
            "inputs": {name: array.shape for name, array in feeds.items()},
            "threads": session.num_threads,
            "flops": plan.flops,
            "arena_bytes": plan.arena_bytes,
            "weights_bytes": plan.weights_bytes,
            "steps": steps,
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
    print(f"plan for {bound}, {session.num_threads} threads")
    print(plan.text(times))
    slow = [node for node in plan.nodes if node.backend == "reference"]
    print(
        f"{plan.flops / 1e9:.3f} GFLOP, {len(plan.nodes)} steps,"
        f" {len(slow)} of them on the reference backend"
    )
    if times is not None:
        total = float(times.sum())
        print(f"{common.text_time(total)}, {plan.flops / total / 1e9:.1f} GFLOP/s")
    return 0
