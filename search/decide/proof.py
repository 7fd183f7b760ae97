"""Is a commit better than the baseline? A test on fresh seeds, which may be looked at after every trial. Pure.

The evidence is an e-process (Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid
inference", 2023): the likelihood ratio of the difference between the two sides' means, averaged over gains above zero,
against no gain. If there is no gain, it exceeds 1 / alpha at any time with a probability of at most alpha (Ville,
1939). Only differences between runs enter it, so that the level of the baseline need not be known (Grünwald, de Heide
and Koolen, "Safe testing", 2024). The gains are weighted half by what was believed of the commit when it was kept,
which fresh seeds had no part in, and half by a half-normal distribution (Robbins, 1970).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Protocol

from search.core.seeds import purpose_of
from search.core.state import State
from search.core.task import Task
from search.core.types import Decision, Outcome, Purpose, Settings, short
from search.decide.rules import NOISE_WEIGHT, PooledNoise, guess_of_noise, repeats_tell

if TYPE_CHECKING:  # whoever only shows a proof need not load the posterior
    from search.decide.belief import Belief

ALPHA = 0.05  # the chance that a search calls anything better that is not
FIRST_SHARE = 0.7  # of ALPHA for the first commit that is tested; of what is left for each further one
WIDE = 2.0  # deviation of the half-normal distribution of gains, in units of the noise
BASELINE_AHEAD = 4  # fresh seeds of the baseline, spread over the search, before there is an incumbent to prove
LATE = 0.9  # of a search: from here on fresh seeds of the incumbent are run
MOST_FRESH, FEWEST_FRESH = 14, 4  # fresh seeds that one side may have, in a long search and in a short one
PROMISING = 0.9  # belief that the incumbent is better than the baseline, from which it is worth a proof
HOPELESS = 0.1  # chance that a proof comes of all the seeds that are left, below which no more are run
MOST_KEPT = 64  # incumbents that the noise is taken from, the latest
MOST_EXPONENT = 700.0
LEAST_DOUBT = 0.1  # deviation of what is believed of a gain, in units of the noise, at the least
METHOD = (
    "an anytime-valid test on fresh seeds that nothing was chosen by (e-process; Ramdas et al., 2023), at "
    f"{ALPHA:.0%} over all commits that a search tests"
)


class Tested(Protocol):
    """What a recommendation follows from: a State, or what a search's files say. The names are State's."""

    settings: Settings
    trials: dict[int, dict[int, Outcome]]
    fresh: dict[int, dict[int, Outcome]]
    kept: list[Decision]
    frontier: list[Decision]


@dataclass(frozen=True)
class Proof:
    """What fresh seeds say of a commit beside the baseline.

    seeds, baseline_seeds: how many. gain: of the primary metric, the difference of their means. low, high: its
    confidence sequence, which holds at every look. probability: that it is better, by the fresh seeds alone. p_value:
    anytime-valid, corrected for all the commits tested. All None while one side has no fresh seed.
    """

    experiment: int
    commit: str
    seeds: int
    baseline_seeds: int
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    probability: float | None = None
    p_value: float | None = None

    @property
    def is_shown(self) -> bool:
        """Whether it is shown to be better than the baseline."""
        return self.p_value is not None and self.p_value <= ALPHA


def log_evidence(difference: float, information: float, believed: tuple[float, float], wide: float) -> float:
    """The log of the e-value. difference: of the two means. information: 1 over its variance. believed: mean and
    deviation of the gain. wide: deviation of the half-normal part."""
    score = difference * information
    parts = [_log_mixture(score, information, *believed), _log_mixture(score, information, 0.0, wide)]
    largest = max(parts)
    return largest + math.log(0.5 * sum(math.exp(part - largest) for part in parts))


def _log_mixture(score: float, information: float, mean: float, deviation: float) -> float:
    """The log of the likelihood ratio, averaged over a normal distribution of the gain, cut off below zero."""
    precision = information + deviation**-2
    middle = (score + mean / deviation**2) / precision
    exponent = middle**2 * precision / 2 - mean**2 / (2 * deviation**2) - 0.5 * math.log(precision * deviation**2)
    return exponent + _log_normal_cdf(middle * math.sqrt(precision)) - _log_normal_cdf(mean / deviation)


def _log_normal_cdf(z: float) -> float:
    if z > -30:
        return math.log(0.5 * math.erfc(-z / math.sqrt(2)))
    return -(z**2) / 2 - math.log(-z * math.sqrt(2 * math.pi))  # its asymptote


def half_width(information: float, wide: float, alpha: float = ALPHA) -> float:
    """Of a confidence sequence of the difference, by a normal mixture (Robbins, 1970)."""
    grown = 1 + information * wide**2
    return math.sqrt((information + wide**-2) * (2 * math.log(1 / alpha) + math.log(grown))) / information


def information_of(ours: int, theirs: int, noise: float) -> float:
    """1 over the variance of the difference of two means of so many runs each. noise: deviation of one."""
    return 1 / (noise**2 * (1 / ours + 1 / theirs))


def believed_gain(decision: Decision, noise: float) -> tuple[float, float]:
    """Mean and deviation of what was believed of a commit's gain over the baseline when it was kept."""
    mean, deviation = decision.gain or (0.0, WIDE * noise)
    return mean, max(deviation, LEAST_DOUBT * noise)


