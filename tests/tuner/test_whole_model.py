"""A tuned plan is kept only as far as it makes the whole model faster."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable

import doubles
import numpy as np
import pytest

from luthier.tuner import (
    Comparison,
    Config,
    Database,
    Device,
    Placed,
    Task,
    TaskReport,
    compare,
    judge,
    remember,
)
from luthier.tuner.extract import extract
from luthier.tuner.record import Reference, Result, Times


class Clock:
    """A clock that only runs move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rng = np.random.default_rng(0)
        self.order = ""

    def __call__(self) -> float:
        return self.now

    def run(self, name: str, seconds: float):
        def work() -> None:
            self.order += name
            self.now += seconds * float(np.exp(self.rng.normal(0, 0.02)))

        return work


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.1])
def test_compare(ratio: float) -> None:
    clock = Clock()
    found = compare(clock.run("t", 0.01 * ratio), clock.run("u", 0.01), seconds=2, clock=clock)
    assert found.ratio == pytest.approx(ratio, rel=0.015)
    assert found.lo <= found.ratio <= found.hi
    assert (found.hi < 1) == (ratio == 0.8)
    assert found.tuned == pytest.approx(0.01 * ratio, rel=0.02)
    assert clock.order == "tu" + "tuut" * found.rounds


def test_compare_keeps_to_its_rounds() -> None:
    clock = Clock()
    assert compare(clock.run("t", 9), clock.run("u", 9), seconds=1, clock=clock).rounds == 7
    assert compare(clock.run("t", 1e-6), clock.run("u", 1e-6), clock=clock).rounds == 200


TUNED = {"mr": 6}


def reports(keys: Iterable[str]) -> list[TaskReport]:
    """Tasks with one candidate each."""
    return [
        TaskReport(Task(doubles.Workload(key)), 10, {"mr": 4}, seconds=1e-3, candidates=(TUNED,))
        for key in keys
    ]


class Sum:
    """A model that takes as long as its layers together."""

    def __init__(self, truth: dict[str, float], configs: dict[str, Config]) -> None:
        self.seconds = sum(truth[k] if k in configs else 1.0 for k in truth)

    def run(self) -> float:
        return self.seconds


def judged(bounds: dict[str, float], truth: dict[str, float]):
    """Judge with an exact comparison of models; `bounds` is what the ranking says."""

    def rank(candidates, build, *, seconds):
        assert candidates == dict.fromkeys(bounds, (TUNED,))
        return {key: Placed(TUNED, hi - 0.01, 0.1, hi) for key, hi in bounds.items()}

    def exact(tuned: Callable, untuned: Callable, *, seconds: float) -> Comparison:
        ratio = tuned() / untuned()
        return Comparison(ratio, ratio * 0.99, ratio * 1.01, tuned(), untuned(), 7)

    return judge(reports(bounds), lambda configs: Sum(truth, configs), rank=rank, compare=exact)


def test_everything_that_won_is_kept_if_the_model_is_faster() -> None:
    kept, found = judged({"a": 0.5, "b": 0.8, "c": 1.2}, {"a": 0.5, "b": 0.8, "c": 0.1})
    assert {k: p.config for k, p in kept.items()} == {"a": TUNED, "b": TUNED}
    assert found.ratio == pytest.approx(2.3 / 3)


def test_the_less_certain_half_is_given_up_first() -> None:
    bounds = {"a": 0.5, "b": 0.6, "c": 0.97, "d": 0.98}
    kept, found = judged(bounds, {"a": 0.5, "b": 0.9, "c": 2.0, "d": 2.0})
    assert kept.keys() == {"a", "b"}
    assert found.hi < 1


def test_a_close_call_gets_more_time() -> None:
    spent: list[float] = []

    def noisy(tuned: Callable, untuned: Callable, *, seconds: float) -> Comparison:
        spent.append(seconds)
        width = 0.1 / seconds
        return Comparison(0.95, 0.95 - width, 0.95 + width, 0.95, 1.0, 7)

    def rank(candidates, build, *, seconds):
        return {"a": Placed(TUNED, 0.5, 0.5, 0.5)}

    kept, found = judge(reports("a"), lambda c: Sum({}, c), seconds=1.0, rank=rank, compare=noisy)
    assert (kept.keys(), spent) == ({"a"}, [1.0, 3.0])
    assert found.hi < 1


def test_nothing_is_kept_if_nothing_helps() -> None:
    assert judged({"a": 0.5, "b": 0.6}, {"a": 1.2, "b": 1.2}) == ({}, None)
    assert judged({"a": 1.1}, {"a": 0.5}) == ({}, None)


