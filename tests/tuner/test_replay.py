"""Recorded spaces, and what strategies reach on them."""

from __future__ import annotations

import gzip
import statistics
from pathlib import Path

import doubles
import pytest

from luthier.errors import RecordError
from luthier.tuner import Database, Device, LocalMeasurer, Task, tune
from luthier.tuner.recorded import RecordedSpace, load_space, record_space, save_space
from luthier.tuner.replay import ReplayMeasurer, main, reached

FOLDER = Path(__file__).parents[1] / "data" / "replay"
FILES = sorted(FOLDER.glob("*.jsonl.gz"))
SEARCHED = [FOLDER / f"{name}.jsonl.gz" for name in ("conv1x1", "conv3x3", "gemm_square", "stem")]
"""Large ones of several kinds, which take a while to search."""


@pytest.fixture
def recorded(measurer: LocalMeasurer, device: Device) -> RecordedSpace:
    return record_space(measurer, doubles.Workload("gemm/wrong=1"), device)


def test_recording_keeps_every_outcome(recorded: RecordedSpace) -> None:
    plain = doubles.space("gemm", doubles.Workload("gemm"))
    assert recorded.configs == plain.configs
    wrong = [c for c, o in zip(recorded.configs, recorded.outcomes, strict=True) if o == "wrong"]
    assert wrong == [c for c in plain.configs if c["mr"] == 1]
    best = min(doubles.seconds(c) for c in plain.configs if c["mr"] != 1)
    expected = best / doubles.seconds(plain.default)
    assert recorded.optimum == pytest.approx(expected, rel=0.02)


def test_a_file_holds_the_same(recorded: RecordedSpace, tmp_path: Path) -> None:
    path = tmp_path / "space.jsonl.gz"
    save_space(path, recorded)
    assert load_space(path) == recorded
    first = path.read_bytes()
    save_space(path, recorded)
    assert path.read_bytes() == first


def test_a_bad_file_is_one_clear_error(recorded: RecordedSpace, tmp_path: Path) -> None:
    path = tmp_path / "space.jsonl.gz"
    save_space(path, recorded)
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    for at, bad in ((0, b"{}\n"), (2, b"[[0, 0, 0, 99], 1.0]\n"), (3, b"nonsense\n")):
        broken = [*lines[:at], bad, *lines[at + 1 :]]
        path.write_bytes(gzip.compress(b"".join(broken)))
        with pytest.raises(RecordError) as error:
            load_space(path)
        assert str(error.value).startswith(f"{path}:{at + 1}: ")
    path.write_bytes(b"not gzip")
    with pytest.raises(RecordError, match="gzip"):
        load_space(path)


def test_a_run_over_a_recording(
    recorded: RecordedSpace, database: Database, device: Device
) -> None:
    workload = doubles.Workload(recorded.header.workload)
    measurer = ReplayMeasurer([recorded])
    report = tune([Task(workload)], database, device, measurer=measurer, level="exhaustive")
    assert report.tasks[0].statuses["wrong"] == 24
    assert report.tasks[0].ratio == recorded.optimum


def test_there_are_recordings() -> None:
    assert set(SEARCHED) < set(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name.split(".")[0])
def test_recordings_are_sound(path: Path) -> None:
    space = load_space(path)
    keys = {tuple(sorted(c.items())) for c in space.configs}
    assert len(keys) == len(space.configs) == len(space.outcomes) >= 10
    assert space.default in space.configs
    assert 0 < space.optimum <= 1
    assert path.stat().st_size < 200_000


@pytest.mark.parametrize(("strategy", "seeds"), [("bayes", 1), ("local", 5)])
def test_a_strategy_comes_near_the_optimum(strategy: str, seeds: int) -> None:
    """Nearer than chance would have it."""
    spaces = [load_space(path) for path in SEARCHED]
    found, chance = (
        [reached(s, name, trials=50, seed=seed)[-1] for s in spaces for seed in range(count)]
        for name, count in ((strategy, seeds), ("random", 20))
    )
    assert statistics.mean(found) > statistics.mean(chance)
    assert statistics.mean(found) > 0.95


def test_the_comparison_is_printed(
    recorded: RecordedSpace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_space(tmp_path / "space.jsonl.gz", recorded)
    main([str(tmp_path), "--strategies", "random,local", "--trials", "96", "--seeds", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("gemm/wrong=1: 120 configs")
    assert [line.split()[0] for line in lines[-2:]] == ["random", "local"]
    with pytest.raises(SystemExit, match="no recorded spaces"):
        main([str(tmp_path / "nowhere")])
