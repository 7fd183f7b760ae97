"""keep, discard or crash: the rules by which an experiment replaces the incumbent, and the noise of one run. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from search.core.state import State
from search.core.task import Score, Task, Trust
from search.core.types import Outcome, Settings, Status
from search.task.screening.words import AT_THRESHOLD

MEMORY_FACTOR = 2.0  # peak memory beyond so many times the incumbent's is noted
MEMORY_FLOOR_GB = 0.5  # and only if the difference is at least this
EVALUATION_TIMES = 3.0  # times the baseline's seconds, and EVALUATION_SECONDS: evaluating for longer may be training
EVALUATION_SECONDS = 15.0
ROUGH_DOUBT = 1.5  # deviation of the logarithm of a rough guess of the noise
ROUGH_REACH = 20.0  # how far that logarithm is followed, either way
NOISE_WEIGHT = 2.0  # degrees of freedom that the first guess of the noise is worth
GUESSED_NOISE = 0.02  # of a metric of shares, where nothing else is known
GUESSED_SHARE = 0.005  # likewise of any other metric, of the baseline's own score


def judge(task: Task, challenger: Score, incumbent: Score, equal_and_simpler: str = "") -> tuple[Status, str]:
    """The decision and its reason in words.

    equal_and_simpler: why a challenger that is not better is kept all the same, since it is as good and makes train.py
    simpler; '' if it is not so.
    """
    first, second = task.metric, task.tie_breaker
    gain, side_gain = challenger.primary - incumbent.primary, challenger.secondary - incumbent.secondary
    kept = gain > 0 or (gain == 0 and side_gain > 0)
    if gain:
        reason = f"{first.name} {first.gain(gain, first.digits)}"
    elif second is None:
        reason = f"{first.name} equal"
    elif side_gain:
        reason = f"{first.name} equal, {second.name} {second.gain(side_gain, second.digits)}"
    else:
        reason = "equal on both metrics"
    if not kept and equal_and_simpler:
        return Status.KEEP, equal_and_simpler
    return (Status.KEEP if kept else Status.DISCARD), reason


def better_than(one: Score, other: Score) -> bool:
    """Whether one score beats another: the primary metric first, the secondary one to break a tie."""
    return (one.primary, one.secondary) > (other.primary, other.secondary)


def memory_note(memory_gb: float, incumbent_gb: float) -> str:
    """One line if a result's peak memory, in GB, is far above the incumbent's; else empty."""
    if memory_gb > incumbent_gb * MEMORY_FACTOR and memory_gb - incumbent_gb >= MEMORY_FLOOR_GB:
        return f"peak memory {memory_gb:.1f} GB, the incumbent's is {incumbent_gb:.1f} GB"
    return ""


def scored(state: State, experiment: int, machine: str | None = None) -> list[Outcome]:
    """An experiment's outcomes with a score that it is judged by, by seed; on one kind of slot if one is named."""
    found = sorted(state.trials.get(experiment, {}).items())
    return [one for _, one in found if one.score is not None and machine in (None, one.machine)]


def mean_of(outcomes: Sequence[Outcome]) -> Score | None:
    """Their mean score; None of none."""
    scores = [outcome.score for outcome in outcomes if outcome.score]
    if not scores:
        return None
    return Score(
        math.fsum(score.primary for score in scores) / len(scores),
        math.fsum(score.secondary for score in scores) / len(scores),
    )


class HasTrials(Protocol):
    """What the first guess of the noise follows from: a State, or what a search's files say."""

    settings: Settings
    trials: dict[int, dict[int, Outcome]]


@dataclass(frozen=True)
class NoiseGuess:
    """Of the standard deviation of one run, before any repeats. is_rough: it may be far off, either way."""

    value: float
    is_rough: bool = False


def guess_of_noise(state: HasTrials) -> NoiseGuess:
    """Of the metric: what drawing so few validation images at random would give; where nothing is known of what is
    scored, a part of what the baseline scored."""
    share, images = state.settings.majority_score, state.settings.validation_images
    if images and share is not None and 0 < share < 1:
        return NoiseGuess(math.sqrt(share * (1 - share) / images))
    return _part_of_baseline(state, lambda score: score.primary)


def guess_of_side_noise(state: HasTrials) -> NoiseGuess:
    """Of what breaks ties."""
    found = guess_of_noise(state)
    return _part_of_baseline(state, lambda score: score.secondary) if found.is_rough else NoiseGuess(2 * found.value)


def _part_of_baseline(state: HasTrials, of: Callable[[Score], float]) -> NoiseGuess:
    baseline = mean_of(list(state.trials.get(0, {}).values()))
    is_unknown = state.settings.task.trust is Trust.REPORTED
    if is_unknown and baseline is not None and of(baseline):
        return NoiseGuess(GUESSED_SHARE * abs(of(baseline)), is_rough=True)
    return NoiseGuess(GUESSED_NOISE * (state.settings.task.metric.span or 1.0), is_rough=is_unknown)


