"""Records survive whatever happens to their file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from luthier.errors import RecordError
from luthier.tuner.database import Database, Found, default_path
from luthier.tuner.record import (
    Check,
    Costs,
    Device,
    Environment,
    Estimates,
    Guess,
    ModelVerdict,
    Reference,
    Result,
    Start,
    Times,
    Trial,
    Verdict,
    decode,
    encode,
)

CONFIG = {"algo": "direct", "mr": 6}
DEFAULT = {"algo": "im2col", "mr": 4}
KEY = "conv2d/f32/n1c64h56w56/k64r3s3/st1.1/p1.1.1.1/d1.1/g1/epi=bias,relu/t2"
HERE = Device("cpu-1 of board-1", "cpu-1", "neon")
SIBLING = Device("cpu-1 of board-2", "cpu-1", "neon")
COUSIN = Device("cpu-2 of board-3", "cpu-2", "neon")
STRANGER = Device("cpu-3", "cpu-3", "avx2")
VERSIONS = {"kernels": "k1", "space": "s1"}


def ok(ratio: float = 0.5) -> Result:
    return Result(
        "ok",
        times=Times(1e-3, 1e-5, 9e-4, 3, 8, (1e-3, 9e-4, 1.1e-3)),
        reference=Reference(DEFAULT, ratio, ratio * 0.99, ratio * 1.01),
        check=Check(True, 1e-6, 1e-5),
        environment=Environment(1.5e9, 51.5, False, 0.01, (0, 1)),
    )


def trial(sequence: int = 1, device: Device = HERE, ratio: float = 0.5, **fields) -> Trial:
    return Trial(
        **{
            "run": "r1",
            "sequence": sequence,
            "device": device,
            **VERSIONS,
            "workload": KEY,
            "config": {**CONFIG, "kc": sequence},
            "source": "et",
            "result": ok(ratio),
            "costs": Costs(0.08, 0.02),
            "prediction": 0.52,
            "seed": 3,
            **fields,
        }
    )


def verdict(device: Device = HERE, config: dict = CONFIG, won: bool = True, **fields) -> Verdict:
    return Verdict(
        **{
            "run": "r1",
            "sequence": 9,
            "device": device,
            **VERSIONS,
            "workload": KEY,
            "config": config,
            "result": ok(),
            "won": won,
            **fields,
        }
    )


def plan(kept: dict | None = None, **fields) -> ModelVerdict:
    return ModelVerdict(
        run="r1",
        sequence=1,
        device=HERE,
        kernels="k1",
        model="m1",
        shapes={"x": (1, 3, 8, 8)},
        threads=2,
        ratio=0.8,
        lo=0.7,
        hi=0.9,
        kept={KEY: CONFIG} if kept is None else kept,
        **fields,
    )


def start(sequence: int = 1) -> Start:
    return Start(
        run="r1", sequence=sequence, device=HERE, **VERSIONS, workload=KEY, config=CONFIG, seed=3
    )


@pytest.mark.parametrize(
    "record", [trial(), verdict(), plan(), start()], ids=lambda r: type(r).__name__
)
def test_round_trip(record, database: Database) -> None:
    assert decode(encode(record)) == record
    database.append(record)
    assert Database(database.path).records() == [record]
    fields = msgspec.json.decode(encode(record))
    assert fields["kind"] in ("trial", "verdict", "plan", "start")


def test_a_missing_file_is_empty(database: Database) -> None:
    assert database.records() == []
    assert database.lookup(KEY, HERE, **VERSIONS) == Found(None, "default")
    assert not database.path.exists()


BAD = {
    "not JSON": b"hello\n",
    "not UTF-8": b"\xff\xfe\n",
    "an array": b"[1, 2]\n",
    "unknown kind": b'{"kind": "recipe"}\n',
    "missing field": b'{"kind": "start", "run": "r"}\n',
    "wrong type": encode(trial()).replace(b'"sequence":1', b'"sequence":"one"'),
    "unknown status": encode(trial()).replace(b'"status":"ok"', b'"status":"fine"'),
    "ok without times": encode(trial()).replace(b'"times":', b'"tames":'),
    "negative ratio": encode(trial()).replace(b'"ratio":0.5', b'"ratio":-0.5'),
    "infinite ratio": encode(trial()).replace(b'"ratio":0.5', b'"ratio":1e999'),
    "newer version": encode(trial()).replace(b'"kind":', b'"version":2,"kind":'),
    "empty line": b"\n",
    "zeros": b"\0" * 4096 + b"\n",
    "deeply nested": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_reported_and_kept(bad: bytes, database: Database) -> None:
    database.path.write_bytes(encode(start()) + bad + encode(trial()))
    assert database.records() == [start(), trial()]
    assert len(database.problems) == 1
    assert database.problems[0].startswith(f"{database.path}:2: ")
    assert database.prune(best=1) == 1  # the start
    assert database.path.read_bytes() == bad + encode(trial())


def test_a_torn_last_line_does_not_swallow_the_next_record(database: Database) -> None:
    torn = encode(trial(1))[:-30]
    database.path.write_bytes(encode(start()) + torn)
    database.append(trial(2))
    assert database.records() == [start(), trial(2)]
    assert [p.split(":")[1] for p in database.problems] == ["2"]


def test_a_line_without_end_is_read_in_bounded_pieces(database: Database) -> None:
    database.path.write_bytes(b"x" * (3 << 20) + b"\n" + encode(trial()))
    assert database.records() == [trial()]
    before = database.path.read_bytes()
    database.prune()
    assert database.path.read_bytes() == before


def test_another_writer_is_noticed(database: Database) -> None:
    database.append(trial(1))
    assert len(database.records()) == 1
    Database(database.path).append(trial(2))
    assert database.records() == [trial(1), trial(2)]


WRITER = """
import sys
sys.path.insert(0, sys.argv[3])
from test_database import trial
from luthier.tuner.database import Database
database = Database(sys.argv[1])
for i in range(50):
    database.append(trial(i, run=sys.argv[2]))
