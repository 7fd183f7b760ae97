"""How many seeds a challenger gets, and when its race against the incumbent is over. Pure.

Seeds are spent where they decide. How likely it is that a challenger is better follows from a normal model of the whole
history: an experiment's true score is that of the incumbent it began from plus an effect, and effects are drawn from a
distribution that is estimated from all experiments (empirical Bayes: Efron and Morris, "Data analysis using Stein's
estimator and its generalizations", 1975). So the incumbent's level is known from its own seeds, from all experiments
around it, and from its predecessors: which corrects it for having been chosen. What is decided in the end is decided by
the means of the seeds that both contenders have (rules.py); the model only says where the next seed goes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from statistics import fmean

import numpy as np

WORTH_A_SECOND_SEED = 0.45  # probability of being better, after the first seed
WORTH_ANOTHER_SEED = 0.5  # after each further one
CONVINCING = 0.65  # if seeds and history differ about this, the contender of which less is known is measured again
SURE = 0.65  # the remaining seeds are run at once, on as many slots as are free
MOST_SEEDS = 8  # of one experiment, for races
EFFECT = -0.6  # what an experiment is expected to gain, in units of the noise, before there are any
EFFECT_DOUBT = 0.2  # standard deviation of that expectation
LEAST_SPREAD = 0.8  # standard deviation of the effects, likewise; taken for less, no race would be begun any more
SPREAD_WEIGHT = 60.0  # degrees of freedom that this is worth beside what experiments spread by
NOISE_WEIGHT = 2.0  # degrees of freedom that the first guess of the noise is worth
OUTLIER = 3.0  # standard deviations beyond which an experiment says no more about its incumbent


@dataclass(frozen=True)
class Contender:
    """An experiment with a score for each seed that ran: of the primary metric, in the order of its seeds.

    parent: the experiment, an incumbent then, that it began from; None for the baseline.
    """

    number: int
    parent: int | None
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.scores)


@dataclass(frozen=True)
class Level:
    """What is known of a true score: its mean and variance."""

    mean: float
    variance: float


@dataclass(frozen=True)
class Model:
    """What follows from a history, as a joint normal distribution of the mean effect and the incumbents' true scores.

    noise, effect_spread: standard deviations of the primary metric, of one run and of the effects. mean:
    (1 + incumbents,), the mean effect first. covariance: likewise, squared. place: experiment number -> index, of
    every incumbent.
    """

    noise: float
    effect_spread: float
    mean: np.ndarray
    covariance: np.ndarray
    place: Mapping[int, int]

    def level(self, number: int) -> Level:
        """The true score of an experiment that is or was the incumbent."""
        at = self.place[number]
        return Level(float(self.mean[at]), float(self.covariance[at, at]))

    def lead(self, challenger: Contender, incumbent: int) -> Level:
        """By how much the challenger's true score is above the incumbent's. The challenger is not in the model."""
        before, held = np.zeros(len(self.mean)), np.zeros(len(self.mean))
        assert challenger.parent is not None
        before[[0, self.place[challenger.parent]]] = 1.0
        held[self.place[incumbent]] = 1.0
        variance = before @ self.covariance @ before + self.effect_spread**2
        shared = before @ self.covariance @ held
        weight = 1 / (variance + self.noise**2 / len(challenger.scores))  # Kalman's update by the challenger's mean
        surprise = challenger.mean - before @ self.mean
        return Level(
            float((before - held) @ self.mean + (variance - shared) * weight * surprise),
            float(variance - 2 * shared + held @ self.covariance @ held - (variance - shared) ** 2 * weight),
        )

    def probability(self, challenger: Contender, incumbent: int) -> float:
        """That the challenger's true score is above the incumbent's."""
        lead = self.lead(challenger, incumbent)
        return 0.5 * math.erfc(-lead.mean / math.sqrt(2 * max(lead.variance, 1e-18)))


class PooledNoise:
    """The standard deviation of one run over seeds, pooled over all experiments with several; grows by additions."""

    def __init__(self) -> None:
        self.squares, self.freedom = 0.0, 0

    def add(self, scores: Sequence[float], times: int = 1) -> None:
        """Takes in the scores of one experiment's seeds, (n,); times -1 takes them out again."""
        if len(scores) > 1:
            self.squares += times * float(np.var(scores)) * len(scores)
            self.freedom += times * (len(scores) - 1)

    def deviation(self, guess: float) -> float:
        """guess: counts for NOISE_WEIGHT degrees of freedom."""
        squares = NOISE_WEIGHT * guess**2 + max(self.squares, 0.0)
        return max(math.sqrt(squares / (NOISE_WEIGHT + self.freedom)), 1e-6)


def noise_of_runs(contenders: Sequence[Contender], guess: float) -> float:
    """Standard deviation of one run over seeds, pooled over all contenders; guess counts a little."""
    pooled = PooledNoise()
    for contender in contenders:
        pooled.add(contender.scores)
    return pooled.deviation(guess)


