"""Who races whom in a search: the state's outcomes in the terms of posterior.py, and what each race needs. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from search.core.state import State
from search.core.types import Decision, Outcome, Score
from search.decide.contenders import RaceIndex, guess_of_noise, score_part
from search.decide.posterior import MOST_SEEDS, Contender, Next, next_of
from search.task.metrics import PRIMARY, SECONDARY, Metric
from search.task.screening import is_degenerate

EVALUATION_TIMES = 3.0  # times the baseline's seconds, and EVALUATION_SECONDS: evaluating for longer may be training
EVALUATION_SECONDS = 15.0
AWAY_SECONDS = 600.0  # a slot that is away for longer is not waited for


@dataclass(frozen=True)
class Race:
    """One challenger beside the incumbent, on one kind of slot.

    need: what it waits for. probability: that it is better. estimate: of its true primary score. out: why it is out
    whatever its scores, or ''.
    """

    challenger: int
    incumbent: int
    machine: str
    need: Next
    probability: float | None
    estimate: float | None = None
    out: str = ""


def scored(state: State, experiment: int, machine: str | None = None) -> list[Outcome]:
    """An experiment's outcomes with a score, by seed; on one kind of slot if a machine is named."""
    found = [
        outcome
        for outcome in state.trials.get(experiment, {}).values()
        if outcome.score is not None and machine in (None, outcome.machine)
    ]
    return sorted(found, key=lambda outcome: outcome.seed)


def mean_of(outcomes: list[Outcome]) -> Score | None:
    """Their mean score; None of none."""
    scores = [outcome.score for outcome in outcomes if outcome.score]
    if not scores:
        return None
    return Score(
        math.fsum(score.primary for score in scores) / len(scores),
        math.fsum(score.secondary for score in scores) / len(scores),
    )


def kinds_present(state: State) -> dict[int, str]:
    """The kind of each slot that is there, by its latest trial that said it, else by its card. One that went a moment
    ago counts: its worker starts again, its node may come back."""
    gone = {slot for slot, at in state.left_at.items() if slot not in state.present and state.now - at > AWAY_SECONDS}
    return {number: kind for number, kind in state.machines.items() if number not in gone}


def out_of_race(state: State, experiment: int) -> str:
    """Why an experiment cannot be kept whatever its scores; '' if it can."""
    outcomes = state.outcomes_of(experiment)
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
    return ""


def mostly_degenerate(outcomes: list[Outcome]) -> bool:
    """Whether half of these runs or more gave a model that screens nothing."""
    return bool(outcomes) and 2 * sum(is_degenerate(outcome.metrics) for outcome in outcomes) >= len(outcomes)


def is_simpler(challenger: list[Outcome], incumbent: list[Outcome]) -> bool:
    """Whether a challenger would make train.py simpler."""
    return bool(challenger and incumbent) and 0 < challenger[0].code_size < incumbent[0].code_size


def race_of(state: State, experiment: int, index: RaceIndex | None = None) -> Race:
    """The race of an undecided experiment with an outcome against the present incumbent.

    index: that follows this state; made if there is none.
    """
    index = (index or RaceIndex(state)).followed()
    incumbent = state.incumbent
    assert incumbent is not None
    kinds = kinds_present(state)
    challenger = scored(state, experiment)
    machine = challenger[0].machine if challenger else ""
    depends_on = (
        len(state.trials.get(experiment, ())),
        incumbent.experiment,
        len(state.trials[incumbent.experiment]),
        index.field(machine).version,
        not machine or machine in kinds.values(),
        state.longest_baseline_evaluation,
    )
    known = index.races.get(experiment)
    if known is None or known[0] != depends_on:
        known = index.races[experiment] = depends_on, _race_of(state, experiment, index, kinds, challenger, machine)
    race: Race = known[1]
    return race


