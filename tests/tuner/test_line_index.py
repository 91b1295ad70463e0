"""Lines of a record file are found without decoding the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_database import BAD, HERE, KEY, VERSIONS, plan, start, trial, verdict

from luthier.tuner import Database, Found, line_index
from luthier.tuner.line_index import LineIndex
from luthier.tuner.record import Result, encode

OTHER = "gemm/f32/b1m64n64k64/packed/epi=/t1"
RECORDS = (start(), trial(1), verdict(won=False), trial(2), verdict(), plan())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b"".join(map(encode, RECORDS)))
    return path


def found(index: LineIndex, key: str = KEY) -> list:
    return list(index.latest(key, tried=True))


def test_the_latest_come_first(path: Path) -> None:
    index = LineIndex(path)
    assert found(index) == list(reversed(RECORDS[:-1]))
    assert list(index.latest(KEY, tried=False)) == [verdict(), verdict(won=False)]
    assert list(index.latest(KEY, tried=True, decided=False)) == [trial(2), trial(1), start()]
    assert list(index.latest("m1", tried=False)) == [plan()]
    assert found(index, OTHER) == []


def test_only_what_is_asked_for_is_decoded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def counting(line: bytes):
        decoded.append(line)
        return decode(line)

    decode = line_index.decode
    monkeypatch.setattr(line_index, "decode", counting)
    path.write_bytes(path.read_bytes() + encode(verdict(workload=OTHER)))
    database = Database(path)
    assert database.lookup(OTHER, HERE, **VERSIONS) == Found(verdict().config, "exact")
    assert decoded == [encode(verdict(workload=OTHER))]


def test_what_others_append_is_found(path: Path) -> None:
    index = LineIndex(path)
    before = found(index)
    Database(path).append(trial(3))
    assert found(index) == [trial(3), *before]
    assert found(index) == [trial(3), *before]


@pytest.mark.parametrize("size", ["shorter", "as long", "longer"])
def test_a_file_that_was_replaced_is_read_again(path: Path, size: str) -> None:
    index = LineIndex(path)
    assert found(index)
    records = {
        "shorter": [trial(8)],
        "as long": [verdict(won=False), verdict(), *RECORDS[:2], *RECORDS[3:4], plan()],
        "longer": [*RECORDS, trial(8)],
    }[size]
    other = path.with_suffix(".new")
    other.write_bytes(b"".join(map(encode, records)))
    other.replace(path)
    assert found(index) == [r for r in reversed(records) if r != plan()]
    path.unlink()
    assert found(index) == []


def test_a_torn_line_counts_once_it_is_whole(path: Path) -> None:
    index = LineIndex(path)
    whole = encode(trial(3))
    with path.open("ab") as file:
        file.write(whole[:-40])
    before = found(index)
    assert before == list(reversed(RECORDS[:-1]))
    with path.open("ab") as file:
        file.write(whole[-40:-1])
    assert found(index) == [trial(3), *before]  # the end of the file ends the line
    with path.open("ab") as file:
        file.write(b"\n" + encode(trial(4)))
    assert found(index) == [trial(4), trial(3), *before]


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_bad_lines_are_passed_over(path: Path, bad: bytes) -> None:
    before = path.read_bytes()
    path.write_bytes(bad + before + bad)
    assert found(LineIndex(path)) == list(reversed(RECORDS[:-1]))


def test_records_in_another_form_of_json_count(path: Path) -> None:
    """As somebody's script may have written them: spaces, another order, escapes."""
    lines = []
    for record in RECORDS:
        fields = json.loads(encode(record))
        lines.append(json.dumps(dict(reversed(fields.items()))).replace("conv2d/", "conv2d\\u002f"))
    path.write_text("\n".join(lines))
    index = LineIndex(path)
    assert found(index) == list(reversed(RECORDS[:-1]))
    assert list(index.latest("m1", tried=False)) == [plan()]


def test_keys_inside_other_text_do_not_count(path: Path) -> None:
    text = f'"workload":"{OTHER}"'
    failed = trial(5, result=Result("crash", text), source=text[:-1])
    path.write_bytes(encode(failed))
    index = LineIndex(path)
    assert found(index) == [failed]
    assert found(index, OTHER) == []


def test_keys_with_the_same_hash_are_told_apart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_index, "hash", lambda key: 1, raising=False)
    path.write_bytes(encode(trial(1)) + encode(trial(2, workload=OTHER)))
    index = LineIndex(path)
    assert found(index, OTHER) == [trial(2, workload=OTHER)]
    assert found(index) == [trial(1)]
