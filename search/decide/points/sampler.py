"""An Optuna sampler that looks around the best point that is believed in, mostly along few axes, sometimes far away.

It offers points with one, two or three axes moved, or all of these together with points that have every axis moved a
little and points drawn anywhere in the space, and takes the one whose run is worth most by the posterior
(surrogate.py). Points that nearly equal one that was measured or is in flight are left out: a
further seed of that one says more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from search.core.space import Axis, Point, Space
from search.core.task import Score, Task
from search.core.types import Value

MOVES = ((1, 0.15), (2, 0.2), (3, 0.15))  # axes moved, and the share of suggestions; of the others, as many as pay
MANY = 32  # points in flight, from which on half as many move few axes: so many steps at once know little
AS_MANY_AS_PAY = 0
CANDIDATES = 1200
MOST_REFINED, REFINEMENTS = 5, 40  # the best of them, and how many points around each are looked at too
REFINED = (0.1, 0.03)  # how far around, one after the other, in units of an axis's range
APART = 0.7  # of two values of a choice, in units of an axis's range
RANDOM_SHARE = 0.05
TWIN = 0.04  # two points all of whose axes differ by less, in units of their ranges, are twins
WIDER = ((1, 1.0), (2, 1.0), (2, 2.0), (3, 4.0), (5, 16.0))  # axes moved and steps, when all nearer is measured
SECONDARY_WEIGHT = 0.01  # beside the primary metric in the value that Optuna sees: it breaks ties and little more


class Judge(Protocol):
    """What the sampler asks of the posterior."""

    def worths(self, units: np.ndarray) -> np.ndarray:
        """Of one run of each of the points that are these units, (n, axes): (n,)."""

    def fits(self, units: np.ndarray) -> np.ndarray:
        """The probability that there is room for each of these, (n, axes): (n,)."""


@dataclass(frozen=True)
class Suggestion:
    """A point to try, and why in one line."""

    point: Point
    why: str


class AroundBest(optuna.samplers.BaseSampler):
    """Suggests a point near `centre`; set the fields below before each ask.

    centre: a point. seen: keys of points that are never suggested again. known: points that were measured or are in
    flight. in_flight: how many of those. judge: None while nothing is known. suggestion: None after an ask for which
    every point in reach, however wide, was seen. The choice depends on all of these, the seed and the experiment's
    number.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed
        self.centre: Point = {}
        self.seen: set[tuple[Value, ...]] = set()
        self.known: list[Point] = []
        self.in_flight = 0
        self.judge: Judge | None = None
        self.experiment: int | None = None
        self.suggestion: Suggestion | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self.space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        number = trial.number if self.experiment is None else self.experiment
        self.suggestion = self._choose(np.random.default_rng([self.seed, number]))
        return dict(self.suggestion.point if self.suggestion is not None else self.centre)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.centre[param_name]

    def _choose(self, rng: np.random.Generator) -> Suggestion | None:
        moved = moved_axes(float(rng.random()), self.in_flight)
        known = encoded(self.space, self.known, self.centre)
        for axes, steps in ((moved, 1.0), *WIDER):
            found = self._best(axes, steps, known, rng)
            if found is not None:
                return found
        return None

    def _best(self, axes: int, steps: float, known: np.ndarray, rng: np.random.Generator) -> Suggestion | None:
        """The point that is worth most, of those not seen; a twin of one that is known only if there is no other."""
        units = self._offered(axes, steps, rng)
        if self.judge is None or rng.random() < RANDOM_SHARE:
            fits = self.judge.fits(units) if self.judge else 1.0
            worths, how = rng.random(len(units)) * fits, "at random"
        else:
            worths = self.judge.worths(units)
            for reach in REFINED:
                top = units[np.argsort(-worths, kind="stable")[:MOST_REFINED]]
                more = self._refined(top, reach, rng)
                units, worths = np.vstack([units, more]), np.append(worths, self.judge.worths(more))
            how = f"worth most of {len(units)}, {worths.max():.5f}"
        centre = encoded(self.space, [self.centre], self.centre)[0]
        twin: Suggestion | None = None
        for row in np.argsort(-worths, kind="stable"):
            point = decoded(self.space, units[row])
            key = self.space.key(point)
            if key in self.seen or key == self.space.key(self.centre):
                continue
            moved = f"{(units[row] != centre).sum()} of {len(centre)} axes moved from the best that is believed in"
            found = Suggestion(point, f"{moved}: {how}")
            if not self._is_twin(units[row], known):
                return found
            twin = twin or found
        return twin

    def _offered(self, moved: int, steps: float, rng: np.random.Generator) -> np.ndarray:
        """(n, axes), in units: with so many axes moved, or all kinds of points if that is AS_MANY_AS_PAY."""
        every = len(self.space.axes)
        if moved != AS_MANY_AS_PAY:
            return np.unique(self._around(min(moved, every), steps, CANDIDATES, rng), axis=0)
        kinds = [*(min(axes, every) for axes, _ in MOVES), every, 0]
        return np.unique(np.vstack([self._around(kind, steps, CANDIDATES // 3, rng) for kind in kinds]), axis=0)

    def _around(self, moved: int, steps: float, count: int, rng: np.random.Generator) -> np.ndarray:
        """(count, axes), in units: with so many axes moved by at most so many steps, or drawn anywhere if that is 0."""
        axes = self.space.axes
        centre = encoded(self.space, [self.centre], self.centre)[0]
        moves = rng.random((count, len(axes))).argsort(1) < moved if moved else np.ones((count, len(axes)), bool)
        found = np.tile(centre, (count, 1))
        for column, axis in enumerate(axes):
            if axis.kind == "choice":
                others = [n for n in range(len(axis.choices)) if n != centre[column] or not moved]
                drawn = rng.choice(others, count).astype(float)
            else:
                reach = axis.unit_step * steps if moved else 1.0
                low, high = max(centre[column] - reach, 0.0), min(centre[column] + reach, 1.0)
                drawn = rng.uniform(low, high, count)
            found[:, column] = np.where(moves[:, column], drawn, centre[column])
        return on_grid(self.space, found)

    def _refined(self, top: np.ndarray, reach: float, rng: np.random.Generator) -> np.ndarray:
        """Points a little away from each of these, on the number axes that they moved."""
        centre = encoded(self.space, [self.centre], self.centre)[0]
        numbers = np.array([axis.kind != "choice" for axis in self.space.axes])
        copies = np.repeat(top, REFINEMENTS, axis=0)
        may_move = (copies != centre) & numbers
        step = rng.normal(0.0, reach, copies.shape) * (rng.random(copies.shape) < 0.5)
        return on_grid(self.space, np.where(may_move, (copies + step).clip(0.0, 1.0), copies))

    def _is_twin(self, unit: np.ndarray, known: np.ndarray) -> bool:
        """Whether nobody could tell it from a point that was measured. Whole numbers next to each other are no
        twins."""
        reach = [twin_reach(axis, value) for axis, value in zip(self.space.axes, unit, strict=True)]
        return bool((np.abs(known - unit) <= np.array(reach) + 1e-9).all(axis=1).any())


def moved_axes(drawn: float, in_flight: int) -> int:
    """How many axes a suggestion moves, or AS_MANY_AS_PAY. drawn: a number in 0…1."""
    near = sum(share for _, share in MOVES)
    few = near * (1 - 0.5 * min(in_flight / MANY, 1.0))
    for axes, share in MOVES:
        drawn -= share * few / near
        if drawn < 0:
            return axes
    return AS_MANY_AS_PAY


def twin_reach(axis: Axis, unit: float) -> float:
    """How far apart two values of an axis are still as good as the same, in units."""
    if axis.kind == "choice":
        return 0.0
    if axis.kind == "float":
        return TWIN
    number = int(axis.value_at(unit))
    other = number + 1 if number < axis.high else number - 1
    return min(TWIN, 0.9 * abs(axis.unit(other) - axis.unit(number)))


def encoded(space: Space, points: Sequence[Mapping[str, Value]], default: Mapping[str, Value]) -> np.ndarray:
    """(points, axes): a number axis in 0…1, a choice by its index, -1 if it is none of them. What a point of another
    code lacks has its default."""
    found = np.empty((len(points), len(space.axes)))
    for column, axis in enumerate(space.axes):
        for row, point in enumerate(points):
            value = point.get(axis.name, default[axis.name])
            if axis.kind == "choice":
                found[row, column] = axis.choices.index(value) if value in axis.choices else -1
            else:
                is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
                number = float(value if is_number else default[axis.name])
                found[row, column] = axis.unit(min(max(number, axis.low), axis.high))
    return found


def on_grid(space: Space, units: np.ndarray) -> np.ndarray:
    """(n, axes) units with those of int axes at whole numbers."""
    units = units.copy()
    for column, axis in enumerate(space.axes):
        if axis.kind == "int":
            low, high = axis.low, axis.high
            at = low * (high / low) ** units[:, column] if axis.log else low + units[:, column] * (high - low)
            whole = np.round(at).clip(low, high)
            ratio = np.log(whole / low) / math.log(high / low) if axis.log else (whole - low) / (high - low)
            units[:, column] = ratio
    return units


def decoded(space: Space, unit: np.ndarray) -> Point:
    """The point that these units, (axes,), are."""
    return {
        axis.name: axis.choices[int(value)] if axis.kind == "choice" else axis.value_at(float(value))
        for axis, value in zip(space.axes, unit, strict=True)
    }


def columns_of(space: Space, units: np.ndarray) -> np.ndarray:
    """(n, columns), what the posterior is over: a number axis is one column, a choice one column per value."""
    found = []
    for column, axis in enumerate(space.axes):
        if axis.kind == "choice":
            found += [APART * (units[:, column] == n) for n in range(len(axis.choices))]
        else:
            found.append(units[:, column])
    return np.stack(found, axis=1) if found else np.zeros((len(units), 0))


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


def value_of(score: Score) -> float:
    """The one number that Optuna maximises."""
    return score.primary + SECONDARY_WEIGHT * score.secondary


def holds(space: Space, point: Mapping[str, Value]) -> bool:
    """Whether a point lies within the axes: one of another history of the same code may not."""
    return all(axis.name in point and axis.allows(point[axis.name]) for axis in space.axes)


def frozen_trial(
    task: Task, space: Space, code: str, experiment: int, seed: int, point: Point, score: Score | None, stopped: bool
) -> FrozenTrial:
    """A trial that has ended, in Optuna's terms. stopped: early; score None without that: it crashed."""
    states = optuna.trial.TrialState
    state = states.PRUNED if stopped else states.FAIL if score is None else states.COMPLETE
    return optuna.trial.create_trial(
        state=state,
        value=None if score is None else value_of(score),
        params={axis.name: point[axis.name] for axis in space.axes},
        distributions=distributions(space),
        user_attrs={"experiment": experiment, "seed": seed, "code": code, **(task.named(score) if score else {})},
    )
