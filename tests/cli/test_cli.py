"""The commands, run in this process or as users run them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import small_model
from PIL import Image

from luthier.cli import COMMANDS, common, main, main_tune


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in a folder of its own, and records that are nobody else's."""
    monkeypatch.setenv("LUTHIER_RECORDS", str(tmp_path / "records.jsonl"))
    monkeypatch.setenv("LUTHIER_NUM_THREADS", "1")
    return small_model.write_model(tmp_path / "small.onnx")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((1, 3, 8, 8), np.float32)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command; returns exit code, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = main([str(w) for w in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def one_error(result: tuple[int, str, str]) -> str:
    """The message of a command that failed on bad input, as all of them should."""
    code, _, err = result
    assert code == 2
    assert err.startswith("luthier: error: ") and err.count("\n") == 1
    return err


# -- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "required: COMMAND"),
        (("fly",), "invalid choice: 'fly'"),
        (("run", "absent.onnx"), "absent.onnx"),
        (("bench", "m.onnx", "--compare", "abacus"), "unknown engines abacus"),
        (("bench", "m.onnx", "--threads", "0"), "expected a positive number, got '0'"),
        (("tune", "m.onnx", "--budget", "soon"), "expected a time such as 90s, 5m or 1h30m"),
        (("run", "m.onnx", "--shape", "x=1,a"), "expected NAME=1,3,224,224"),
        (("tune", "m.onnx", "--device", "moon"), "unknown device 'moon'"),
        (("tune", "m.onnx", "--cpu", "cortex-a72"), "--cpu names the core of --target arm"),
        (("tune", "m.onnx", "--target", "z80"), "unknown target 'z80', choose from"),
    ],
)
def test_bad_command_lines(call: Callable, words: Sequence[str], reason: str) -> None:
    assert reason in one_error(call(*words))


def test_bad_models(call: Callable, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x08 this is no model")
    for command in ("run", "inspect", "tune", "bench"):
        extra = ["--random"] if command == "run" else []
        assert "broken.onnx" in one_error(call(command, path, *extra))


def test_debug_shows_the_error(call: Callable, tmp_path: Path) -> None:
    from luthier import ArgumentError

    with pytest.raises(ArgumentError):
        call("run", tmp_path / "absent.onnx", "--debug")


def test_every_arm_core_cannot_be_estimated(call: Callable, model: Path) -> None:
    from luthier.kernels.cpu import native_target

    if native_target().arch == "aarch64":
        pytest.skip("here `arm` is this machine")
    message = one_error(call("tune", model, "--target", "arm", "--shape", "x=1,3,8,8"))
    assert "--cpu NAME" in message and "--device ssh://user@host" in message


def test_a_core_to_emulate_has_to_be_named(call: Callable, model: Path) -> None:
    message = one_error(call("tune", model, "--device", "qemu", "--shape", "x=1,3,8,8"))
    assert "say which core to emulate, with --cpu NAME" in message


def test_cpu_shows_a_profile(call: Callable) -> None:
    code, out, _ = call("cpu", "--target", "raspberry-pi-4")
    assert code == 0 and "4xcortex-a72.r0p3@1800" in out and "usable" not in out


# -- run -----------------------------------------------------------------------------------------


def test_run_needs_inputs(call: Callable, model: Path) -> None:
    assert "missing inputs: x" in one_error(call("run", model))
    assert "--shape x=" in one_error(call("run", model, "--random"))


@pytest.mark.parametrize("kind", ["npy", "pb"])
def test_run_reads_and_writes_files(
    call: Callable, model: Path, image: np.ndarray, kind: str
) -> None:
    from onnx import numpy_helper

    folder = model.parent
    np.save(folder / "x.npy", image)
    (folder / "x.pb").write_bytes(numpy_helper.from_array(image).SerializeToString())
    code, out, _ = call(
        "run", model, "--input", f"x={folder / 'x'}.{kind}", "--output", folder / "o"
    )
    assert code == 0 and "scores" in out and "[1, 5]" in out
    scores, pooled = small_model.expected(image)
    np.testing.assert_allclose(np.load(folder / "o/output_0.npy"), scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.load(folder / "o/output_1.npy"), pooled, rtol=1e-5, atol=1e-5)


def test_run_reads_pictures(call: Callable, model: Path) -> None:
    folder = model.parent
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "x.png")
    code, _, _ = call("run", model, "--input", f"x={folder}/x.png", "--output", folder / "o")
    assert code == 0
    x = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None] / 255, np.float32)
    scores, _ = small_model.expected(x)
    np.testing.assert_allclose(np.load(folder / "o/output_0.npy"), scores, rtol=1e-4, atol=1e-4)
    (folder / "y.png").write_bytes(b"no picture")
    assert "y.png: not a picture" in one_error(call("run", model, "--input", f"x={folder}/y.png"))


