"""Bayesian search: a portfolio of two surrogates of scikit-optimize, with our own candidates.

scikit-optimize fits the models (extra-trees and a Gaussian process on the logarithm of the time
ratio); the next config is chosen here among legal configs that were not tried yet, because the
library's own ``ask`` repeats points and cannot enumerate constraints.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.special import ndtr
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier
from skopt import Optimizer
from skopt.learning import ExtraTreesRegressor, GaussianProcessRegressor
from skopt.space import Categorical, Integer
from threadpoolctl import ThreadpoolController

from luthier.tuner.record import Config
from luthier.tuner.strategies.base import Space, Strategy

__all__ = ["BayesSearch"]

START = 15
"""Trials before the first model."""
CANDIDATES = 1200
"""Random legal configs that the criterion is computed for; neighbours of the best come on top."""
TREES = 60
RANDOM_SHARE = 0.07
REFIT = 12
"""Trials between two fits of the Gaussian process's kernel."""
NEGLIGIBLE = 1e-4
"""An expected improvement (of the logarithm of time) that is not worth a trial."""
DESCENT = 0.75
"""From this share of the trials on, every second trial is a step from the best config."""


class BayesSearch(Strategy):
    """Expected improvement under extra-trees and a Gaussian process in turn.

    The plan of the trials: the default and the seeds; configs spread over the kernels, up to 15;
    then the two models in turn; 7 % are random; in the last quarter every second trial is the
    neighbour of the best config that extra-trees finds most promising (coordinate descent).
    Configs that failed stay out of the regression; a classifier gives the probability that a
    config works, by which the expected improvement is multiplied.

    Parameters
    ----------
    As `Strategy`. Needs scikit-optimize.
    """

    def __init__(
        self, space: Space, *, trials: int, seed: int = 0, seeds: Iterable[Config] = ()
    ) -> None:
        super().__init__(space, trials=trials, seed=seed, seeds=seeds)
        self._names = [name for name, values in space.knobs.items() if len(values) > 1]
        self._dimensions = [_dimension(space.knobs[name]) for name in self._names]
        self._ranks = {
            name: {value: rank for rank, value in enumerate(_ordered(space.knobs[name]))}
            for name in self._names
        }
        # Threads do not pay for such small matrices, and would disturb what is measured.
        self._threads = ThreadpoolController()
        self._gp: Any = None
        self._gp_points = 0
        self._steps = 0

    def _next(self) -> int:
        ok = [i for i, r in self._results.items() if r.ok]
        if len(self._results) < min(START, self.trials // 2) or len(ok) < 3 or not self._names:
            self.source = "spread"
            return self._spread()
        if self.rng.random() < RANDOM_SHARE:
            self.source = "random"
            return self._random()
        self._steps += 1
        late = len(self._results) >= DESCENT * self.trials
        if late and self._steps % 2:
            return self._choose("descent", ok, self._nearest(self._best(1)[0]))
        return self._choose("gp" if self._steps % 4 >= 2 else "et", ok, self._candidates())

    def _candidates(self) -> list[int]:
        found = self.rng.sample(self._unvisited, min(CANDIDATES, len(self._unvisited)))
        for i in self._best(3):
            found += self._nearest(i)
        return sorted(set(found))

    def _choose(self, source: str, ok: list[int], candidates: list[int]) -> int:
        """The candidate of the largest expected improvement; for descent, of the best mean."""
        self.source = source
        with self._threads.limit(limits=1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate posterior only costs a trial
            score, mean = self._score(source, ok, candidates)
        at = int(np.argmax(score))
        self.prediction = math.exp(float(mean[at]))
        return candidates[at]

    def _score(
        self, source: str, ok: list[int], candidates: list[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each candidate the criterion, and the expected logarithm of the time ratio."""
        y = [math.log(self._results[i].ratio or 1.0) for i in ok]
        optimizer = self._fit(source, [self._point(i) for i in ok], y)
        model, space = optimizer.models[-1], optimizer.space
        points = space.transform([self._point(i) for i in candidates])
        mean, std = model.predict(points, return_std=True)
        value = np.exp(-mean)  # the expected speed
        if source != "descent":
            # Where no improvement is expected any more, the speed decides.
            value = _expected_improvement(min(y), mean, std) + NEGLIGIBLE * value
        return value * self._works(space, points), mean

    def _fit(self, source: str, x: list[list[Any]], y: list[float]) -> Optimizer:
        gp = source == "gp"
        if not gp:
            estimator: Any = ExtraTreesRegressor(
                n_estimators=TREES, min_samples_leaf=2, random_state=self.rng.getrandbits(31)
            )
        elif self._gp is None or len(y) >= self._gp_points + REFIT:
            estimator = "GP"
        else:
            estimator = self._gp
        optimizer = Optimizer(
            self._dimensions,
            estimator,
            n_initial_points=1,
            acq_func="EI",
            acq_optimizer="sampling",
            acq_optimizer_kwargs={"n_points": 1},
            model_queue_size=1,
            random_state=self.rng.getrandbits(31),
        )
        optimizer.tell(x, y)
        if estimator == "GP":
            self._gp_points = len(y)
            self._gp = _with_fixed_kernel(optimizer.models[-1])
        return optimizer

    def _works(self, space: Any, points: np.ndarray) -> np.ndarray | float:
        """Probability that a config can be run and answers right."""
        told = list(self._results)
        labels = [self._results[i].ok for i in told]
        if all(labels):
            return 1.0
        classifier = ExtraTreesClassifier(
            n_estimators=TREES // 2, class_weight="balanced", random_state=self.rng.getrandbits(31)
        )
        classifier.fit(space.transform([self._point(i) for i in told]), labels)
        return classifier.predict_proba(points)[:, list(classifier.classes_).index(True)]

    def _point(self, i: int) -> list[Any]:
        """A config in scikit-optimize's terms: ranks of numbers (tile sizes grow by factors)."""
        config = self.space.configs[i]
        return [
            str(config[name])
            if isinstance(dimension, Categorical)
            else self._ranks[name][config[name]]
            for name, dimension in zip(self._names, self._dimensions, strict=True)
        ]


def _expected_improvement(best: float, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Expected improvement of a minimum under a normal posterior.

    Source: D. Jones, M. Schonlau, W. Welch, "Efficient global optimization of expensive black-box
    functions", J. Global Optim. 13 (1998), equation 15.
    """
    std = np.maximum(std, 1e-9)
    z = (best - mean) / std
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return (best - mean) * ndtr(z) + std * density


def _ordered(values: tuple[int | str, ...]) -> list[int | str]:
    return sorted(values, key=lambda v: (isinstance(v, str), v))


def _dimension(values: tuple[int | str, ...]) -> Categorical | Integer:
    if any(isinstance(v, str) for v in values):
        return Categorical([str(v) for v in values])
    return Integer(0, len(values) - 1)


def _with_fixed_kernel(model: GaussianProcessRegressor) -> GaussianProcessRegressor:
    """An unfitted copy that keeps the hyperparameters, noise included: fast to fit."""
    return clone(model).set_params(
        kernel=model.kernel_, optimizer=None, noise=None, alpha=max(model.noise_ or 0.0, 1e-8)
    )