def proof_of(
    decision: Decision, ours: Sequence[Outcome], theirs: Sequence[Outcome], noise: float, share: float
) -> Proof:
    """What these fresh runs say. noise: standard deviation of one. share: of ALPHA, that this commit has."""
    sides = [[o.score.primary for o in side if o.score] for side in (ours, theirs)]
    proof = Proof(decision.experiment, decision.commit, len(sides[0]), len(sides[1]))
    if not sides[0] or not sides[1]:
        return proof
    difference = fmean(sides[0]) - fmean(sides[1])
    information = information_of(len(sides[0]), len(sides[1]), noise)
    exponent = log_evidence(difference, information, believed_gain(decision, noise), WIDE * noise)
    half = half_width(information, WIDE * noise)
    return Proof(
        decision.experiment,
        decision.commit,
        len(sides[0]),
        len(sides[1]),
        difference,
        difference - half,
        difference + half,
        round(0.5 * math.erfc(-difference * math.sqrt(information / 2)), 4),
        round(min(1.0, math.exp(min(-exponent, MOST_EXPONENT)) / share), 6),
    )


def fresh_of(state: Tested, experiment: int, purpose: Purpose | None = None) -> list[Outcome]:
    """An experiment's outcomes of fresh seeds with a score, by seed; of one purpose if it is named."""
    found = sorted(state.fresh.get(experiment, {}).items())
    base = state.settings.seed
    return [one for seed, one in found if one.score is not None and purpose in (None, purpose_of(seed, base))]


def best_kind(state: Tested, experiment: int) -> str:
    """The kind of slot on which both sides have the most fresh runs: seconds on another are other seconds."""
    ours, theirs = fresh_of(state, experiment), fresh_of(state, 0)
    kinds = sorted({outcome.machine for outcome in (*ours, *theirs)})
    count = {k: min(sum(o.machine == k for o in ours), sum(o.machine == k for o in theirs)) for k in kinds}
    return max(kinds, key=lambda kind: (count[kind], kind), default="")


def noise_of(state: Tested) -> float:
    """Standard deviation of one run: pooled over all seeds of the baseline and of the latest incumbents, and larger
    where they are few, as the deviation of Student's distribution is."""
    pooled = PooledNoise()
    for number in dict.fromkeys([0, *(decision.experiment for decision in state.kept[-MOST_KEPT:])]):
        by_kind: dict[tuple[str, bool], list[float]] = {}
        for is_fresh, side in enumerate((state.trials, state.fresh)):
            for outcome in side.get(number, {}).values():
                if outcome.score is not None:
                    by_kind.setdefault((outcome.machine, bool(is_fresh)), []).append(outcome.score.primary)
        for scores in by_kind.values():
            pooled.add(scores)
    freedom = max(pooled.freedom + NOISE_WEIGHT, 4.0)
    return pooled.deviation(guess_of_noise(state)) * math.sqrt(freedom / (freedom - 2))