def test_run_random_is_repeatable(call: Callable, model: Path) -> None:
    words = ("run", model, "--random", "--shape", "x=2,3,4,4", "--json", "--seed")
    first, second, other = (json.loads(call(*words, seed)[1]) for seed in (1, 1, 2))
    assert first == second != other
    assert [row["shape"] for row in first] == [[2, 5], [2, 8, 1, 1]]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("y=x.npy", "NAME being one of: x"), ("x=x.txt", "expected a .npy, .pb or .png file")],
)
def test_run_refuses_inputs(call: Callable, model: Path, name: str, reason: str) -> None:
    assert reason in one_error(call("run", model, "--input", name))


def test_check_passes_and_fails(call: Callable, model: Path, image: np.ndarray) -> None:
    folder = model.parent
    good = small_model.write_set(folder / "test_data_set_0", image)
    code, out, _ = call("run", model, "--check", good)
    assert code == 0 and "2 of 2 outputs within 0.0002 of their range" in out
    small_model.write_set(folder / "test_data_set_1", image, error=0.1)
    code, out, _ = call("run", model, "--check", folder)
    assert code == 1 and "3 of 4 outputs within" in out
    assert call("run", model, "--check", model, "--rtol", "1")[0] == 0
    code, out, _ = call("run", model, "--check", folder, "--json")
    rows = json.loads(out)["outputs"]
    assert code == 1 and [row["ok"] for row in rows] == [True, True, False, True]
    assert rows[2]["max_abs"] == pytest.approx(0.1, rel=1e-3)


def test_check_needs_sets(call: Callable, model: Path, image: np.ndarray) -> None:
    assert "no test_data_set folder" in one_error(call("run", model, "--check", model.parent))
    stored = small_model.write_set(model.parent / "test_data_set_0", image)
    (stored / "output_1.pb").unlink()
    assert "expected 2 outputs, found 1 files" in one_error(call("run", model, "--check", stored))


# -- the other commands --------------------------------------------------------------------------


def test_cpu(call: Callable) -> None:
    from luthier.kernels.cpu import native_target

    target = native_target()
    code, out, _ = call("cpu")
    assert code == 0 and target.fingerprint in out
    shown = json.loads(call("cpu", "--json")[1])
    assert shown["isas"] == list(target.isas) and shown["usable_cores"] >= 1
    assert "raspberry-pi-4" in call("cpu", "--targets")[1]


def test_inspect(call: Callable, model: Path) -> None:
    words = ("inspect", model, "--shape", "x=1,3,8,8")
    code, out, _ = call(*words)
    assert code == 0
    assert "input x: tensor(float) [n, 3, h, w]" in out and "conv2d_f32_" in out
    plan = json.loads(call(*words, "--profile", "--repeats", 2, "--json")[1])
    (conv,) = [step for step in plan["steps"] if step["op"] == "Conv"]
    assert conv["workload"].startswith("conv2d/f32/n1c3h8w8/k8r1s1")
    assert conv["rung"] == "default" and conv["seconds"] > 0
    assert plan["flops"] == sum(step["flops"] for step in plan["steps"])


