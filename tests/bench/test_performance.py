"""The performance page: what is measured when, and what is written of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier.bench import gemms, page, roofline
from luthier.bench.performance import Measurement, main
from luthier.bench.roofline import Roofs


def engine(name: str, ratio: float, *, differs: bool = False) -> dict[str, Any]:
    return {
        **{"name": name, "version": "1", "median": ratio / 1e3, "gflops": 100 / ratio},
        **{"ratio": ratio, "lo": ratio - 0.1, "hi": ratio + 0.1, "differs": differs},
        "memory": 64 << 20,
    }


def result(threads: int) -> dict[str, Any]:
    engines = [
        engine("luthier", 1),
        engine("onnxruntime", 2),
        engine("openvino", 0.5, differs=True),
    ]
    absent = {"ncnn": "ncnn: crashed"}
    return {"model": "tiny", "threads": threads, "engines": engines, "absent": absent}


def layer(node: str, share: float, seconds: float = 1e-4) -> dict[str, Any]:
    return {"node": node, "kind": "conv 1x1", "seconds": seconds, "bound": "FMA", "share": share}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Results of everything."""
    models = {
        **{"cpu": "Z80", "cores": 2, "system": "CP/M", "date": "today"},
        "results": [result(1), result(2)],
        "summary": [],
    }
    product = {"name": "small", "shape": [2, 3, 4], "threads": 1, "absent": {}}
    product["engines"] = [engine("luthier", 1), engine("numpy", 4)]
    rows = [layer("slow", 0.4), layer("fast", 0.9), layer("short", 0.1, 1e-8)]
    roofs = Roofs(1e11, {1024: 1e11}).as_json()
    found = {
        "models": models,
        "gemms": {"rows": [product]},
        "layers": {"models": [{"model": "tiny", "roofs": roofs, "layers": rows}]},
    }
    folder = tmp_path / "performance"
    folder.mkdir()
    for name, content in found.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def test_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(page.REASONS, "conv 1x1", "because")
    path = page.write(folder)
    assert path == folder.with_suffix(".md")
    text = path.read_text()
    assert "Z80, 2 cores, CP/M; luthier 1, onnxruntime 1, openvino 1; today." in text
    assert "Milliseconds on 2 threads:" in text
    assert "| tiny | 1.00 | 2.00 | 0.50 (wrong) | 2.00 (1.90 to 2.10) |" in text
    assert "Did not run: tiny: ncnn: crashed." in text
    assert "| tiny | 64 | 64 | 64 |" in text
    assert "| small | 2 x 3 x 4 | 100 | 25 | 4.00 (3.90 to 4.10) |" in text
    assert "| slow | conv 1x1 | 100 | 50.0% | FMA | 40% | because |" in text
    assert "fast" not in text.split("## Layers")[1].split("layers,")[1]
    assert "short" not in text
    for name in ("models", "gemms", "layers"):
        assert f"(performance/{name}.svg)" in text
        assert (folder / f"{name}.svg").read_text().startswith("<?xml")


def test_the_same_results_make_the_same_page(folder: Path) -> None:
    def written() -> list[bytes]:
        path = page.write(folder)
        return [p.read_bytes() for p in (path, *sorted(folder.glob("*.svg")))]

    assert written() == written()


def test_a_page_of_nothing(tmp_path: Path) -> None:
    assert main(["render", "--folder", str(tmp_path / "none")]) == 0
    assert (tmp_path / "none.md").read_text().startswith("# Performance")


class Luthier:
    """Stands for the command line: notes what it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[list[str]] = []

    def __call__(self, words: Sequence[str]) -> str:
        self.calls.append(list(words))
        if words[0] == "bench":
            path = Path(words[words.index("--json") + 1])
            known = json.loads(path.read_text())["results"] if path.exists() else []
            threads = int(words[words.index("--threads") + 1])
            rows = [*known, {"model": words[1].removeprefix("zoo:"), "threads": threads}]
            path.write_text(json.dumps({"results": rows}))
        if words[0] == "inspect":
            key = gemms.key(gemms.SHAPES["M = 1"], 1)
            steps = [{"workload": key, "config": {"chosen": 1}}]
            return json.dumps({"steps": steps, "weights_bytes": 4})
        return ""


def test_measuring_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Luthier(tmp_path)
    run = Measurement(tmp_path, tmp_path / "r.jsonl", tune=60, seconds=5, call=call)
    run.model("zoo:a", 1)
    assert [words[:2] for words in call.calls] == [["tune", "zoo:a"], ["bench", "zoo:a"]]
    assert call.calls[0][2:6] == ["--budget", "60", "--threads", "1"]
    run.model("zoo:a", 1)
    assert len(call.calls) == 2  # is there
    run.model("zoo:a", 2)
    assert len(call.calls) == 4

    compared: list[tuple[Any, ...]] = []

    def compare(name: str, threads: int, config: Any, seconds: float) -> dict[str, Any]:
        compared.append((name, threads, config, seconds))
        return {"name": name, "threads": threads}

    monkeypatch.setattr(gemms, "compare", compare)
    run.products(1, ["M = 1"])
    run.products(1, ["M = 1"])
    assert compared == [("M = 1", 1, {"chosen": 1}, 5)]

    monkeypatch.setattr(roofline, "measure_roofs", lambda: Roofs(1.0, {1: 1.0}))
    monkeypatch.setattr(roofline, "summarise", lambda steps, weights, roofs: [weights])
    before = len(call.calls)
    run.layers("zoo:a")
    run.layers("zoo:a")
    assert len(call.calls) == before + 1 and "--profile" in call.calls[-1]
    (model,) = json.loads((tmp_path / "layers.json").read_text())["models"]
    assert (model["model"], model["layers"]) == ("a", [4])


def test_products_agree() -> None:
    row = gemms.compare("64 x 64 x 64", 1, None, seconds=0.0, rounds=1)
    assert [e["name"] for e in row["engines"]][:2] == ["luthier", "numpy"]
    assert not any(e["disagrees"] for e in row["engines"])


def test_the_model_of_all_products_has_their_workloads(tmp_path: Path) -> None:
    from luthier import InferenceSession
    from luthier.feeds import random_feeds

    small = {"small": (2, 3, 4), "M = 1": (1, 5, 6)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gemms, "SHAPES", small)
        session = InferenceSession(gemms.write_model(tmp_path / "m.onnx"), num_threads=2)
    plan = session.plan(random_feeds(session.model))
    assert {n.workload for n in plan.nodes} == {gemms.key(s, 2) for s in small.values()}