def proofs(state: Tested) -> list[Proof]:
    """Of every commit that fresh seeds were run of, in the order in which they were kept."""
    tested: dict[int, Decision] = {}
    for decision in state.kept:  # what was believed when it was first kept
        if decision.experiment and state.fresh.get(decision.experiment):
            tested.setdefault(decision.experiment, decision)
    order = [number for number in state.fresh if number in tested]
    shares = {number: FIRST_SHARE * (1 - FIRST_SHARE) ** place for place, number in enumerate(order)}
    noise = noise_of(state) if tested else 0.0
    found = []
    for number, decision in tested.items():
        kind = best_kind(state, number)
        sides = [[o for o in fresh_of(state, n) if o.machine == kind] for n in (number, 0)]
        found.append(proof_of(decision, sides[0], sides[1], noise, shares[number]))
    return found


@dataclass(frozen=True)
class Recommendation:
    """The commit to take home. proof: of it; if it is the baseline, of the incumbent; None if nothing was tested."""

    experiment: int
    commit: str
    description: str
    proof: Proof | None

    @property
    def is_baseline(self) -> bool:
        return self.experiment == 0


def recommended(state: Tested) -> Recommendation | None:
    """The incumbent where it is shown to be better than the baseline; else the latest that is, of those that were kept
    and still stand; else the baseline. Where runs give the same every time, the incumbent: it is better on what was
    measured, and a repeat would say no more. None before there is a baseline."""
    if not state.frontier:
        return None
    by_number = {proof.experiment: proof for proof in proofs(state)}
    incumbent = state.frontier[-1]
    if not repeats_tell(state) and incumbent.experiment:
        return Recommendation(incumbent.experiment, incumbent.commit, incumbent.description, None)
    for decision in reversed(state.frontier[1:]):
        proof = by_number.get(decision.experiment)
        if proof is not None and proof.is_shown:
            return Recommendation(decision.experiment, decision.commit, decision.description, proof)
    baseline = state.frontier[0]
    return Recommendation(0, baseline.commit, baseline.description, by_number.get(incumbent.experiment))


def in_words(found: Recommendation, incumbent: Decision, task: Task) -> str:
    """What to take home and why, in one line."""
    proof = found.proof
    if found.is_baseline:
        if incumbent.experiment == 0:
            return f"take the baseline, {short(found.commit)}: nothing was kept"
        said = f"the incumbent {short(incumbent.commit)} is not shown to be better"
        if proof is None or proof.gain is None:
            return f"take the baseline, {short(found.commit)}: {said}, since it has not been run with fresh seeds"
        return f"take the baseline, {short(found.commit)}: {said} ({figures(proof, task)})"
    if proof is None:
        return (
            f"take {short(found.commit)}, which is better than the baseline on what was measured{task.by_own_word}; "
            "its runs give the same every time, so that repeating them proves nothing"
        )
    later = "" if found.experiment == incumbent.experiment else " (the incumbent after it is not shown to be)"
    return f"take {short(found.commit)}, which is better than the baseline ({figures(proof, task)}){later}"


def figures(proof: Proof, task: Task) -> str:
    """The figures of a proof, for people."""
    assert proof.gain is not None and proof.low is not None and proof.high is not None
    metric = task.metric
    ends = sorted((proof.low, proof.high), key=metric.turned)
    p_value = "p < 0.0001" if proof.p_value is not None and proof.p_value < 1e-4 else f"p {proof.p_value:.4f}"
    return (
        f"{metric.name} {metric.gain(proof.gain)}{task.by_own_word}, 95 % interval {metric.gain(ends[0])} to "
        f"{metric.gain(ends[1])}, "
        f"{p_value}, {proof.seeds} fresh seeds against {proof.baseline_seeds}"
    )


