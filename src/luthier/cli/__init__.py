"""The commands. Exit codes: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from luthier.cli import bench, cpu, export, inspect, quantize, records, run, tune
from luthier.cli.common import complain
from luthier.errors import LuthierError

__all__ = ["main", "main_tune"]

COMMANDS = {
    "tune": tune,
    "run": run,
    "quantize": quantize,
    "export": export,
    "bench": bench,
    "inspect": inspect,
    "records": records,
    "cpu": cpu,
}


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, as every other error."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message} (see {self.prog} --help)")
        raise SystemExit(2)


class _Version(argparse.Action):
    """Reads the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        import luthier

        print(f"luthier {luthier.__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """The console script ``luthier``; returns the exit code."""
    parser = _Parser(prog="luthier", description="Runs ONNX models with kernels tuned to this CPU.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.add_argument("--debug", action="store_true", help="show tracebacks")
    args = parser.parse_args(argv)
    try:
        code = COMMANDS[args.command].run(args)
        sys.stdout.flush()
        return code
    except LuthierError as error:
        if args.debug:
            raise
        complain(str(error))
        return 2
    except BrokenPipeError:  # the reader has seen enough, as in `luthier inspect model | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if args.debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}")
        return 2
    except KeyboardInterrupt:
        complain("interrupted")
        return 130


def main_tune(argv: Sequence[str] | None = None) -> int:
    """The console script ``tune``: ``luthier tune`` under a name of its own."""
    return main(["tune", *(sys.argv[1:] if argv is None else argv)])
