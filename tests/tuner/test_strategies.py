"""Every strategy proposes each legal config once, and nothing else."""

from __future__ import annotations

import math

import doubles
import pytest

from luthier.errors import ArgumentError
from luthier.tuner.record import OK, Reference, Result, Times, config_key
from luthier.tuner.strategies import STRATEGIES, LocalSearch, strategy_class

WRONG = Result("wrong", "largest error 3")


def answer(config: dict, seed: int) -> Result:
    """Some result that depends on the config alone; one config in six fails."""
    mark = hash((config_key(config), seed)) % 600
    if mark < 100:
        return WRONG
    ratio = math.exp(mark / 600 - 0.5)
    return Result(OK, times=Times(ratio), reference=Reference(config, ratio, ratio, ratio))


def run(name: str, space: doubles.Space, trials: int, seed: int) -> list[dict]:
    strategy = strategy_class(name)[0](space, trials=trials, seed=seed)
    asked = []
    while len(asked) < trials and (config := strategy.ask()) is not None:
        asked.append(config)
        strategy.tell(config, answer(config, 0))
    return asked


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("seed", range(6))
def test_a_space_is_exhausted_without_repetition(name: str, seed: int) -> None:
    space = doubles.random_space(seed)
    # Two trials over the size of the space: the strategy must end by itself.
    limit = min(len(space.configs) + 2, 45)
    asked = run(name, space, limit, seed)
    keys = [config_key(c) for c in asked]
    assert len(set(keys)) == len(keys) == min(limit, len(space.configs))
    assert set(keys) <= {config_key(c) for c in space.configs}
    assert asked[0] == space.default


@pytest.mark.parametrize("name", STRATEGIES)
def test_equal_seeds_give_equal_runs(name: str) -> None:
    space = doubles.space("gemm", doubles.Workload("gemm"))
    first = run(name, space, 30, seed=3)
    assert first == run(name, space, 30, seed=3)
    assert first != run(name, space, 30, seed=4)


@pytest.mark.parametrize("name", STRATEGIES)
def test_asking_twice_gives_two_configs(name: str) -> None:
    strategy = strategy_class(name)[0](doubles.random_space(1), trials=10)
    assert strategy.ask() != strategy.ask()


@pytest.mark.parametrize("name", STRATEGIES)
def test_first_points_are_default_analytic_transferred(name: str) -> None:
    plain = doubles.space("gemm", doubles.Workload("gemm"))
    analytic, transferred = plain.configs[7], plain.configs[9]
    space = doubles.Space(plain.knobs, plain.configs, plain.default, seeds=(analytic,))
    illegal = {**transferred, "mr": 1000}
    strategy = strategy_class(name)[0](
        space, trials=20, seeds=[illegal, analytic, transferred, {"other": 1}]
    )
    asked = []
    for _ in range(3):
        asked.append((strategy.ask(), strategy.source))
    assert asked == [
        (plain.default, "default"),
        (analytic, "analytic"),
        (transferred, "transfer"),
    ]


@pytest.mark.parametrize("name", STRATEGIES)
def test_told_configs_are_not_asked(name: str) -> None:
    space = doubles.space("gemm", doubles.Workload("gemm"))
    strategy = strategy_class(name)[0](space, trials=40)
    told = space.configs[::2] + space.configs[1::4]
    for config in told:
        strategy.tell(config, answer(config, 0))
    rest = [strategy.ask() for _ in range(len(space.configs) - len(told))]
    assert all(c not in told for c in rest)
    assert strategy.ask() is None


@pytest.mark.parametrize("name", STRATEGIES)
def test_failures_alone_do_not_stop_a_strategy(name: str) -> None:
    space = doubles.space("gemm", doubles.Workload("gemm"))
    strategy = strategy_class(name)[0](space, trials=40)
    asked = []
    for _ in range(40):
        asked.append(strategy.ask())
        strategy.tell(asked[-1], WRONG)
    assert None not in asked


def test_bayes_learns_to_avoid_failures() -> None:
    space = doubles.space("gemm", doubles.Workload("gemm"))
    strategy = strategy_class("bayes")[0](space, trials=45, seed=1)
    failures = []
    for _ in range(45):
        config = strategy.ask()
        failures.append(config["kc"] == 256)  # a third of the space
        ratio = doubles.seconds(config) * 1000
        fine = Result(OK, times=Times(ratio), reference=Reference(config, ratio, ratio, ratio))
        strategy.tell(config, WRONG if failures[-1] else fine)
    assert sum(failures[20:]) < 25 / 3  # random choice would meet as many


def test_bayes_predicts_what_it_learnt() -> None:
    space = doubles.space("gemm", doubles.Workload("gemm"))
    strategy = strategy_class("bayes")[0](space, trials=40, seed=0)
    errors = []
    for _ in range(40):
        config = strategy.ask()
        ratio = doubles.seconds(config) * 1000
        if strategy.prediction is not None:
            errors.append(abs(math.log(strategy.prediction / ratio)))
        strategy.tell(
            config, Result(OK, times=Times(ratio), reference=Reference(config, ratio, ratio, ratio))
        )
    assert len(errors) > 15
    assert sorted(errors)[len(errors) // 2] < 0.1


def test_without_scikit_optimize_local_search_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.tuner.strategies.find_spec", lambda name: None)
    chosen, notice = strategy_class("bayes")
    assert chosen is LocalSearch
    assert "scikit-optimize is not installed" in notice


def test_unknown_strategy() -> None:
    with pytest.raises(ArgumentError, match="unknown strategy 'annealing', choose from: bayes"):
        strategy_class("annealing")
