"""docs/performance.md and its charts, from results that were measured before."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from luthier.bench.reasons import REASONS
from luthier.bench.report import best_peer, summary_lines

__all__ = ["text", "write"]

GOOD_SHARE = 0.7
"""Layers under this share of their roof are listed, with the reason."""
LEAST_TIME = 0.005
"""Layers with less than this share of the model's time are not."""
COLORS = {
    "luthier": "#1b7f5c",
    "untuned": "#8fc7b1",
    "onnxruntime": "#c9603a",
    "openvino": "#4a6fa5",
}
COLORS |= {"ncnn": "#b39b3d", "numpy": "#4a6fa5", "torch": "#c9603a"}

Results = dict[str, Any]


def read(folder: Path) -> Results:
    """The results in a folder; what is missing is empty."""
    found: Results = {}
    for name in ("models", "gemms", "layers"):
        path = folder / f"{name}.json"
        found[name] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def write(folder: Path) -> Path:
    """Write the page beside the folder of results, and the charts into it.

    Returns
    -------
    Path
        Of the page: ``docs/performance.md`` for ``docs/performance``.
    """
    results = read(folder)
    _charts(results, folder)
    path = folder.with_suffix(".md")
    path.write_text(text(results, folder.name), encoding="utf-8")
    return path


def text(results: Results, folder: str) -> str:
    """The page in Markdown; charts are in `folder`."""
    models, gemms, layers = results["models"], results["gemms"], results["layers"]
    parts = [INTRODUCTION]
    if models:
        parts += [
            _machine(models),
            "## Models",
            f"![Time beside other engines]({folder}/models.svg)",
        ]
        parts += [_models_table(models, t) for t in _threads(models["results"])]
        parts += ["\n".join(f"- {line}" for line in summary_lines(models)), _absent(models)]
        parts += ["## Memory", MEMORY, _memory_table(models)]
    if gemms:
        parts += ["## Matrix products", GEMMS, f"![Matrix products]({folder}/gemms.svg)"]
        parts += [_gemms_table(gemms["rows"], t) for t in _threads(gemms["rows"])]
    if layers:
        parts += ["## Layers", LAYERS, f"![Layers]({folder}/layers.svg)"]
        parts += [_layers_part(model) for model in layers["models"]]
    return "\n\n".join(part for part in parts if part) + "\n"


INTRODUCTION = """# Performance

`make performance` measures all of this and writes the page. Times are medians of interleaved
bursts, every engine in a process of its own that is stopped while others run
([ADR 0006](adr/0006-benchmarks-stop-idle-engines.md)); float32. A ratio is a peer's time over
luthier's, the median over rounds with its 95 % interval: above 1, luthier is faster."""

MEMORY = """Most memory that a fresh process held, beyond what it held before it loaded the engine:
code, weights and activations. One thread, MiB."""

GEMMS = """Called from Python, into an array that is there. luthier's right side is packed before,
as weights are in a model."""

LAYERS = f"""One thread. A layer takes at least the time of its multiply-adds at the measured peak,
and at least that of moving its tensors once at the bandwidth measured for buffers of that size; the
greater is its roof. Winograd convolutions need fewer multiplications and may pass it. Listed are
the layers under {GOOD_SHARE:.0%} of it that take more than
{LEAST_TIME:.1%} of the model's time."""


def _machine(models: Results) -> str:
    versions = {e["name"]: e["version"] for r in models["results"] for e in r["engines"]}
    engines = ", ".join(f"{n} {v}" for n, v in versions.items() if n != "untuned")
    machine = f"{models['cpu']}, {models['cores']} cores, {models['system']}"
    return f"{machine}; {engines}; {models['date']}."


def _threads(results: Iterable[Results]) -> list[int]:
    return sorted({r["threads"] for r in results})


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _names(results: Iterable[Results]) -> list[str]:
    """Engines in the order of their first appearance."""
    return list(dict.fromkeys(e["name"] for r in results for e in r["engines"]))


def _engine(result: Results, name: str) -> Results | None:
    return next((e for e in result["engines"] if e["name"] == name), None)


def _models_table(models: Results, threads: int) -> str:
    results = [r for r in models["results"] if r["threads"] == threads]
    names = _names(models["results"])
    rows = []
    for result in results:
        cells = []
        for name in names:
            engine = _engine(result, name)
            cells.append(_milliseconds(engine) if engine else "none")
        peer = best_peer(result)
        best = f"{peer['ratio']:.2f} ({peer['lo']:.2f} to {peer['hi']:.2f})" if peer else ""
        rows.append([result["model"], *cells, best])
    title = f"Milliseconds on {threads} thread{'s' if threads > 1 else ''}:"
    return f"{title}\n\n{_table(['model', *names, 'best peer / luthier'], rows)}"


def _milliseconds(engine: Results) -> str:
    return f"{engine['median'] * 1e3:.2f}" + (" (wrong)" if engine["differs"] else "")


def _absent(models: Results) -> str:
    reasons = {
        f"{r['model']}: {reason}": None
        for r in models["results"]
        for reason in r["absent"].values()
    }
    return "Did not run: " + "; ".join(reasons) + "." if reasons else ""