def test_tune_keeps_records_that_sessions_find(call: Callable, model: Path) -> None:
    shape = ("--shape", "x=1,3,32,32")
    words = (model, "--budget", "3s", "--level", "quick", *shape)
    code, out, err = call("tune", *words, "--json")
    result = json.loads(out)
    assert code == 0 and "task 1/2" in err
    assert {t["workload"].split("/")[0] for t in result["tasks"]} == {"conv2d", "gemm"}
    for task in result["tasks"]:
        assert task["trials"] > 0 and task["statuses"].get("wrong", 0) == 0
    rungs = {
        step["workload"]: step["rung"]
        for step in json.loads(call("inspect", model, *shape, "--json")[1])["steps"]
        if step["workload"]
    }
    for task in result["tasks"]:
        assert rungs[task["workload"]] == ("exact" if task["kept"] else "default")
    assert main_tune([str(w) for w in words]) == 0  # goes on from the records


def test_records(call: Callable, model: Path) -> None:
    folder = model.parent
    assert "no tuned kernels yet" in call("records", "list")[1]
    call("tune", model, "--budget", "2s", "--level", "quick", "--shape", "x=1,3,16,16")
    listed = json.loads(call("records", "list", "--json")[1])
    assert len(listed["devices"]) == 1
    assert {v["workload"].split("/")[0] for v in listed["verdicts"]} <= {"conv2d", "gemm"}
    other = folder / "other.jsonl"
    merged = json.loads(
        call("records", "merge", folder / "records.jsonl", "--records", other, "--json")[1]
    )
    assert merged["merge"] == len((folder / "records.jsonl").read_text().splitlines())
    pruned = json.loads(call("records", "prune", "--best", 1, "--records", other, "--json")[1])
    assert 0 < pruned["prune"] < merged["merge"]
    assert "absent" in one_error(call("records", "merge", folder / "absent.jsonl"))


def test_records_that_cannot_be_read_are_named(call: Callable, model: Path) -> None:
    (model.parent / "records.jsonl").write_text("this is no record\n")
    code, _, err = call("records", "list")
    assert code == 0 and "records.jsonl:1: " in err


def test_bench(call: Callable, model: Path) -> None:
    folder = model.parent
    words = [
        *("bench", model, "--shape", "x=1,3,8,8", "--rounds", 1, "--threads", "1,2"),
        *("--compare", "untuned,onnxruntime", "--json", folder / "b.json"),
        *("--report", folder / "b.html", "--max-error", 0),
    ]
    code, out, _ = call(*words)
    assert code == 0 and "GFLOP/s" in out
    assert "threads 2: geometric mean of time ratios: untuned" in out
    document = json.loads((folder / "b.json").read_text())
    assert document["tolerance"] == 1e-3 and document["cpu"]
    assert [r["threads"] for r in document["results"]] == [1, 2]
    assert [r["max_error"] for r in document["results"]] == [0, 0]
    for result in document["results"]:
        names = [engine["name"] for engine in result["engines"]]
        assert names == ["luthier", "untuned", "onnxruntime"]
        for e in result["engines"]:
            assert not e["differs"] and not e["disagrees"]
            assert 0 < e["best"] <= e["median"] <= e["p90"]
            assert e["lo"] <= e["ratio"] <= e["hi"]
            assert e["memory"] is None or e["memory"] > 0
    page = (folder / "b.html").read_text()
    assert "onnxruntime" in page and "{{" not in page

    code, again, _ = call(*words, "--resume")  # finds all done
    assert (code, again) == (0, out)
    assert json.loads((folder / "b.json").read_text())["results"] == document["results"]


def test_bench_resumes_its_own_files_only(call: Callable, model: Path) -> None:
    other = model.with_suffix(".json")
    other.write_text("{}")
    message = one_error(call("bench", model, "--json", other, "--resume"))
    assert "not written by luthier bench" in message
    assert "--resume needs --json FILE" in one_error(call("bench", model, "--resume"))


def test_bench_goes_on_without_an_engine(
    call: Callable, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path)
    code, out, err = call(
        "bench", model, "--shape", "x=1,3,8,8", "--rounds", 1, "--compare", "openvino"
    )
    assert code == 0 and "luthier" in out
    assert err == "luthier: openvino is not installed: pip install openvino\n"
    assert "openvino is not installed" in out.splitlines()[2]


