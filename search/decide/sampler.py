"""An Optuna sampler that moves one or two axes of the incumbent, to where a Gaussian process expects most improvement.

The model is that of Snoek, Larochelle and Adams, "Practical Bayesian Optimization of Machine Learning Algorithms"
(2012): a Matérn 5/2 kernel with a length per axis, and expected improvement over the posterior mean at the incumbent,
which suits noisy scores better than the best value seen. Trials in flight count at their expected value.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from search.core.space import Axis, Point, Space, random_move
from search.core.types import Value
from search.decide.transfer import Observation

LENGTHS = (0.15, 0.3, 0.6, 1.2, 3.0, 10.0)  # in units of an axis's range
NOISES = (0.05, 0.15, 0.4, 1.0, 2.5)  # variance of the noise over that of the signal
TWO_AXES_SHARE = 0.2
RANDOM_SHARE = 0.1
VALUES_PER_AXIS = 12
PAIR_CANDIDATES = 120
LARGEST_HISTORY = 400  # trials that the model knows; the latest
FITTED_TO = 120  # of them, that its hyperparameters are fitted to: a suggestion must not keep slots waiting
APART = 0.7  # of two values of a choice, in units of an axis's range; likewise of two codes
WIDER = ((1, 1.0), (2, 1.0), (2, 2.0), (3, 4.0), (5, 16.0))  # axes moved and steps, when all nearer is measured


class GaussianProcess:
    """A Gaussian process whose hyperparameters are fitted by coordinate ascent on the marginal likelihood.

    x: (n, d) in 0…1. y: (n,), any scale. The latest FITTED_TO points decide the hyperparameters; all of them, what is
    predicted.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.mean, self.deviation = float(y.mean()), float(y.std()) or 1.0
        scaled = (y - self.mean) / self.deviation
        self._lengths, self._noise = fitted(x[-FITTED_TO:], scaled[-FITTED_TO:])
        self._x, self._y = x, scaled
        self._condition()

    def expect(self, x: np.ndarray) -> None:
        """Takes in points, (n, d), whose values are not known yet, as if they had the values that it predicts."""
        expected = (self.predict(x)[0] - self.mean) / self.deviation
        self._x, self._y = np.vstack([self._x, x]), np.append(self._y, expected)
        self._condition()

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, each (n,), of the noiseless value at x, (n, d)."""
        cross = self._kernel(x) / (1.0 + self._noise)
        mean = cross @ self._weights
        half = self._whitening @ cross.T
        variance = (1 / (1.0 + self._noise) - (half**2).sum(0)).clip(1e-12)
        return self.mean + self.deviation * mean, self.deviation * np.sqrt(variance)

    def _kernel(self, x: np.ndarray) -> np.ndarray:
        a, b = x / self._lengths, self._x / self._lengths
        return matern((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T)

    def _condition(self) -> None:
        """Conditions on the data, with these hyperparameters."""
        covariance = regularised(self._kernel(self._x), self._noise)
        self._whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        self._weights = self._whitening.T @ (self._whitening @ self._y)


def fitted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """(lengths (d,), noise) of the largest marginal likelihood, with a weak prior, by two rounds of coordinate ascent.

    x: (n, d). y: (n,), of mean 0 and deviation 1. One column at a time changes, and so its part of the distances alone.
    """
    lengths, noise = np.full(x.shape[1], 0.6), 0.4
    apart = [(column[:, None] - column[None]) ** 2 for column in x.T]  # (n, n) each
    square = sum((part / length**2 for part, length in zip(apart, lengths, strict=True)), np.zeros((len(x),) * 2))
    kernel = matern(square)
    best = _evidence(kernel, y, lengths, noise)
    for is_first in (True, False):
        for value in NOISES:
            if (score := _evidence(kernel, y, lengths, value)) > best:
                best, noise = score, value
        for column, part in enumerate(apart):
            rest = square - part / lengths[column] ** 2
            for length in LENGTHS if is_first else neighbours(lengths[column]):
                tried = lengths.copy()
                tried[column] = length
                changed = rest + part / length**2
                if (score := _evidence(matern(changed), y, tried, noise)) > best:
                    best, lengths, square = score, tried, changed
        kernel = matern(square)
    return lengths, noise


def neighbours(length: float) -> list[float]:
    """The next shorter and longer of LENGTHS."""
    at = LENGTHS.index(length)
    return [LENGTHS[other] for other in (at - 1, at + 1) if 0 <= other < len(LENGTHS)]


def matern(square: np.ndarray) -> np.ndarray:
    """Matérn 5/2 of squared distances, in units of the lengths."""
    root = np.sqrt(5 * square.clip(0))
    return (1 + root + root**2 / 3) * np.exp(-root)


def regularised(kernel: np.ndarray, noise: float) -> np.ndarray:
    """The covariance of noisy values, of variance 1."""
    covariance = kernel / (1.0 + noise)
    covariance[np.diag_indices_from(covariance)] += (noise + 1e-6) / (1.0 + noise)
    return covariance


def _evidence(kernel: np.ndarray, y: np.ndarray, lengths: np.ndarray, noise: float) -> float:
    """The log marginal likelihood of these hyperparameters plus a weak prior."""
    augmented = np.empty((len(y) + 1,) * 2)  # the last row of its Cholesky factor solves for y, without another solve
    augmented[:-1, :-1] = regularised(kernel, noise)
    augmented[-1, :-1] = augmented[:-1, -1] = y
    augmented[-1, -1] = 1e12
    factor = np.linalg.cholesky(augmented)
    half = factor[-1, :-1]
    likelihood = -0.5 * half @ half - np.log(np.diag(factor)[:-1]).sum()
    prior = -0.5 * ((np.log(lengths) - math.log(0.8)) ** 2).sum() - 0.5 * (math.log(noise / 0.4) / 1.2) ** 2
    return float(likelihood + prior)


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    z = (mean - best) / deviation
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    below = 0.5 * (1 + np.array([math.erf(v / math.sqrt(2)) for v in z]))
    return (mean - best) * below + deviation * density


class AroundIncumbent(optuna.samplers.BaseSampler):
    """Suggests a point near `incumbent`, by its recipe; set the fields below before each ask.

    seen: keys of points that are never suggested again. pending: points in flight. transferred: observations of the
    codes that this one is an edit of; how much they count, the model finds out, since each other code is a column of
    its own. experiment: its number; the choice depends on it, the seed, the study, what is pending and transferred.
    suggestion is None after an ask for which every point in reach, however wide, was seen.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed
        self.incumbent: Point = {}
        self.seen: set[tuple[Value, ...]] = set()
        self.pending: list[Point] = []
        self.transferred: list[Observation] = []
        self.suggestion: Point | None = None
        self.experiment: int | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self.space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        number = trial.number if self.experiment is None else self.experiment
        rng = random.Random(f"{self.seed} {number}")
        self.suggestion = self._choose(study.get_trials(deepcopy=False), rng)
        return dict(self.suggestion if self.suggestion is not None else self.incumbent)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.incumbent[param_name]

    def _choose(self, trials: Sequence[FrozenTrial], rng: random.Random) -> Point | None:
        moved = 2 if rng.random() < TWO_AXES_SHARE else 1
        for axes, steps in ((moved, 1.0), *WIDER):
            candidates = self._candidates(axes, steps, rng)
            if candidates:
                return self._best(candidates, trials, rng)
        return None

    def _candidates(self, moved: int, widen: float, rng: random.Random) -> list[Point]:
        """Points not seen before, with so many axes moved."""
        found: dict[tuple[Value, ...], Point] = {}
        if moved == 1:
            for axis in self.space.axes:
                for value in self._values(axis, widen, rng):
                    point = {name: self.incumbent[name] for name in (a.name for a in self.space.axes)} | {
                        axis.name: value
                    }
                    found.setdefault(self.space.key(point), point)
        else:
            for _ in range(PAIR_CANDIDATES):
                point = random_move(self.space, self.incumbent, moved, widen, rng)
                found.setdefault(self.space.key(point), point)
        here = self.space.key(self.incumbent)
        return [point for key, point in found.items() if key not in self.seen and key != here]

    def _values(self, axis: Axis, widen: float, rng: random.Random) -> list[Value]:
        if axis.kind == "choice":
            return list(axis.choices)
        return [axis.nearby(self.incumbent[axis.name], widen, rng) for _ in range(VALUES_PER_AXIS)]

    def _best(self, candidates: list[Point], trials: Sequence[FrozenTrial], rng: random.Random) -> Point:
        ended = (t for t in reversed(trials) if t.state in (TrialState.COMPLETE, TrialState.FAIL) and t.params)
        own = list(itertools.islice(ended, LARGEST_HISTORY))[::-1]
        others = self.transferred[-(LARGEST_HISTORY - len(own)) :] if len(own) < LARGEST_HISTORY else []
        values = [t.value for t in own if t.state is TrialState.COMPLETE and t.value is not None]
        values += [one.value for one in others]
        if len(set(values)) < 2 or rng.random() < RANDOM_SHARE:
            return rng.choice(candidates)
        worst = min(values)
        codes = [one.code for one in others]
        columns = sorted(set(codes))
        x = self._features([*(one.point for one in others), *(t.params for t in own)], codes, columns)
        y = np.array([*(one.value for one in others), *(t.value if t.value is not None else worst for t in own)])
        model = GaussianProcess(x, y)
        if self.pending:
            model.expect(self._features(self.pending, (), columns))
        here = model.predict(self._features([self.incumbent], (), columns))[0][0]
        mean, deviation = model.predict(self._features(candidates, (), columns))
        return candidates[int(expected_improvement(mean, deviation, float(here)).argmax())]

    def _features(self, points: Sequence[Mapping[str, Any]], codes: Sequence[str], others: Sequence[str]) -> np.ndarray:
        """(points, columns): a number axis is one column in 0…1, a choice one column per value, each other code one.

        codes: of the first points; the rest are of this code.
        """
        columns = []
        for axis in self.space.axes:
            values = [point[axis.name] for point in points]
            if axis.kind == "choice":
                columns += [[APART * (value == choice) for value in values] for choice in axis.choices]
            else:
                columns.append([axis.unit(value) for value in values])
        own = [""] * (len(points) - len(codes))
        columns += [[APART * (code == other) for code in (*codes, *own)] for other in others]
        return np.array(columns, float).T


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space in Optuna's terms, over each axis's whole range."""
    made: dict[str, BaseDistribution] = {}
    for axis in space.axes:
        if axis.kind == "choice":
            made[axis.name] = optuna.distributions.CategoricalDistribution(axis.choices)
        elif axis.kind == "int":
            made[axis.name] = optuna.distributions.IntDistribution(int(axis.low), int(axis.high), log=axis.log)
        else:
            made[axis.name] = optuna.distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
    return made
