"""The numbers of docs/performance.md: measured by one command, written as a page by another.

    python -m luthier.bench.performance measure --records FILE --tune 300 --seconds 20
    python -m luthier.bench.performance render

Measuring goes on where it was interrupted: what ``models.json``, ``gemms.json`` and ``layers.json``
have is not measured again. Every model takes, for each number of threads, the given time of tuning
and about the given time of rounds; so do the matrix products, all of them together tuned at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from luthier.bench import gemms, page, roofline
from luthier.bench.report import label

__all__ = ["Measurement", "main"]

FOLDER = Path("docs/performance")
MODELS = (
    *("zoo:mobilenet_v1", "zoo:mobilenet_v2", "zoo:mobilenet_v3_small", "zoo:shufflenet_v2_x0_5"),
    *("zoo:efficientnet_b0", "zoo:squeezenet1_1", "zoo:resnet18", "zoo:resnet50"),
)
LAYERS = ("zoo:mobilenet_v2", "zoo:resnet18", "zoo:efficientnet_b0")
PEERS = "untuned,onnxruntime,openvino,ncnn"
ROUNDS = 1000
"""More than the time allows."""
PROFILE_RUNS = 50

Call = Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class Measurement:
    """What is measured, for how long, and where it is kept.

    Attributes
    ----------
    folder : Path
        Of the results.
    records : Path
        Of the tuner.
    tune, seconds : float
        Of tuning (0 for none) and of rounds, for each model.
    call : callable
        Runs a command of ``luthier`` and returns what it prints.
    """

    folder: Path
    records: Path
    tune: float
    seconds: float
    call: Call

    def model(self, name: str, threads: int) -> None:
        """Tune one model, and measure it beside its peers."""
        path = self.folder / "models.json"
        done = {(r["model"], r["threads"]) for r in _read(path, "results")}
        if (label(name), threads) in done:
            return
        self._tune(name, threads)
        self.call(
            [
                *("bench", name, "--compare", PEERS, "--threads", str(threads)),
                *("--seconds", str(self.seconds), "--rounds", str(ROUNDS)),
                *("--records", str(self.records), "--json", str(path), "--resume"),
            ]
        )

    def products(self, threads: int, names: Sequence[str] = tuple(gemms.SHAPES)) -> None:
        """Tune all matrix products, and measure each beside NumPy and PyTorch."""
        path = self.folder / "gemms.json"
        rows = _read(path, "rows")
        done = {(row["name"], row["threads"]) for row in rows}
        missing = [name for name in names if (name, threads) not in done]
        if not missing:
            return
        with tempfile.TemporaryDirectory() as folder:
            model = str(gemms.write_model(Path(folder) / "gemms.onnx"))
            self._tune(model, threads)
            steps = self._inspect(model, threads)["steps"]
        configs = {step["workload"]: step["config"] for step in steps}
        share = self.seconds / len(names)
        for name in missing:
            config = configs[gemms.key(gemms.SHAPES[name], threads)]
            rows.append(gemms.compare(name, threads, config, share))
            _write(path, {"rows": rows})

    def layers(self, name: str) -> None:
        """Compare the layers of one model with their roofs, on one thread."""
        path = self.folder / "layers.json"
        models = _read(path, "models")
        if label(name) in {m["model"] for m in models}:
            return
        found = self._inspect(name, 1, "--profile", "--repeats", str(PROFILE_RUNS))
        roofs = roofline.measure_roofs()
        rows = roofline.summarise(found["steps"], found["weights_bytes"], roofs)
        models.append({"model": label(name), "roofs": roofs.as_json(), "layers": rows})
        _write(path, {"models": models})

    def _tune(self, model: str, threads: int) -> None:
        if self.tune:
            times = ("--budget", str(self.tune), "--threads", str(threads))
            self.call(["tune", model, *times, "--records", str(self.records)])

    def _inspect(self, model: str, threads: int, *more: str) -> dict[str, Any]:
        words = ["inspect", model, "--threads", str(threads), "--records", str(self.records)]
        return json.loads(self.call([*words, "--json", *more]))


def _read(path: Path, key: str) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))[key] if path.exists() else []


def _write(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _call(words: Sequence[str]) -> str:
    """Run ``luthier`` in a process of its own; a check that fails is told by the results."""
    done = subprocess.run(
        [sys.executable, "-m", "luthier.cli", *words],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        raise subprocess.CalledProcessError(done.returncode, ["luthier", *words])
    return done.stdout


def _measure(options: argparse.Namespace) -> int:
    options.folder.mkdir(parents=True, exist_ok=True)
    run = Measurement(options.folder, options.records, options.tune, options.seconds, _call)
    steps: list[tuple[str, Callable[[], None]]] = []
    for threads in options.threads:
        for name in options.models:
            what = f"{name}, {threads} threads"
            steps.append((what, partial(run.model, name, threads)))
        steps.append(("matrix products", partial(run.products, threads)))
    for name in options.layers:
        steps.append((f"layers of {name}", partial(run.layers, name)))
    failed = 0
    for i, (what, step) in enumerate(steps):
        print(f"{i + 1} of {len(steps)}: {what}", file=sys.stderr, flush=True)
        try:
            step()
        except subprocess.CalledProcessError as error:  # it has said why; the others go on
            print(f"  {error}", file=sys.stderr)
            failed = 1
    return failed


def _render(options: argparse.Namespace) -> int:
    print(page.write(options.folder))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="luthier.bench.performance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    measure = commands.add_parser("measure", help="tune and measure what is not measured yet")
    measure.add_argument("--models", nargs="*", default=MODELS, metavar="MODEL")
    measure.add_argument("--layers", nargs="*", default=LAYERS, metavar="MODEL")
    measure.add_argument("--threads", nargs="*", type=int, default=(1, 2), metavar="N")
    measure.add_argument("--records", type=Path, required=True, metavar="FILE")
    measure.add_argument(
        "--tune", type=float, default=300, metavar="S", help="of each model; 0 for none"
    )
    measure.add_argument(
        "--seconds", type=float, default=20, metavar="S", help="of each model's rounds"
    )
    measure.set_defaults(run=_measure)
    render = commands.add_parser("render", help="write the page and its charts")
    render.set_defaults(run=_render)
    for command in (measure, render):
        command.add_argument("--folder", type=Path, default=FOLDER, help="of the results")
    options = parser.parse_args(argv)
    return options.run(options)


if __name__ == "__main__":
    sys.exit(main())