def test_chains_are_ranked_after_their_members_and_with_them() -> None:
    asked: list[tuple[list[str], dict[str, Config]]] = []
    built: list[dict[str, Config]] = []

    def rank(candidates, build, *, seconds):
        build({key: c[0] for key, c in candidates.items()})
        asked.append((list(candidates), built[-1]))
        return {key: Placed(TUNED, 0.9, 0.8, 1.1 if key == "b" else 0.95) for key in candidates}

    def build(configs: dict[str, Config]) -> Sum:
        built.append(dict(configs))
        return Sum({}, configs)

    def faster(tuned, untuned, *, seconds):
        return Comparison(0.9, 0.8, 0.95, 0.9, 1.0, 7)

    keys = ("chain//a//b", "a", "b")
    kept, found = judge(reports(keys), build, rank=rank, compare=faster)
    assert found.hi < 1
    assert asked == [
        (["a", "b"], {"a": TUNED, "b": TUNED}),
        (["chain//a//b"], {"a": TUNED, "chain//a//b": TUNED}),
    ]
    assert kept.keys() == {"a", "chain//a//b"}


MEMBERS = tuple(map(doubles.Workload, ("int8", "f32")))


@pytest.mark.parametrize(("in_place", "kept"), [(0.9, {"precision", "f32"}), (1.1, {"int8"})])
def test_a_member_that_only_the_other_choice_has(in_place: float, kept: set[str]) -> None:
    """It has the config that won alone, and is kept if the choice is."""
    choice = types.SimpleNamespace(op="precision", key="precision", members=MEMBERS)
    tasks = [TaskReport(Task(w), 10, {"mr": 4}, candidates=(TUNED,)) for w in (choice, *MEMBERS)]
    result = Result("ok", times=Times(1.0), reference=Reference({"mr": 4}, 0.5, 0.4, 0.6))
    tasks[2].verdict = types.SimpleNamespace(won=True, config=TUNED, result=result)
    built: list[dict[str, Config]] = []

    def rank(candidates, build, *, seconds):
        build({key: c[0] for key, c in candidates.items()})
        hi = {"precision": in_place, "int8": 0.95}
        return {key: Placed(TUNED, 0.9, 0.8, hi[key]) for key in candidates if key in hi}

    def build(configs: dict[str, Config]) -> Sum:
        built.append(dict(configs))
        return Sum({}, configs)

    def faster(tuned, untuned, *, seconds):
        return Comparison(0.9, 0.8, 0.95, 0.9, 1.0, 7)

    found, _ = judge(tasks, build, rank=rank, compare=faster)
    assert built[:2] == [
        dict.fromkeys(("int8", "f32"), TUNED),
        dict.fromkeys(("precision", "int8", "f32"), TUNED),
    ]
    assert found.keys() == kept | {"int8"}
    assert found.keys() == {"int8"} or found["f32"].hi == 0.6


def test_the_outcome_is_remembered(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.tuner.whole_model.kernels_hash", lambda: "k1")
    here = Device("f", "c", "neon")
    model = {"model": "m1", "shapes": {"x": (1, 3, 8, 8)}, "threads": 2}
    kept = {key: Placed(TUNED, 0.8, 0.7, 0.9) for key in "ba"}
    comparison = Comparison(0.8, 0.7, 0.9, 1.0, 1.25, 9)
    remember(database, here, **model, kept=kept, comparison=comparison)
    found = database.model_verdict(*model.values(), here, kernels="k1")
    assert (found.kept, found.ratio, found.hi) == ({"a": TUNED, "b": TUNED}, 0.8, 0.9)
    remember(database, here, **model, kept={}, comparison=None)
    found = database.model_verdict(*model.values(), here, kernels="k1")
    assert (found.kept, found.ratio) == ({}, 1)


def test_equal_workloads_are_one_task(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [(f"node{i}", doubles.Workload(key)) for i, key in enumerate("abaca")]
    module = types.SimpleNamespace(tunable_workloads=lambda graph, threads: pairs)
    monkeypatch.setitem(__import__("sys").modules, "luthier.graph", module)
    tasks = extract(None, num_threads=2)
    assert [(t.key, t.weight, t.nodes) for t in tasks] == [
        ("a", 3, ("node0", "node2", "node4")),
        ("b", 1, ("node1",)),
        ("c", 1, ("node3",)),
    ]
