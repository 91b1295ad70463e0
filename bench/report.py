"""Results of `luthier bench` as a table, as JSON and as a web page."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from luthier.errors import ArgumentError

__all__ = ["COLUMNS", "document", "require_jinja", "rows", "write_html", "write_json"]

COLUMNS = ["model", "threads", "engine", "median ms", "p90 ms", "GFLOP/s", "time ratio", "answers"]


def document(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is written: the results, and what they were measured with."""
    return {
        "luthier": version("luthier"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "results": list(results),
    }


def rows(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    """One row an engine, under `COLUMNS`. The time ratio is to luthier: above 1 is slower."""
    return [
        (
            result["model"],
            result["threads"],
            engine["name"],
            f"{engine['median'] * 1e3:.3f}",
            f"{engine['p90'] * 1e3:.3f}",
            f"{engine['gflops']:.1f}",
            f"{engine['ratio']:.3f}",
            engine["reason"] or "agree",
        )
        for result in document["results"]
        for engine in result["engines"]
    ]


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write the document."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


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
    page = environment.from_string(template.read_text(encoding="utf-8")).render(document)
    path.write_text(page, encoding="utf-8")