def fresh_begun(state: State, experiment: int, purpose: Purpose) -> int:
    """Fresh seeds of an experiment that were begun."""
    base = state.settings.seed
    return sum(purpose_of(seed, base) is purpose for seed in state.started_seeds.get(experiment, ()))


def sides_to_verify(state: State) -> list[int]:
    """The experiments whose fresh seeds search.verify runs: the incumbent, or what is recommended if that is another
    one; and the baseline."""
    found, incumbent = recommended(state), state.incumbent
    assert found is not None and incumbent is not None
    return list(dict.fromkeys([incumbent.experiment if found.is_baseline else found.experiment, 0]))


def most_fresh(share: float, size: int) -> int:
    """Fresh seeds that one side may have in a search of so many experiments or trials; 0: without end."""
    return min(MOST_FRESH, max(FEWEST_FRESH, round(1.5 * share * size))) if size else MOST_FRESH


def proof_side(state: State, belief: Belief, progress: float | None, size: int, waits: bool = False) -> int | None:
    """The experiment whose fresh seed is due now, for the proof; None if none is.

    progress: how much of the search is done; None: it has no end, and its share of the trials is spent all the time.
    size: of the search, in experiments or trials; 0: without end. waits: races come first, which may replace the
    incumbent.
    """
    incumbent = state.incumbent
    assert incumbent is not None
    begun = {number: fresh_begun(state, number, Purpose.PROOF) for number in (0, incumbent.experiment)}
    if progress is None:
        if state.fresh_begun >= state.settings.proof_share * len(state.attempts):
            return None
    elif progress < LATE:
        ahead = min(BASELINE_AHEAD, math.ceil(state.settings.proof_share * size))
        return 0 if begun[0] < ahead * min(progress / LATE, 1.0) - 0.5 else None
    if waits:
        return None
    return _side_to_prove(state, belief, incumbent, begun, most_fresh(state.settings.proof_share, size))


def _side_to_prove(state: State, belief: Belief, incumbent: Decision, begun: dict[int, int], most: int) -> int | None:
    number = incumbent.experiment
    if number == 0:
        return None
    if belief.followed().lead(number, 0).probability < PROMISING:
        return None
    proof = next((one for one in proofs(state) if one.experiment == number), None)
    if proof is not None and proof.is_shown:
        return None
    side = 0 if begun[0] < begun[number] else number
    if begun[side] >= most:
        return None
    if proof is not None and chance_of_a_proof(state, belief, incumbent, proof, most) < HOPELESS:
        return None
    return side


def chance_of_a_proof(state: State, belief: Belief, incumbent: Decision, proof: Proof, most: int) -> float:
    """The predictive probability that all the fresh seeds that are left will show it: of a gain drawn from what is
    believed and from what the fresh seeds say, and of the means that they would then have."""
    noise = noise_of(state)
    lead = belief.lead(incumbent.experiment, 0)
    information = information_of(proof.seeds, proof.baseline_seeds, noise) if proof.gain is not None else 0.0
    precision = lead.deviation**-2 + information
    mean = (lead.mean * lead.deviation**-2 + (proof.gain or 0.0) * information) / precision
    whole = most / (2 * noise**2)
    added = max(whole - information, 1e-9 * whole)
    # The difference over all seeds: what is there, and what is to come, each weighted by its information.
    middle = (information * (proof.gain or 0.0) + added * mean) / whole
    deviation = added / whole * math.sqrt(1 / precision + 1 / added)
    needed = _needed(whole, believed_gain(incumbent, noise), WIDE * noise)
    return 0.5 * math.erfc((needed - middle) / (deviation * math.sqrt(2)))


def _needed(information: float, believed: tuple[float, float], wide: float) -> float:
    """The smallest difference that shows a gain at this information, by bisection."""
    low, high = 0.0, 20 / math.sqrt(information)
    for _ in range(30):
        middle = (low + high) / 2
        shown = log_evidence(middle, information, believed, wide) >= math.log(1 / (ALPHA * FIRST_SHARE))
        low, high = (low, middle) if shown else (middle, high)
    return high
