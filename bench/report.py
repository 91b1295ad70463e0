"""Results of `luthier bench` as a table, as JSON and as a web page."""

from __future__ import annotations

import datetime
import json
import math
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from luthier.bench.rounds import RTOL
from luthier.errors import ArgumentError
from luthier.kernels.cpu import native_target, usable_cores

__all__ = [
    "COLUMNS",
    "OWN",
    "best_peer",
    "document",
    "label",
    "read_json",
    "require_jinja",
    "rows",
    "summary",
    "summary_lines",
    "write_html",
    "write_json",
]

COLUMNS = [
    *("model", "threads", "engine", "median ms", "p90 ms", "GFLOP/s", "MiB"),
    *("time ratio", "95 %", "answers"),
]
OWN = ("luthier", "untuned")
"""Engines that are no peers."""

Result = dict[str, Any]


def label(model: str) -> str:
    """A model's short name, from its path or ``zoo:NAME``: its file's or, if that says no more
    than "model", its folder's."""
    path = Path(model.removeprefix("zoo:"))
    stem = path.stem if path.suffix == ".onnx" else path.name
    return path.resolve().parent.name if stem == "model" else stem


def document(results: Sequence[Result]) -> dict[str, Any]:
    """What is written: the results, and what they were measured with."""
    return {
        "luthier": version("luthier"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": native_target().name,
        "cores": usable_cores(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "tolerance": RTOL,
        "summary": summary(results),
        "results": list(results),
    }


def rows(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """One row an engine, under `COLUMNS`. The time ratio is to luthier: above 1 is slower.

    Engines that did not run are rows, too, with the reason.
    """
    found = []
    for result in document["results"]:
        name, threads = result["model"], result["threads"]
        for e in result["engines"]:
            times = (f"{e['median'] * 1e3:.3f}", f"{e['p90'] * 1e3:.3f}", f"{e['gflops']:.1f}")
            memory = "" if e["memory"] is None else f"{e['memory'] / 2**20:.0f}"
            ratio = (f"{e['ratio']:.3f}", f"{e['lo']:.3f}..{e['hi']:.3f}")
            found.append((name, threads, e["name"], *times, memory, *ratio, _answers(e)))
        found += [(name, threads, *("-" * 7), why) for why in result["absent"].values()]
    return found


def _answers(engine: Result) -> str:
    if engine["disagrees"]:
        reason = f" ({engine['reason']})" if engine["reason"] else ""
        return f"differ from {', '.join(engine['disagrees'])}{reason}"
    return "agree"


def best_peer(result: Result) -> Result | None:
    """The fastest other engine whose answers are luthier's; None if there is none."""
    peers = [e for e in result["engines"] if e["name"] not in OWN and not e["differs"]]
    return min(peers, key=lambda e: e["ratio"], default=None)


def summary(results: Sequence[Result]) -> list[dict[str, Any]]:
    """For each number of threads, geometric means over models.

    Returns
    -------
    list of dict
        threads; models (how many ran); engines (name to geometric mean of the time ratio, and the
        number of models that it is of: those with luthier's answers); best (geometric mean of the
        best peer's time ratio), worst (its smallest one) and worst_model, None without a peer.
    """
    found = []
    for threads in sorted({r["threads"] for r in results}):
        mine = [r for r in results if r["threads"] == threads and r["engines"]]
        ratios: dict[str, list[float]] = {}
        for engine in (e for r in mine for e in r["engines"] if not e["differs"]):
            ratios.setdefault(engine["name"], []).append(engine["ratio"])
        best = {r["model"]: peer["ratio"] for r in mine if (peer := best_peer(r))}
        worst = min(best, key=lambda model: best[model]) if best else None
        found.append(
            {
                "threads": threads,
                "models": len(mine),
                "engines": {
                    name: {"ratio": _geometric_mean(values), "models": len(values)}
                    for name, values in ratios.items()
                    if name != "luthier"
                },
                "best": _geometric_mean(list(best.values())) if best else None,
                "worst": best[worst] if worst else None,
                "worst_model": worst,
            }
        )
    return found


def summary_lines(document: dict[str, Any]) -> list[str]:
    """The summary in words."""
    lines = []
    for s in document["summary"]:
        if not s["engines"]:
            continue
        parts = [f"{n} {e['ratio']:.3f} ({e['models']} models)" for n, e in s["engines"].items()]
        lines.append(f"threads {s['threads']}: geometric mean of time ratios: {', '.join(parts)}")
        if s["best"] is not None:
            lines.append(
                f"threads {s['threads']}: best peer {s['best']:.3f},"
                f" worst for luthier {s['worst']:.3f} ({s['worst_model']})"
            )
    return lines


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write the document."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises
    ------
    ArgumentError
        The file is something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        known = isinstance(document["results"], list)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ArgumentError(f"{path}: not written by luthier bench")
    return document


def require_jinja() -> Any:
    """The module jinja2.

    Raises
    ------
    ArgumentError
        It is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise ArgumentError("--report needs Jinja2: pip install luthier[bench]") from None
    return jinja2


def write_html(document: dict[str, Any], path: Path) -> None:
    """Write one page that needs no other file."""
    jinja2 = require_jinja()
    template = Path(__file__).with_name("templates") / "report.html"
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    lines = summary_lines(document)
    page = environment.from_string(template.read_text(encoding="utf-8"))
    path.write_text(page.render(document, lines=lines), encoding="utf-8")