def test_bench_goes_on_after_a_crash(
    call: Callable, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that dies in its second run: when it is timed, not when it is opened."""
    (tmp_path / "onnxruntime.py").write_text(
        "import os\n"
        "class SessionOptions: pass\n"
        "class InferenceSession:\n"
        "    runs = 0\n"
        "    def __init__(self, *_, **__): pass\n"
        "    def run(self, *_):\n"
        "        self.runs += 1\n"
        "        return [] if self.runs < 3 else os._exit(7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ("--shape", "x=1,3,8,8", "--rounds", 1, "--compare", "onnxruntime,untuned")
    code, out, err = call("bench", model, *words)
    assert code == 0
    assert err == "luthier: onnxruntime: crashed (exit code 7)\n"
    engines = [line.split()[2] for line in out.splitlines()[1:4]]
    assert engines == ["luthier", "untuned", "-"]


def test_bench_goes_on_after_a_model(call: Callable, model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x08 this is no model")
    words = ("--shape", "x=1,3,8,8", "--rounds", 1)
    code, out, err = call("bench", broken, model, *words)
    assert code == 2
    assert out.splitlines()[1].startswith("small")
    assert "broken.onnx" in err and err.count("\n") == 1


def test_models_of_the_zoo(call: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, out, _ = call("inspect", "zoo:squeezenet1_1")
    assert code == 0 and "0.698 GFLOP" in out
    assert "no model 'vgg' in the zoo, choose from" in one_error(call("inspect", "zoo:vgg"))


# -- start-up and help ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help(call: Callable, name: str) -> None:
    code, out, _ = call(*filter(None, [name]), "--help")
    assert code == 0 and "usage: luthier" in out


def test_version(call: Callable) -> None:
    import luthier

    assert call("--version") == (0, f"luthier {luthier.__version__}\n", "")


def test_reader_that_has_seen_enough() -> None:
    words = [sys.executable, "-m", "luthier.cli", "cpu", "--targets"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("0.5", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert common.duration(text) == seconds


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    common.print_table(["name", "ms"], [("a", 1.5), ("long name", "10.0")])
    assert capsys.readouterr().out == "name         ms\na           1.5\nlong name  10.0\n"


def test_exported_files(call: Callable, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.luthier"
    export = ("export", model, "--shape", "x=1,3,8,8", "-o", path)
    code, out, _ = call(*export, "--target", "native", "cortex-a53", "--json")
    document = json.loads(out)
    assert code == 0 and document["files"] == {str(path): path.stat().st_size}
    assert {plan["isa"] for plan in document["plans"]} >= {"neon"}
    assert call("run", path, "--random")[0] == 0
    code, out, _ = call("inspect", path)
    assert code == 0 and "exported for " in out and "cortex-a53" in out and "conv2d_f32" in out
    code, out, _ = call("bench", path, "--rounds", 1)
    assert code == 0 and "small.luthier" in out
    for words, reason in (
        (("run", path, "--random", "--shape", "x=1,3,9,9"), "expected float32 [1, 3, 8, 8]"),
        (("run", path, "--random", "--threads", 9), "exported for 1 threads"),
        (("run", path, "--random", "--backend", "reference"), "the native backend alone"),
        (("inspect", path, "--target", "cortex-a53"), "targets of its own"),
        (("bench", path, "--compare", "untuned"), "--compare needs its ONNX model"),
        (("export", path, "-o", tmp_path / "again"), "its ONNX model is needed here"),
        (("tune", path), "its ONNX model is needed here"),
        (("export", model, "-o", path), "give its size, such as --shape x=1,3"),
        ((*export, "--embed"), "--embed needs --standalone"),
        ((*export, "--target", "native", "nowhere"), "unknown target 'nowhere'"),
        ((*export[:-1], tmp_path), "Is a directory"),
        ((*export[:-1], tmp_path / "no" / "file"), "No such file or directory"),
    ):
        assert reason in one_error(call(*words))
