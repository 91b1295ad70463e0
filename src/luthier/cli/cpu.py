"""``luthier cpu``: what luthier knows of this machine, of a device, or of a profile."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from luthier.cli import common

if TYPE_CHECKING:
    from luthier.target import Target

HELP = "show this CPU: instruction sets, caches, cores, and how records name it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--targets", action="store_true", help="list the profiles instead")
    shown.add_argument("--target", metavar="T", help="show a profile instead")
    shown.add_argument("--device", metavar="D", help="show ssh://[user@]host[:port] instead")
    common.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from luthier.kernels.cpu import native_target, usable_cores
    from luthier.target import profile, profiles

    if args.targets:
        known = [profile(name) for name in profiles()]
        if args.json:
            common.print_json([asdict(t) for t in known])
        else:
            common.print_table(
                ["profile", "arch", "cores", "isa", "features"],
                [(t.name, t.arch, t.cores, t.isa, " ".join(t.features)) for t in known],
            )
        return 0
    usable = None
    if args.target:
        target = profile(args.target)
    elif args.device:
        target = _device(args.device)
    else:
        target, usable = native_target(), usable_cores()
    if args.json:
        more = {"fingerprint": target.fingerprint, "usable_cores": usable}
        common.print_json(asdict(target) | more)
        return 0
    rows = [
        ("name", target.name),
        ("architecture", target.arch),
        *(("cores", str(cluster)) for cluster in target.clusters),
        *([("usable cores", usable)] if usable else []),
        ("kernels", " ".join(target.isas)),
        ("features", " ".join(target.features)),
        *((level, _cache(target, level)) for level in ("l1d", "l2", "l3")),
        ("fingerprint", target.fingerprint),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
    return 0


def _device(address: str) -> Target:
    from luthier.tuner.link import over_ssh
    from luthier.tuner.remote import RemoteMeasurer

    with RemoteMeasurer(over_ssh(address)) as measurer:
        return measurer.target


def _cache(target: object, level: str) -> str:
    size, cores = getattr(target, level), getattr(target, f"{level}_cores")
    if not size:
        return "none, or unknown"
    return f"{size >> 10} KiB" + (f", shared by {cores} cores" if cores > 1 else "")
