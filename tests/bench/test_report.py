"""The summary of results."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.bench import report


def engine(name: str, ratio: float, *, differs: bool = False) -> dict[str, Any]:
    times = dict.fromkeys(("median", "p90", "gflops"), 1.0)
    return {
        **times,
        **{"name": name, "ratio": ratio, "lo": ratio, "hi": ratio, "memory": None},
        **{"differs": differs, "disagrees": ["luthier"] if differs else [], "reason": ""},
    }


def result(model: str, threads: int, *engines: dict[str, Any], **absent: str) -> dict[str, Any]:
    own = engine("luthier", 1.0)
    return {"model": model, "threads": threads, "engines": [own, *engines], "absent": absent}


RESULTS = [
    result("a", 1, engine("untuned", 2), engine("ort", 4), engine("ncnn", 0.5, differs=True)),
    result("b", 1, engine("untuned", 0.5), engine("ort", 1), ncnn="ncnn: crashed"),
    result("b", 2, engine("untuned", 1)),
]


def test_summary() -> None:
    one, two = report.summary(RESULTS)
    assert (one["threads"], one["models"]) == (1, 2)
    assert one["engines"] == {
        "untuned": {"ratio": pytest.approx(1), "models": 2},
        "ort": {"ratio": pytest.approx(2), "models": 2},
    }
    assert one["best"] == pytest.approx(2)
    assert (one["worst"], one["worst_model"]) == (1, "b")
    assert (two["threads"], two["best"], two["worst_model"]) == (2, None, None)


def test_engines_that_do_not_run_or_differ_are_shown() -> None:
    document = report.document(RESULTS)
    cells = {(row[0], row[1], row[2]): row[-1] for row in report.rows(document)}
    assert cells["a", 1, "ncnn"] == "differ from luthier"
    assert cells["b", 1, "-"] == "ncnn: crashed"
    assert cells["a", 1, "ort"] == "agree"
    assert all(len(row) == len(report.COLUMNS) for row in report.rows(document))
    assert report.summary_lines(document)[:2] == [
        "threads 1: geometric mean of time ratios: untuned 1.000 (2 models), ort 2.000 (2 models)",
        "threads 1: best peer 2.000, worst for luthier 1.000 (b)",
    ]
