"""Candidates are ranked by the time of their layer inside the model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from luthier.tuner import rank_in_place
from luthier.tuner.stats import median_interval

TRUTH = {
    "a": {None: 1.0, 1: 0.9, 2: 0.7, 3: 1.5},
    "b": {None: 2.0, 1: 2.2},
    "c": {None: 0.5},
}


class Model:
    """Layers take the seconds of `TRUTH`, with noise that is common to a run."""

    def __init__(self, configs: Mapping[str, Mapping], rng: np.random.Generator) -> None:
        self.configs, self.rng = configs, rng

    def run(self) -> None:
        raise AssertionError("a ranking needs profiles only")

    def profile(self) -> dict[str, float]:
        slow = float(np.exp(self.rng.normal(0, 0.02)))
        return {
            key: times[self.configs.get(key, {}).get("mr")] * slow for key, times in TRUTH.items()
        }


def ranked(candidates: dict[str, list[dict]], **options):
    rng = np.random.default_rng(0)
    made = []

    def build(configs: Mapping[str, Mapping]) -> Model:
        made.append(dict(configs))
        return Model(configs, rng)

    return rank_in_place(candidates, build, **options), made


def test_each_workload_gets_its_own_best() -> None:
    mrs = [{"mr": 1}, {"mr": 2}, {"mr": 3}]
    found, made = ranked({"a": mrs, "b": mrs[:1]}, seconds=0.05)
    assert made == [
        {},
        {"a": mrs[0], "b": mrs[0]},
        {"a": mrs[1]},
        {"a": mrs[2]},
    ]
    assert found["a"].config == {"mr": 2}
    assert found["a"].ratio == pytest.approx(0.7, rel=0.03)
    assert found["a"].lo <= found["a"].ratio <= found["a"].hi < 1
    assert found["b"].lo > 1


def test_what_the_untuned_model_does_not_have_is_left_out() -> None:
    found, _ = ranked({"a": [{"mr": 1}], "elsewhere": [{"mr": 1}]}, seconds=0.05)
    assert found.keys() == {"a"}


@pytest.mark.parametrize(("tick", "rounds"), [(0.0, 6), (10.0, 5)])
def test_rounds_are_bounded(tick: float, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = []
    whole = Model.profile
    monkeypatch.setattr(Model, "profile", lambda self: (profiles.append(self), whole(self))[1])
    now = itertools.count(0.0, tick)
    ranked({"a": [{"mr": 1}]}, seconds=5.0, most=6, clock=lambda: next(now))
    assert len(profiles) == 2 * rounds


def test_nothing_to_rank() -> None:
    assert ranked({}) == ({}, [])


@pytest.mark.parametrize(("count", "ranks"), [(1, (0, 0)), (5, (0, 4)), (100, (40, 59))])
def test_median_interval(count: int, ranks: tuple[int, int]) -> None:
    assert median_interval(list(range(count))[::-1]) == ranks
