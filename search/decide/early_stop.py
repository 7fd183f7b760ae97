"""Whether a trial that still trains can be worth a second seed; asked at a few shares of its budget. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np
from scipy.special import stdtr

from search.core.state import State
from search.core.types import EarlyStop, Purpose, Work
from search.decide.rules import mean_of, scored

RUNGS = (0.125, 0.25, 0.5)  # shares of the budget
LEAST_ENDED = 10  # trials that must have ended before anything is concluded
LATEST = 200  # trials that a rule looks at
REDUCTION = 2  # of asha: one in so many goes on
SMALLEST_CHANCE = 0.01  # learned: of being better than the bar
RIDGE = 1e-3  # of standardised features


@dataclass(frozen=True)
class Progress:
    """How far a trial has come. values: at each rung that it has reached, higher is better. final: its score; None
    while it trains, and of one that was stopped."""

    values: tuple[float, ...]
    final: float | None = None


@dataclass(frozen=True)
class Yardstick:
    """What a trial is measured by while it trains.

    bar: the score that it must beat; None: it is not stopped. others: the latest trials on slots of its kind. machine:
    that kind; '' if it is not known yet.
    """

    rule: EarlyStop = EarlyStop.NONE
    bar: float | None = None
    others: tuple[Progress, ...] = ()
    machine: str = ""


@dataclass(frozen=True)
class Forecast:
    """Of a trial's score: mean and standard deviation of a Student's t with so many degrees of freedom."""

    mean: float
    deviation: float
    freedom: int

    def chance_above(self, bar: float) -> float:
        if self.deviation <= 0:
            return float(self.mean > bar)
        return float(stdtr(self.freedom, (self.mean - bar) / self.deviation))


def yardstick_of(state: State, work: Work, slot: int) -> Yardstick:
    """Of a trial that a slot is handed. Only an experiment's first trial may be stopped: the seeds of a race, the
    baseline and the proof are measurements."""
    machine, rule, incumbent = state.machines.get(slot, ""), state.settings.early_stop, state.incumbent
    may_stop = rule is not EarlyStop.NONE and work.purpose is Purpose.FIRST and work.experiment.number > 0
    held = mean_of(scored(state, incumbent.experiment, machine or None)) if incumbent and may_stop else None
    if held is None:
        return Yardstick(machine=machine)
    latest = [one for one in state.ended if one.progress and machine in ("", one.machine)][-LATEST:]
    others = (Progress(one.progress, one.score.primary if one.score else None) for one in latest)
    return Yardstick(rule, held.primary, tuple(others), machine)


def hopeless(yardstick: Yardstick, values: Sequence[float]) -> Forecast | None:
    """What a trial would have scored, if it is to be stopped at the rung that it has just reached; else None.

    Rules: median, of Golovin et al., "Google Vizier" (2017). asha, of Li et al., "A System for Massively Parallel
    Hyperparameter Tuning" (2020). learned: by its forecast it hardly beats the bar. values: at the rungs so far.
    """
    rung = len(values) - 1
    there = [one for one in yardstick.others if len(one.values) > rung]
    ended = [one for one in there if one.final is not None]
    if yardstick.bar is None or rung < 0 or len(ended) < LEAST_ENDED:
        return None
    expected = forecast(values, ended)
    if yardstick.rule is EarlyStop.MEDIAN:
        is_over = max(values) < median(fmean(one.values[: rung + 1]) for one in ended)
    elif yardstick.rule is EarlyStop.ASHA:
        is_over = sum(one.values[rung] > values[rung] for one in there) >= math.ceil((len(there) + 1) / REDUCTION)
    else:
        is_over = expected.chance_above(yardstick.bar) < SMALLEST_CHANCE
    return expected if is_over else None


def forecast(values: Sequence[float], ended: Sequence[Progress]) -> Forecast:
    """Of the score of a trial with these values: by a ridge regression of the scores of trials that have ended on where
    they were at this rung and how fast they rose to it."""
    rung = len(values) - 1
    features = np.array([_features(one, rung) for one in [*(one.values for one in ended), values]])
    finals = np.array([one.final for one in ended], float)
    mean, deviation = features[:-1].mean(0), features[:-1].std(0)
    scaled = (features - mean) / np.where(deviation > 0, deviation, 1.0)
    design = np.column_stack([np.ones(len(scaled)), scaled])
    known, new = design[:-1], design[-1]
    gram = known.T @ known + RIDGE * len(known) * np.diag([0.0, *np.ones(scaled.shape[1])])
    weights = np.linalg.solve(gram, known.T @ finals)
    freedom = max(len(known) - design.shape[1], 1)
    variance = float(((finals - known @ weights) ** 2).sum()) / freedom
    spread = math.sqrt(variance * (1 + float(new @ np.linalg.solve(gram, new))))
    return Forecast(float(new @ weights), spread, freedom)


def _features(values: Sequence[float], rung: int) -> list[float]:
    return [values[rung], values[rung] - values[rung - 1]] if rung else [values[rung]]