def fit(
    contenders: Sequence[Contender], incumbents: Sequence[int], noise_guess: float, noise: float | None = None
) -> Model:
    """The model of a history.

    contenders: every decided experiment with a score, the baseline too. incumbents: numbers of all that are or were the
    incumbent. noise_guess: standard deviation of one run, before anything is known. noise: the same, if it was
    pooled over more than these.
    """
    noise = noise_of_runs(contenders, noise_guess) if noise is None else noise
    place = {number: at for at, number in enumerate(incumbents, start=1)}
    begun: dict[int, list[Contender]] = {number: [] for number in incumbents}
    for contender in contenders:
        if contender.parent in begun:
            begun[contender.parent].append(contender)
    tried = {number: _Group.of([one for one in group if one.number not in place]) for number, group in begun.items()}
    spread = _effect_spread([_Group.of(group) for group in begun.values()], noise)
    precision = np.zeros((len(place) + 1, len(place) + 1))
    pull = np.zeros(len(place) + 1)

    def observe(parts: Mapping[int, float], value: float, variance: float) -> None:
        for at, factor in parts.items():
            pull[at] += factor * value / variance
            for other, share in parts.items():
                precision[at, other] += factor * share / variance

    observe({0: 1.0}, EFFECT * noise, (EFFECT_DOUBT * noise) ** 2)
    for contender in contenders:
        if contender.number in place:
            observe({place[contender.number]: 1.0}, contender.mean, noise**2 / len(contender.scores))
            if contender.parent in place:
                observe({place[contender.number]: 1.0, place[contender.parent]: -1.0, 0: -1.0}, 0.0, spread**2)
    for number, group in tried.items():
        if len(group.means):
            value, variance = group.mean_around(noise, spread)
            observe({place[number]: 1.0, 0: 1.0}, value, variance)
    covariance = np.linalg.inv(precision)
    return Model(noise, spread, covariance @ pull, covariance, place)


@dataclass(frozen=True)
class _Group:
    """Experiments around one incumbent: their means, sorted, and how many seeds each is of, (n,) both."""

    means: np.ndarray
    seeds: np.ndarray

    @classmethod
    def of(cls, contenders: Sequence[Contender]) -> _Group:
        means = np.array([contender.mean for contender in contenders])
        order = means.argsort()
        return cls(means[order], np.array([len(contender.scores) for contender in contenders], float)[order])

    def clipped(self, noise: float) -> np.ndarray:
        """The means; those far out count as less far: a collapse says no more."""
        middle = _middle(self.means)
        apart = np.sort(np.abs(self.means - middle))
        reach = OUTLIER * max(1.4826 * _middle(apart), noise)
        return self.means.clip(middle - reach, middle + reach)

    def mean_around(self, noise: float, spread: float) -> tuple[float, float]:
        """The mean of the experiments, and the variance of that mean."""
        weights = 1 / (spread**2 + noise**2 / self.seeds)
        return float((weights * self.clipped(noise)).sum() / weights.sum()), float(1 / weights.sum())


def _middle(ordered: np.ndarray) -> float:
    """The median of sorted numbers."""
    return float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _effect_spread(groups: Sequence[_Group], noise: float) -> float:
    """Standard deviation of the effects: what experiments around one incumbent spread by beyond the noise."""
    squares, freedom = SPREAD_WEIGHT * (LEAST_SPREAD * noise) ** 2, SPREAD_WEIGHT
    for group in groups:
        count = len(group.means)
        if count > 1:
            means = group.clipped(noise)
            share = noise**2 * float((1 / group.seeds).mean())
            squares += float(((means - means.mean()) ** 2).sum()) - share * (count - 1)
            freedom += count - 1
    return max(math.sqrt(max(squares / freedom, 0.0)), LEAST_SPREAD * noise)


class Next(Enum):
    """What a race needs."""

    CHALLENGER = auto()  # one more seed for the challenger
    CHALLENGER_ALL = auto()  # all of its remaining seeds, at once
    INCUMBENT = auto()  # one more seed for the incumbent
    DECIDE = auto()  # nothing: the rules decide by what both have
    DROP = auto()  # nothing: the challenger can hardly win any more


def next_of(
    challenger: Contender,
    incumbent: Contender,
    model: Model,
    confirm_seeds: int,
    is_tie: bool = False,
    patient: bool = False,
) -> Next:
    """What the race between these two needs next.

    confirm_seeds: further seeds of a challenger, after its first. is_tie: on the first seed both scored the same, so
    that one seed says nothing. patient: all of its seeds are run, however little it promises.
    """
    seeds = len(challenger.scores)
    if confirm_seeds == 0:
        return Next.DECIDE
    probability = model.probability(challenger, incumbent.number)
    leads = challenger.mean > incumbent.mean
    enough = WORTH_A_SECOND_SEED if seeds == 1 else WORTH_ANOTHER_SEED
    may_win = probability >= enough or patient or (is_tie and seeds == 1) or (leads and seeds > confirm_seeds)
    if not may_win:
        return Next.DROP
    if seeds <= confirm_seeds:
        return Next.CHALLENGER_ALL if probability >= SURE else Next.CHALLENGER
    if (probability >= CONVINCING) != leads and not patient:
        # What the seeds say and what the history says differ: the contender of which less is known is measured again.
        if seeds < min(len(incumbent.scores), MOST_SEEDS):
            return Next.CHALLENGER
        if len(incumbent.scores) < MOST_SEEDS:
            return Next.INCUMBENT
    return Next.DECIDE
