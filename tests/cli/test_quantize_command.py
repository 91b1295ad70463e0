"""``luthier quantize`` as users run it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_model

from luthier.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model, and eight samples in data.npz beside it."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.random((8, 3, 8, 8), np.float32))
    return small_model.write_model(tmp_path / "small.onnx")


def test_report(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = model.parent / "data.npz"
    assert main(["quantize", str(model), "--data", str(data), "--per-tensor"]) == 0
    out = capsys.readouterr().out
    for expected in (
        "SNR dB", "conv ", "matmul", "6 samples to calibrate, 2 held out to judge by",
        "output scores: relative error 0.0", "small.int8.onnx: ",
    ):  # fmt: skip
        assert expected in out
    ops = [n.op_type for n in onnx.load(model.with_suffix(".int8.onnx")).graph.node]
    assert ops.count("QuantizeLinear") == 5 and "Relu" not in ops


def test_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = model.parent / "q.onnx"
    words = ["quantize", str(model), "--data", str(model.parent / "data.npz"), "-o", str(target)]
    options = ["--format", "qoperator", "--method", "entropy", "--exclude", "matmul", "--json"]
    assert main([*words, *options]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["path"] == str(target) and report["bytes_after"] == target.stat().st_size
    assert [layer["node"] for layer in report["layers"]] == ["conv", "pool"]
    assert {o["name"] for o in report["outputs"]} == {"scores", "p"}
    assert "QLinearConv" in [n.op_type for n in onnx.load(target).graph.node]


def test_a_drop_within_bounds(model: Path) -> None:
    """Layers are left in float until the bound holds."""
    data = str(model.parent / "data.npz")
    assert main(["quantize", str(model), "--data", data, "--max-drop", "0.000001"]) == 0
    ops = [n.op_type for n in onnx.load(model.with_suffix(".int8.onnx")).graph.node]
    assert "QuantizeLinear" not in ops


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--data", "nowhere"], "nowhere: expected a folder or a .npz file"),
        (["--data", "data.npz", "-o", "small.onnx"], "small.onnx: the output would overwrite"),
        (["--data", "data.npz", "--exclude", "head"], "no node 'head' to exclude"),
        (["--data", "data.npz", "--max-drop", "3"], "max_drop must be from 0 to 1, got 3.0"),
        (["--data", "data.npz", "--mean", "a,b"], "expected 0.5 or 0.5,0.4,0.3, got 'a,b'"),
        (["--data", "data.npz", "--std", "0"], "std of pixels must be finite and not 0, got 0.0"),
        (["--data", "data.npz", "-o", "no/such/folder.onnx"], "No such file or directory"),
        ([], "required: --data"),
    ],
)
def test_bad_input(
    model: Path,
    words: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(model.parent)
    try:
        code = main(["quantize", "small.onnx", *words])
    except SystemExit as stop:
        code = stop.code
    err = capsys.readouterr().err
    assert code == 2 and err.count("\n") == 1 and reason in err