def _race_of(
    state: State, experiment: int, index: RaceIndex, kinds: dict[int, str], challenger: list[Outcome], machine: str
) -> Race:
    incumbent = state.incumbent
    assert incumbent is not None
    out = out_of_race(state, experiment)
    if out or not challenger:
        return Race(experiment, incumbent.experiment, machine, Next.DECIDE, None, None, out or "crashed")
    held = scored(state, incumbent.experiment, machine)
    if machine and machine not in kinds.values():
        gone = f"no {machine} slot is left to confirm it on"
        return Race(experiment, incumbent.experiment, machine, Next.DECIDE, None, None, gone)
    if not held:
        # Seconds on another kind of slot are other seconds: first the incumbent is measured on this one.
        return Race(experiment, incumbent.experiment, machine, Next.INCUMBENT, None)
    field = index.field(machine)
    one, other = field.contenders[experiment], field.contenders[incumbent.experiment]
    model = field.model()
    if one.parent not in model.place:
        one = Contender(one.number, incumbent.experiment, one.scores)  # it never ran on this kind of slot
    tied = any(theirs.seed == challenger[0].seed and theirs.score == challenger[0].score for theirs in held)
    # A lead over a model that screens nothing is worth a look, and so is a simpler train.py that is as good.
    finds_more = mostly_degenerate(held) and one.mean > other.mean
    patient = finds_more or (is_simpler(challenger, held) and equal_within_error(state, experiment, machine, index))
    need = next_of(one, other, model, state.settings.confirm_seeds, tied, patient)
    lacking = {outcome.seed for outcome in challenger} - {outcome.seed for outcome in held}
    is_short = bool(lacking) and len(held) < min(len(challenger), MOST_SEEDS)
    if is_short and state.settings.confirm_seeds and need is not Next.DROP:
        need = Next.INCUMBENT  # both sides have the same seeds
    chance = model.probability(one, other.number)
    estimate = model.level(other.number).mean + model.lead(one, other.number).mean
    return Race(experiment, incumbent.experiment, machine, need, round(chance, 4), round(estimate, 6))


def equal_within_error(
    state: State, experiment: int, machine: str | None = None, index: RaceIndex | None = None
) -> bool:
    """Whether an experiment and the incumbent differ by no more than the standard error, in both metrics."""
    assert state.incumbent is not None
    index = (index or RaceIndex(state)).followed()
    ours, theirs = scored(state, experiment, machine), scored(state, state.incumbent.experiment, machine)
    challenger, incumbent = mean_of(ours), mean_of(theirs)
    if challenger is None or incumbent is None:
        return False
    for metric in (PRIMARY, SECONDARY):
        error = standard_error(state, index, machine, metric, [len(ours), len(theirs)])
        if max(len(ours), len(theirs)) == 1:
            error = 0.0  # one seed each says nothing of errors: equal is equal
        if abs(score_part(challenger, metric) - score_part(incumbent, metric)) > error + 1e-9:
            return False
    return True


def standard_error(state: State, index: RaceIndex, machine: str | None, metric: Metric, runs: list[int]) -> float:
    """Of the difference of two means over so many runs each."""
    noise = index.field(machine).noise_of(metric).deviation(guess_of_noise(state))
    return noise * math.sqrt(sum(1 / n for n in runs))


def overtaken(state: State, index: RaceIndex | None = None) -> tuple[Decision, Decision] | None:
    """(the incumbent, its predecessor) if more seeds have shown the incumbent to be the worse one; else None."""
    if len(state.frontier) < 2:
        return None
    before, incumbent = state.frontier[-2:]
    if state.seeds_in_flight(incumbent.experiment):
        return None
    for machine in {outcome.machine for outcome in scored(state, incumbent.experiment)}:
        new, old = (mean_of(scored(state, d.experiment, machine)) for d in (incumbent, before))
        if new is None or old is None or PRIMARY.gain(new.primary, old.primary) >= 0:
            return None
    if incumbent.simpler and equal_within_predecessor(state, incumbent, before, (index or RaceIndex(state)).followed()):
        return None
    return incumbent, before


def equal_within_predecessor(state: State, incumbent: Decision, before: Decision, index: RaceIndex) -> bool:
    """Whether a simpler incumbent is still as good as the one before, within the standard error."""
    ours, theirs = scored(state, incumbent.experiment), scored(state, before.experiment)
    one, other = mean_of(ours), mean_of(theirs)
    assert one is not None and other is not None
    error = standard_error(state, index, None, PRIMARY, [len(ours), len(theirs)])
    return abs(one.primary - other.primary) <= error


def open_races(state: State, index: RaceIndex | None = None) -> list[Race]:
    """Every open race, the likeliest winner first."""
    if state.incumbent is None:
        return []
    index = index or RaceIndex(state)
    found = [race_of(state, number, index) for number in state.undecided()]
    return sorted(found, key=lambda one: (-(one.probability or 0.0), one.challenger))