"""


def test_concurrent_writers_lose_nothing(database: Database) -> None:
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", WRITER, str(database.path)]
    writers = [subprocess.Popen([*command, run, here]) for run in ("a", "b", "c")]
    assert [w.wait() for w in writers] == [0, 0, 0]
    records = database.records()
    assert not database.problems
    for run in ("a", "b", "c"):
        assert [r.sequence for r in records if r.run == run] == list(range(50))


@pytest.mark.parametrize("what", ["folder is a file", "path is a folder", "read only"])
def test_an_unwritable_path_is_one_clear_error(what: str, tmp_path: Path) -> None:
    if what == "folder is a file":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "records.jsonl"
    elif what == "path is a folder":
        path = tmp_path
    else:
        path = Path("/proc/luthier/records.jsonl")
    with pytest.raises(RecordError) as error:
        Database(path).check_writable()
    assert str(error.value).startswith(f"{path}: cannot write: ")
    assert "\n" not in str(error.value)


def test_an_unreadable_path_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot read: Is a directory"):
        Database(tmp_path).records()


def test_recorded_seconds(database: Database) -> None:
    """The latest ones of this very device, kernels and config."""

    def taking(seconds: float, sequence: int = 1, **fields) -> Trial:
        return trial(sequence, result=msgspec.structs.replace(ok(), times=Times(seconds)), **fields)

    others = [taking(0.1, device=SIBLING), taking(0.2, kernels="k0"), taking(0.3, 2)]
    found = []
    for record in (*others, trial(1, result=Result("wrong")), taking(0.4), taking(0.5)):
        database.append(record)
        found.append(database.seconds(KEY, {**CONFIG, "kc": 1}, HERE, kernels="k1"))
    assert found == [None] * 4 + [0.4, 0.5]


def test_ladder(database: Database) -> None:
    database.append(verdict(STRANGER, {"mr": 1}))
    database.append(verdict(COUSIN, {"mr": 2}))
    assert database.lookup(KEY, HERE, **VERSIONS) == Found(None, "default")
    assert database.seeds(KEY, HERE, **VERSIONS, seed=1) == [{"mr": 2}]
    database.append(verdict(SIBLING, {"mr": 3}))
    assert database.lookup(KEY, HERE, **VERSIONS) == Found({"mr": 3}, "core")
    database.append(verdict(HERE, {"mr": 4}))
    assert database.lookup(KEY, HERE, **VERSIONS) == Found({"mr": 4}, "exact")
    assert database.seeds(KEY, HERE, **VERSIONS, seed=1) == [{"mr": 4}, {"mr": 3}, {"mr": 2}]
    assert database.lookup("gemm/other", HERE, **VERSIONS) == Found(None, "default")


def test_a_default_that_won_here_overrides_everything_else(database: Database) -> None:
    database.append(verdict(HERE, {"mr": 4}))
    database.append(verdict(SIBLING, {"mr": 3}))
    database.append(verdict(HERE, DEFAULT, won=False))
    assert database.lookup(KEY, HERE, **VERSIONS) == Found(None, "default")


def test_stale_records_are_counted_and_serve_as_seeds_only(database: Database) -> None:
    database.append(verdict(kernels="k0"))
    database.append(verdict(space="s0"))
    database.append(verdict(STRANGER, kernels="k0"))
    assert database.lookup(KEY, HERE, **VERSIONS) == Found(None, "default")
    assert database.stale(HERE, kernels="k1", spaces={KEY: "s1", "other": "s1"}) == 2
    assert database.seeds(KEY, HERE, **VERSIONS, seed=1) == [CONFIG]


def test_latest_model_verdict_counts(database: Database) -> None:
    arguments = ("m1", {"x": (1, 3, 8, 8)}, 2, HERE)
    assert database.model_verdict(*arguments, kernels="k1") is None
    database.append(plan())
    database.append(plan(kept={}))
    assert database.model_verdict(*arguments, kernels="k1") == plan(kept={})
    assert database.model_verdict(*arguments, kernels="k2") is None
    assert database.model_verdict("m1", {"x": (2, 3, 8, 8)}, 2, HERE, kernels="k1") is None


def test_merge_adds_what_is_new(database: Database, tmp_path: Path) -> None:
    database.append(trial(1))
    other = Database(tmp_path / "other.jsonl")
    for record in (trial(1), trial(2), verdict()):
        other.append(record)
    with other.path.open("ab") as file:
        file.write(b"garbage\n")
    assert database.merge([other.path]) == 2
    assert database.problems == [f"{other.path}:4: JSON is malformed: invalid character (byte 0)"]
    assert database.merge([other.path]) == 0
    assert database.records() == [trial(1), trial(2), verdict()]
    with pytest.raises(RecordError, match="no such file"):
        database.merge([tmp_path / "absent.jsonl"])


def test_prune_keeps_the_best_of_each_key(database: Database) -> None:
    ratios = [0.9, 0.5, 0.7, 0.6]
    for i, ratio in enumerate(ratios):
        database.append(start(i))
        database.append(trial(i, ratio=ratio))
    failed = trial(8, result=Result("crash", "Segmentation fault"))
    for record in (failed, trial(9, SIBLING), verdict(won=False), verdict(), plan({}), plan()):
        database.append(record)
    assert database.prune(best=2) == 9
    kept = [trial(1, ratio=0.5), trial(3, ratio=0.6), trial(9, SIBLING), verdict(), plan()]
    assert database.records() == kept
    assert database.prune(best=2) == 0


def test_a_failing_prune_leaves_the_file_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(4):
        database.append(trial(i))
    before = database.path.read_bytes()

    def fail(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RecordError, match="No space left on device"):
        database.prune(best=1)
    assert database.path.read_bytes() == before
    assert not list(database.path.parent.glob("*.tmp"))


def test_summary(database: Database) -> None:
    for record in (
        start(),
        trial(1),
        trial(2, result=Result("wrong")),
        verdict(),
        trial(3, COUSIN),
    ):
        database.append(record)
    assert database.summary() == {
        HERE.fingerprint: {"start": 1, "trial": 2, "trial.ok": 1, "trial.wrong": 1, "verdict": 1},
        COUSIN.fingerprint: {"trial": 1, "trial.ok": 1},
    }


def test_default_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LUTHIER_RECORDS", str(tmp_path / "mine.jsonl"))
    assert default_path() == tmp_path / "mine.jsonl"
    monkeypatch.delenv("LUTHIER_RECORDS")
    assert default_path().name == "records.jsonl"
    assert "luthier" in default_path().parts


# -- estimates -------------------------------------------------------------------------------------


def estimates(device: Device = HERE, ratio: float = 0.8, **fields) -> Estimates:
    return Estimates(
        **{
            "run": "r1",
            "sequence": 0,
            "device": device,
            **VERSIONS,
            "workload": KEY,
            "best": (Guess({**CONFIG, "kc": 7}, ratio * 1e-3, {"compute": ratio * 1e-3}),),
            "default": Guess(DEFAULT, 1e-3),
            "configs": 40,
            "core": "cpu-1",
            "correlation": 0.8,
            **fields,
        }
    )


def test_estimates_say_how_far_to_trust_them() -> None:
    record = estimates()
    assert decode(encode(record)) == record
    assert record.ratio == pytest.approx(0.8)
    assert record.confidence == "medium"
    assert estimates(COUSIN).confidence == "low"
    assert estimates(correlation=0.4).confidence == "low"


def test_estimates_hold_until_something_is_measured(tmp_path: Path) -> None:
    db = Database(tmp_path / "records.jsonl")
    db.append(estimates(SIBLING))
    db.append(estimates(SIBLING, ratio=0.7))
    guess = {**CONFIG, "kc": 7}
    assert db.lookup(KEY, HERE, **VERSIONS) == Found(guess, "estimated")
    found = db.estimates(KEY, HERE, **VERSIONS)
    assert found is not None and found.ratio == pytest.approx(0.7)
    for other in (COUSIN, STRANGER):
        assert db.lookup(KEY, other, **VERSIONS) == Found(None, "default")
    stale = {**VERSIONS, "kernels": "k2"}
    assert db.lookup(KEY, HERE, **stale) == Found(None, "default")
    assert db.seeds(KEY, HERE, **VERSIONS, seed=0) == [guess]
    assert db.prune() == 1
    assert db.lookup(KEY, HERE, **VERSIONS) == Found(guess, "estimated")
    db.append(verdict(won=False))
    assert db.lookup(KEY, HERE, **VERSIONS) == Found(None, "default")
