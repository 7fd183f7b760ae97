"""Which points a card has room for, by what others needed. Pure.

The logarithm of the peak memory is a Gaussian process over the units of a recipe: a linear part, since memory is mostly
a product of powers of what is searched, and a smooth one. What ran out of memory counts as having needed more than its
card has. The worth of a point is then taken times the probability that it fits: Gardner et al., "Bayesian Optimization
with Inequality Constraints" (2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr

from search.core.sources import Sources
from search.core.space import Point, Space
from search.core.state import State
from search.core.types import Outcome, Value
from search.decide.points.sampler import columns_of, encoded

LATEST = 200  # experiments that are looked at
LEVEL, SLOPE, BEND, LENGTH = 2.0, 2.0, 0.3, 0.5  # prior deviations, in logarithms; the last in units of an axis's range
NOISE = 0.05  # of the logarithm: the same recipe needs the same, nearly
FULL = 0.95  # of a card's memory can be used, about
BEYOND = 1.25  # times what a card has: what ran out of it counts as having needed so much, or what is expected if more


class MemoryModel:
    """What recipes of one code need.

    units: (n, axes). needed: MB, (n,). ran_out: bool, (n,), where `needed` is what was not enough.
    """

    def __init__(self, space: Space, units: np.ndarray, needed: np.ndarray, ran_out: np.ndarray) -> None:
        self.space = space
        self._x = columns_of(space, units)
        logs = np.log(np.where(ran_out, needed * BEYOND, needed))
        self._middle = float(logs.mean())
        kernel = _kernel(self._x, self._x) + NOISE**2 * np.eye(len(logs))
        self._factor = cho_factor(kernel)
        known = ~ran_out
        if known.any() and ran_out.any():  # without them first, since how far beyond they are is not known
            expected = MemoryModel(space, units[known], needed[known], ran_out[known]).expected(units[ran_out])[0]
            logs[ran_out] = np.maximum(logs[ran_out], expected)
        self._weights = cho_solve(self._factor, logs - self._middle)

    def expected(self, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the logarithm of the MB that these need: (n,) each."""
        x = columns_of(self.space, units)
        cross = _kernel(x, self._x)
        explained = (cross * cho_solve(self._factor, cross.T).T).sum(1)
        own = LEVEL**2 + SLOPE**2 * (x**2).sum(1) + BEND**2
        return self._middle + cross @ self._weights, np.sqrt(np.maximum(own - explained, 1e-9) + NOISE**2)

    def fits(self, units: np.ndarray, card_mb: float) -> np.ndarray:
        """The probability, (n,), that each of these points, (n, axes), fits a card of so many MB."""
        mean, deviation = self.expected(units)
        return np.asarray(ndtr((math.log(card_mb * FULL) - mean) / deviation))


def _kernel(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    apart = ((one[:, None] - other[None]) ** 2).sum(2)
    return LEVEL**2 + SLOPE**2 * one @ other.T + BEND**2 * np.exp(-0.5 * apart / LENGTH**2)


def card_of(state: State) -> float | None:
    """MB of the largest card that is there; None if no slot has one that is known."""
    return max((known for slot in state.present if (known := state.memory_of(slot))), default=None)


def memory_model(state: State, sources: Sources, space: Space, default: dict[str, Value]) -> MemoryModel | None:
    """Of the incumbent's code; None if nothing of it ran out of memory, or nothing tells what it needs.

    As long as all fits, what it needs is nobody's concern: a guess from afar would only keep good points out.
    """
    code = sources.code(state.incumbent_commit)
    latest = list(dict.fromkeys(one.experiment for one in reversed(state.ended)))[:LATEST]
    points: list[Point] = []
    needed: list[tuple[float, bool]] = []
    for number in latest:
        found = need_of(state, state.outcomes_of(number))
        if found is not None and sources.code_of(state.experiments[number]) == code:
            points.append(sources.point(state.experiments[number]))
            needed.append(found)
    if not any(ran_out for _, ran_out in needed):
        return None
    units = encoded(space, points, default)
    return MemoryModel(space, units, np.array([mb for mb, _ in needed]), np.array([out for _, out in needed]))


def need_of(state: State, outcomes: Sequence[Outcome]) -> tuple[float, bool] | None:
    """(MB that an experiment needed, False), (MB of the largest card that had not enough, True); None if unknown."""
    peak = max((one.memory_mb or 0.0 for one in outcomes if not one.crashed), default=0.0)
    short = max((state.memory_of(one.slot) or 0.0 for one in outcomes if one.ran_out_of_memory), default=0.0)
    if peak > 0:
        return peak, False
    return (short, True) if short > 0 else None
