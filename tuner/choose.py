"""From records to the configs of a plan: what `luthier.graph.lower` asks for each workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from luthier.limits import MAX_ERROR
from luthier.tuner.database import Database
from luthier.tuner.device import device_of, kernels_hash
from luthier.tuner.record import Config, Estimates

__all__ = ["Choose", "chooser", "guesser", "timer"]

Choose = Callable[[Any], tuple[Config | None, str]]
"""Workload to (config, rung); a config of None is the built-in default."""


def chooser(
    database: Database | None,
    target: Any,
    *,
    model: str = "",
    shapes: dict[str, tuple[int, ...]] | None = None,
    threads: int = 1,
    only: Mapping[str, Config] | None = None,
    max_error: float = MAX_ERROR,
) -> Choose:
    """The choice of configs for one model.

    Parameters
    ----------
    database : Database or None
        None chooses every default.
    target : luthier.target.Target
    model : str
        Hash of the model file. If a whole-model verdict for these `shapes` and `threads` is in the
        database, just the configs that it kept are used, for they were timed in that model.
    shapes : dict, optional
        Input name to shape.
    threads : int
    only : mapping of str to config, optional
        Configs by workload key to use instead of all that is recorded.
    max_error : float
        Configs whose recorded error is larger are not used.

    Returns
    -------
    callable
        From a workload to ``(config, rung)``, the rung being ``"exact"``, ``"core"``,
        ``"estimated"`` or ``"default"``. A config of None is the built-in default; any other is as
        recorded, and whoever uses it checks that it is legal.
    """
    if database is None:
        return lambda workload: (None, "default")
    device, kernels = device_of(target), kernels_hash()
    if only is None and model:
        verdict = database.model_verdict(model, shapes or {}, threads, device, kernels=kernels)
        only = verdict.kept if verdict else None

    from luthier.kernels.spaces import VERSION, within

    def choose(workload: Any) -> tuple[Config | None, str]:
        if only is not None:
            config = only.get(workload.key)
            rung = "exact"
        else:
            found = database.lookup(workload.key, device, kernels=kernels, space=VERSION)
            config, rung = found.config, found.rung
        if config is None or not within(config, max_error, database.error(workload.key, config)):
            return None, "default"
        return config, rung

    return choose


def guesser(database: Database, target: Any) -> Callable[[str], Estimates | None]:
    """From the key of a workload to the estimates that its config comes from, or None if it is
    another rung's."""
    device, kernels = device_of(target), kernels_hash()

    from luthier.kernels.spaces import VERSION

    def guess(key: str) -> Estimates | None:
        versions = {"kernels": kernels, "space": VERSION}
        found = database.lookup(key, device, **versions)
        return database.estimates(key, device, **versions) if found.rung == "estimated" else None

    return guess


def timer(database: Database, target: Any) -> Callable[[Any, Mapping[str, Any]], float | None]:
    """From a workload and a config to its seconds, if they were recorded on this very device."""
    device, kernels = device_of(target), kernels_hash()

    def seconds(workload: Any, config: Mapping[str, Any]) -> float | None:
        return database.seconds(workload.key, dict(config), device, kernels=kernels)

    return seconds
