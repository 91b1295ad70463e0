"""Plans for CPUs that are not there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import small_model

from luthier.cli import main
from luthier.kernels.cpu import native_target

SHAPE = ("--shape", "x=1,3,32,32")
OTHER = "graviton3" if native_target().arch == "x86_64" else "x86-64-v4"


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command with records of its own; returns what it prints."""
    monkeypatch.setenv("LUTHIER_RECORDS", str(tmp_path / "records.jsonl"))

    def run(*words: object) -> str:
        assert main([str(w) for w in words]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model.write_model(tmp_path / "small.onnx")


def test_a_plan_for_another_cpu(call: Callable, model: Path) -> None:
    x86 = native_target().arch == "x86_64"
    target = ("--target", "arm", "--cpu", OTHER) if x86 else ("--target", OTHER)
    out = call("tune", model, *target, *SHAPE)
    assert "2 tasks estimated, not measured; confidence low" in out
    shown = call("inspect", model, "--target", OTHER, *SHAPE)
    assert f"on {OTHER}" in shown and "estimated, not measured; confidence low" in shown
    plan = json.loads(call("inspect", model, "--target", OTHER, *SHAPE, "--json"))
    rungs = {step["workload"]: step["rung"] for step in plan["steps"] if step["workload"]}
    assert set(rungs.values()) == {"estimated"}
    assert {e["workload"] for e in plan["estimates"]} == set(rungs)
    for e in plan["estimates"]:
        (step,) = [s for s in plan["steps"] if s["workload"] == e["workload"]]
        assert step["config"] == e["best"][0]["config"]
        assert sum(e["best"][0]["parts"].values()) == pytest.approx(e["best"][0]["seconds"])
    assert "estimated, not measured" in call("records", "list")
    listed = json.loads(call("records", "list", "--json"))["estimates"]
    assert [len(e["best"]) for e in listed] == [5, 5]


def test_here_estimates_are_used_until_something_is_measured(call: Callable, model: Path) -> None:
    call("tune", model, "--device", "none", *SHAPE, "--threads", 1)
    inspect = ("inspect", model, *SHAPE, "--threads", 1, "--json")
    before = {s["rung"] for s in json.loads(call(*inspect))["steps"] if s["workload"]}
    assert before == {"estimated"}
    words = ("--level", "estimated", "--budget", "3s", *SHAPE, "--threads", 1, "--json")
    tuned = call("tune", model, *words)
    assert all(0 < t["trials"] <= 6 for t in json.loads(tuned)["tasks"])
    after = {s["rung"] for s in json.loads(call(*inspect))["steps"] if s["workload"]}
    assert after <= {"exact", "default"}


def test_a_plan_for_another_cpu_cannot_be_profiled(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(model), "--target", OTHER, "--profile", *SHAPE]) == 2
    assert f"this machine cannot run plans for {OTHER}" in capsys.readouterr().err
