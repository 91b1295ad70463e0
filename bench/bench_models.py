"""pytest-benchmark: whole models beside ONNX Runtime, on one thread."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from luthier.bench.peers import UnavailableError, open_peer
from luthier.bench.rounds import Engine

ROOT = Path(
    os.environ.get("LUTHIER_TEST_MODELS") or Path(__file__).parents[2] / "shared" / "models"
)
MODELS = ("mobilenet_v2_real_ts13", "pplcnet_orientation", "ppocrv4_rec", "yolox_nano")


@pytest.mark.parametrize("engine", ["luthier", "onnxruntime"])
@pytest.mark.parametrize("name", MODELS)
def test_model(benchmark: Any, name: str, engine: str) -> None:
    import luthier
    from luthier.feeds import example_feeds

    path = ROOT / name / "model.onnx"
    if not path.exists():
        pytest.skip(f"no real model {name} in {ROOT} (set LUTHIER_TEST_MODELS)")
    session = luthier.InferenceSession(path, num_threads=1)
    feeds = example_feeds(session.model)
    if engine == "luthier":
        runner = Engine(engine, lambda: session.run(None, feeds))
    else:
        try:
            runner = open_peer(engine, path, feeds, 1)
        except UnavailableError as error:
            pytest.skip(str(error))
    benchmark.group = name
    benchmark(runner.run)