def repeats_tell(state: HasTrials) -> bool:
    """Whether a further run of the same program may score otherwise than the first. Where runs can be told a seed, it
    is taken to; where they cannot, the baseline's runs tell, of which each kind of slot has its own."""
    if state.settings.task.seed.is_possible:
        return True
    of_kind: dict[str, list[Score]] = {}
    for outcome in state.trials.get(0, {}).values():
        if outcome.score is not None:
            of_kind.setdefault(outcome.machine, []).append(outcome.score)
    repeated = [scores for scores in of_kind.values() if len(scores) > 1]
    return not repeated or any(len(set(scores)) > 1 for scores in repeated)


def confirm_seeds(state: HasTrials) -> int:
    """How many further seeds whatever is kept gets, at the least; 0 where a repeat says nothing new."""
    return state.settings.confirm_seeds if repeats_tell(state) else 0


class PooledNoise:
    """The standard deviation of one run over seeds, pooled over all experiments with several; grows by additions."""

    def __init__(self) -> None:
        self.squares, self.freedom = 0.0, 0

    def add(self, scores: Sequence[float], times: int = 1) -> None:
        """Takes in the scores of one experiment's seeds, (n,); times -1 takes them out again."""
        if len(scores) > 1:
            self.squares += times * float(np.var(scores)) * len(scores)
            self.freedom += times * (len(scores) - 1)

    def deviation(self, guess: NoiseGuess) -> float:
        """The guess counts for NOISE_WEIGHT degrees of freedom. A rough one is a normal distribution of the logarithm,
        and this the largest posterior density: a few repeats move it by orders of magnitude."""
        if guess.is_rough:
            return self._from_rough(guess.value)
        squares = NOISE_WEIGHT * guess.value**2 + max(self.squares, 0.0)
        return math.sqrt(squares / (NOISE_WEIGHT + self.freedom))

    def _from_rough(self, guess: float) -> float:
        """By bisection of the derivative, which falls with the logarithm of the deviation."""
        low, high = -ROUGH_REACH, ROUGH_REACH
        for _ in range(60):
            middle = (low + high) / 2
            variance = (guess * math.exp(middle)) ** 2
            pull = max(self.squares, 0.0) / variance - self.freedom - middle / ROUGH_DOUBT**2
            low, high = (middle, high) if pull > 0 else (low, middle)
        return guess * math.exp(low)


def out_of_race(state: State, experiment: int) -> str:
    """Why an experiment cannot be kept whatever its scores; '' if it can."""
    return why_out(state, experiment, state.outcomes_of(experiment))


def why_out(state: State, experiment: int, outcomes: Sequence[Outcome]) -> str:
    """Likewise, by these of its outcomes."""
    crashed = next((outcome for outcome in outcomes if outcome.crashed), None)
    if crashed is not None:
        return f"seed {crashed.seed}: {crashed.reason}" if len(outcomes) > 1 else crashed.reason
    most = EVALUATION_TIMES * state.longest_baseline_evaluation + EVALUATION_SECONDS
    late = next((o for o in outcomes if (o.speed.get("evaluation_seconds") or 0.0) > most), None)
    if late is not None and experiment != 0:
        return f"marked: took {late.speed['evaluation_seconds']:.0f} s to evaluate, {most:.0f} s is the most allowed"
    marked = next((outcome for outcome in outcomes if outcome.violations), None)
    if marked is not None:
        return f"marked: {marked.violations[0]}"
    if not state.settings.allow_degenerate and mostly_degenerate(outcomes):
        return "degenerate"
    return short_of_least(state, outcomes) if experiment != 0 else ""


def short_of_least(state: State, outcomes: Sequence[Outcome]) -> str:
    """Why these runs fall below the least sensitivity that is wanted, by their mean; '' if they do not, or none is."""
    least = state.settings.least_sensitivity
    found = mean_rates(state.settings.task, [one.metrics for one in outcomes if one.score]).get(AT_THRESHOLD)
    if least is None or found is None or found >= least:
        return ""
    return f"sensitivity {found:.3f} at its threshold, {least:g} is the least allowed"


def mostly_degenerate(outcomes: Sequence[Outcome]) -> bool:
    """Whether half of these runs or more gave a model that screens nothing."""
    return bool(outcomes) and 2 * sum(bool(one.metrics.get("degenerate")) for one in outcomes) >= len(outcomes)


def mean_rates(task: Task, runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The mean over runs of each rate that is a number or has an interval; of those that every run has."""
    means = {}
    for name in task.rates:
        values = [metrics.get(name) for metrics in runs]
        numbers = [value[0] if isinstance(value, list) else value for value in values if value is not None]
        if numbers and len(numbers) == len(values):
            means[name] = round(math.fsum(numbers) / len(numbers), 6)
    return means