def _memory_table(models: Results) -> str:
    names = [n for n in _names(models["results"]) if n != "untuned"]
    rows = []
    for result in models["results"]:
        if result["threads"] == 1:
            found = (_engine(result, n) for n in names)
            cells = [f"{e['memory'] / 2**20:.0f}" if e and e["memory"] else "" for e in found]
            rows.append([result["model"], *cells])
    return _table(["model", *names], rows)


def _gemms_table(rows: Sequence[Results], threads: int) -> str:
    names = _names(rows)
    lines = []
    for row in (r for r in rows if r["threads"] == threads):
        found = (_engine(row, name) for name in names)
        cells = [f"{e['gflops']:.0f}" if e else "none" for e in found]
        peer = best_peer(row)
        ratio = f"{peer['ratio']:.2f} ({peer['lo']:.2f} to {peer['hi']:.2f})" if peer else ""
        m, n, k = row["shape"]
        lines.append([row["name"], f"{m} x {n} x {k}", *cells, ratio])
    title = f"GFLOP/s on {threads} thread{'s' if threads > 1 else ''}:"
    return f"{title}\n\n{_table(['product', 'M x N x K', *names, 'best peer / luthier'], lines)}"


def _layers_part(model: Results) -> str:
    layers, roofs = model["layers"], model["roofs"]
    total = sum(row["seconds"] for row in layers)
    good = sum(row["seconds"] for row in layers if row["share"] >= GOOD_SHARE)
    attained = sum(row["seconds"] * row["share"] for row in layers)
    slow = [
        [
            row["node"],
            row["kind"],
            f"{row['seconds'] * 1e6:.0f}",
            f"{row['seconds'] / total:.1%}",
            row["bound"],
            f"{row['share']:.0%}",
            REASONS.get(row["kind"], "not explained yet"),
        ]
        for row in sorted(layers, key=lambda row: -row["seconds"])
        if row["share"] < GOOD_SHARE and row["seconds"] >= LEAST_TIME * total
    ]
    head = (
        f"### {model['model']}\n\n{total * 1e3:.2f} ms in {len(layers)} layers,"
        f" {attained / total:.0%} of the roof; {good / total:.0%} of the time is in layers at"
        f" {GOOD_SHARE:.0%} or more."
        f" The peak is {roofs['flops'] / 1e9:.0f} GFLOP/s."
    )
    columns = ["layer", "kind", "us", "of time", "bound", "of roof", "why"]
    return f"{head}\n\n{_table(columns, slow)}" if slow else head


def _charts(results: Results, folder: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "luthier", "svg.fonttype": "none", "font.size": 9}
    if results["models"]:
        _models_chart(results["models"]["results"], folder / "models.svg")
    if results["gemms"]:
        _gemms_chart(results["gemms"]["rows"], folder / "gemms.svg")
    if results["layers"]:
        _layers_chart(results["layers"]["models"], folder / "layers.svg")


def _figure(count: int, height: float) -> tuple[Any, list[Any]]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(count, 1, figsize=(9, height * count), squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot

    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _bars(ax: Any, rows: Sequence[Results], labels: Sequence[str], key: str) -> None:
    """Groups of bars: for each row one an engine."""
    names = _names(rows)
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        found = [_engine(row, name) for row in rows]
        heights = [e[key] if e and not e["differs"] else 0 for e in found]
        places = [at + (i - (len(names) - 1) / 2) * width for at in range(len(rows))]
        ax.bar(places, heights, width, label=name, color=COLORS.get(name, "#888"))
    ax.set_xticks(range(len(rows)), labels, rotation=20, ha="right")
    ax.legend(ncols=len(names), frameon=False, loc="upper left", bbox_to_anchor=(0, 1.12))


def _models_chart(results: Sequence[Results], path: Path) -> None:
    threads = _threads(results)
    figure, axes = _figure(len(threads), 3.4)
    for ax, count in zip(axes, threads, strict=True):
        rows = [r for r in results if r["threads"] == count]
        _bars(ax, rows, [r["model"] for r in rows], "ratio")
        ax.axhline(1, color="#444", linewidth=0.7)
        ax.set_ylabel(f"time / luthier's\n{count} thread{'s' if count > 1 else ''}")
    _save(figure, path)


def _gemms_chart(rows: Sequence[Results], path: Path) -> None:
    threads = _threads(rows)
    figure, axes = _figure(len(threads), 3.6)
    for ax, count in zip(axes, threads, strict=True):
        mine = [r for r in rows if r["threads"] == count]
        _bars(ax, mine, [r["name"] for r in mine], "gflops")
        ax.set_ylabel(f"GFLOP/s\n{count} thread{'s' if count > 1 else ''}")
    _save(figure, path)


def _layers_chart(models: Sequence[Results], path: Path) -> None:
    figure, axes = _figure(len(models), 2.2)
    for ax, model in zip(axes, models, strict=True):
        begin = 0.0
        for row in model["layers"]:
            color = COLORS["luthier"] if row["bound"] == "FMA" else COLORS["openvino"]
            width = row["seconds"] * 1e3
            ax.bar(begin, row["share"], width, align="edge", color=color, edgecolor="white", lw=0.3)
            begin += width
        ax.axhline(GOOD_SHARE, color="#444", linewidth=0.7, linestyle=":")
        ax.set(xlabel="ms", ylabel="share of roof", title=model["model"], xlim=(0, begin))
    axes[0].set_title(f"{models[0]['model']} (green: FMA bounds, blue: memory)")
    _save(figure, path)
