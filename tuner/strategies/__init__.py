"""Strategies: which config to try next (ask), given what is known (tell)."""

from __future__ import annotations

from importlib.util import find_spec

from luthier.errors import ArgumentError
from luthier.tuner.strategies.base import Space, Strategy
from luthier.tuner.strategies.local_search import LocalSearch
from luthier.tuner.strategies.random_search import RandomSearch

__all__ = ["STRATEGIES", "LocalSearch", "RandomSearch", "Space", "Strategy", "strategy_class"]

STRATEGIES = ("bayes", "local", "random")


def strategy_class(name: str) -> tuple[type[Strategy], str]:
    """The class of a strategy's name, and a notice if another had to take its place.

    ``bayes`` needs scikit-optimize, which is imported only now; without it, ``local`` it is.

    Raises
    ------
    ArgumentError
        There is no such strategy.
    """
    if name == "random":
        return RandomSearch, ""
    if name == "local":
        return LocalSearch, ""
    if name != "bayes":
        raise ArgumentError(f"unknown strategy {name!r}, choose from: {', '.join(STRATEGIES)}")
    if find_spec("skopt") is None:
        return LocalSearch, "scikit-optimize is not installed: local search instead of bayes"
    from luthier.tuner.strategies.bayes import BayesSearch

    return BayesSearch, ""
