"""Who races whom in a search: the state's outcomes in the terms of race.py, and what each race needs. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

from search.core.state import State
from search.core.types import Decision, Outcome, Score
from search.decide.posterior import MOST_SEEDS, Contender, Model, Next, fit, next_of, noise_of_runs
from search.task.screening import is_degenerate

EVALUATION_TIMES = 3.0  # times the baseline's seconds, and EVALUATION_SECONDS: evaluating for longer may be training
EVALUATION_SECONDS = 15.0
AWAY_SECONDS = 600.0  # a slot that is away for longer is not waited for


@dataclass(frozen=True)
class Race:
    """One challenger beside the incumbent, on one kind of slot.

    need: what it waits for. probability: that it is better. estimate: of its true bin_acc. out: why it is out whatever
    its scores, or ''.
    """

    challenger: int
    incumbent: int
    machine: str
    need: Next
    probability: float | None
    estimate: float | None = None
    out: str = ""


def scored(state: State, experiment: int, machine: str | None = None) -> list[Outcome]:
    """An experiment's outcomes with a score, by seed; on one kind of slot where a machine is named."""
    found = [
        outcome
        for outcome in state.outcomes_of(experiment)
        if outcome.score is not None and machine in (None, outcome.machine)
    ]
    return sorted(found, key=lambda outcome: outcome.seed)


def mean_of(outcomes: list[Outcome]) -> Score | None:
    """Their mean score; None of none."""
    scores = [outcome.score for outcome in outcomes if outcome.score]
    if not scores:
        return None
    return Score(
        math.fsum(score.bin_acc for score in scores) / len(scores),
        math.fsum(score.mc_acc for score in scores) / len(scores),
    )


def noise_guess(state: State) -> float:
    """Of one run, before any repeats: what drawing so few validation photos at random would give."""
    share, photos = state.settings.majority_bin_acc, state.settings.validation_photos
    return math.sqrt(share * (1 - share) / photos) if photos else 0.02


def contenders(state: State, machine: str | None, metric: str = "bin_acc") -> list[Contender]:
    """Every experiment with a score on this kind of slot, with one of its two metrics."""
    number_of = {decision.commit: decision.experiment for decision in reversed(state.kept)}
    scores: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for (number, seed), outcome in state.outcomes.items():
        if outcome.score is not None and machine in (None, outcome.machine):
            scores[number].append((seed, getattr(outcome.score, metric)))
    found = []
    for number, experiment in state.experiments.items():
        if number in scores:
            parent = None if number == 0 else number_of.get(experiment.parent, 0)
            found.append(Contender(number, parent, tuple(score for _, score in sorted(scores[number]))))
    return found


def machines_of(state: State) -> dict[int, str]:
    """The kind of each slot that is there, by its latest trial that told, else by its card. One that went a moment ago
    counts: its worker starts again, its node may come back."""
    told = {slot.number: slot.model for slot in state.slots.values() if slot.model}
    told |= {outcome.slot: outcome.machine for outcome in state.outcomes.values() if outcome.machine}
    gone = {slot for slot, at in state.left_at.items() if slot not in state.present and state.now - at > AWAY_SECONDS}
    return {number: kind for number, kind in told.items() if number not in gone}


def model_of(state: State, machine: str | None) -> Model:
    """What the decided experiments tell."""
    verdicts = state.verdicts
    known = [contender for contender in contenders(state, machine) if contender.number in verdicts]
    present = {contender.number for contender in known}
    incumbents = dict.fromkeys(decision.experiment for decision in state.kept if decision.experiment in present)
    return fit(known, list(incumbents), noise_guess(state))


def out_of_race(state: State, experiment: int) -> str:
    """Why an experiment cannot be kept whatever its scores; '' where it can."""
    outcomes = state.outcomes_of(experiment)
    crashed = next((outcome for outcome in outcomes if outcome.crashed), None)
    if crashed is not None:
        return f"seed {crashed.seed}: {crashed.reason}" if len(outcomes) > 1 else crashed.reason
    usual = [outcome.speed.get("evaluation_seconds") or 0.0 for outcome in scored(state, 0)]
    most = EVALUATION_TIMES * max(usual, default=0.0) + EVALUATION_SECONDS
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
    """Whether half of these runs or more gave a model that never, or always, flags infection."""
    return bool(outcomes) and 2 * sum(is_degenerate(outcome.metrics) for outcome in outcomes) >= len(outcomes)


def is_simpler(challenger: list[Outcome], incumbent: list[Outcome]) -> bool:
    """Whether a challenger would make train.py simpler."""
    return bool(challenger and incumbent) and 0 < challenger[0].code_size < incumbent[0].code_size


def race_of(state: State, experiment: int, models: dict[str, Model] | None = None) -> Race:
    """The race of an undecided experiment with an outcome against the present incumbent.

    models: by kind of slot, filled as they are needed.
    """
    incumbent = state.incumbent
    assert incumbent is not None
    out = out_of_race(state, experiment)
    challenger = scored(state, experiment)
    machine = challenger[0].machine if challenger else ""
    if out or not challenger:
        return Race(experiment, incumbent.experiment, machine, Next.DECIDE, None, None, out or "crashed")
    held = scored(state, incumbent.experiment, machine)
    if machine and machine not in machines_of(state).values():
        gone = f"no {machine} slot is left to confirm it on"
        return Race(experiment, incumbent.experiment, machine, Next.DECIDE, None, None, gone)
    if not held:
        # Seconds on another kind of slot are other seconds: first the incumbent is measured on this one.
        return Race(experiment, incumbent.experiment, machine, Next.INCUMBENT, None)
    models = {} if models is None else models
    if machine not in models:
        models[machine] = model_of(state, machine)
    by_number = {contender.number: contender for contender in contenders(state, machine)}
    one, other = by_number[experiment], by_number[incumbent.experiment]
    model = models[machine]
    if one.parent not in model.place:
        one = Contender(one.number, incumbent.experiment, one.scores)  # it never ran on this kind of slot
    tied = any(theirs.seed == challenger[0].seed and theirs.score == challenger[0].score for theirs in held)
    # A lead over a model that finds no infection is worth a look, and so is a simpler train.py that is as good.
    finds_more = mostly_degenerate(held) and one.mean > other.mean
    patient = finds_more or (is_simpler(challenger, held) and equal_within_error(state, experiment, machine))
    need = next_of(one, other, model, state.settings.confirm_seeds, tied, patient)
    lacking = {outcome.seed for outcome in challenger} - {outcome.seed for outcome in held}
    is_short = bool(lacking) and len(held) < min(len(challenger), MOST_SEEDS)
    if is_short and state.settings.confirm_seeds and need is not Next.DROP:
        need = Next.INCUMBENT  # both contenders have the same seeds
    chance = model.probability(one, other.number)
    estimate = model.level(other.number).mean + model.lead(one, other.number).mean
    return Race(experiment, incumbent.experiment, machine, need, round(chance, 4), round(estimate, 6))


def equal_within_error(state: State, experiment: int, machine: str | None = None) -> bool:
    """Whether an experiment and the incumbent differ by no more than the standard error, in both metrics."""
    assert state.incumbent is not None
    challenger = mean_of(scored(state, experiment, machine))
    incumbent = mean_of(scored(state, state.incumbent.experiment, machine))
    if challenger is None or incumbent is None:
        return False
    runs = [len(scored(state, number, machine)) for number in (experiment, state.incumbent.experiment)]
    for metric in ("bin_acc", "mc_acc"):
        error = standard_error(state, machine, metric, runs)
        if max(runs) == 1:
            error = 0.0  # one seed each says nothing of errors: equal is equal
        if abs(getattr(challenger, metric) - getattr(incumbent, metric)) > error + 1e-9:
            return False
    return True


def standard_error(state: State, machine: str | None, metric: str, runs: list[int]) -> float:
    """Of the difference of two means over so many runs each."""
    return noise_of_runs(contenders(state, machine, metric), noise_guess(state)) * math.sqrt(sum(1 / n for n in runs))


def overtaken(state: State) -> tuple[Decision, Decision] | None:
    """(the incumbent, its predecessor) where more seeds have shown the incumbent to be the worse one; else None."""
    if len(state.frontier) < 2:
        return None
    before, incumbent = state.frontier[-2:]
    if state.seeds_in_flight(incumbent.experiment):
        return None
    for machine in {outcome.machine for outcome in scored(state, incumbent.experiment)}:
        new, old = (mean_of(scored(state, d.experiment, machine)) for d in (incumbent, before))
        if new is None or old is None or new.bin_acc >= old.bin_acc:
            return None
    if incumbent.simpler and equal_within_predecessor(state, incumbent, before):
        return None
    return incumbent, before


def equal_within_predecessor(state: State, incumbent: Decision, before: Decision) -> bool:
    """Whether a simpler incumbent is still as good as the one before, within the standard error."""
    ours, theirs = scored(state, incumbent.experiment), scored(state, before.experiment)
    one, other = mean_of(ours), mean_of(theirs)
    assert one is not None and other is not None
    return abs(one.bin_acc - other.bin_acc) <= standard_error(state, None, "bin_acc", [len(ours), len(theirs)])


def open_races(state: State) -> list[Race]:
    """Every open race, the likeliest winner first."""
    if state.incumbent is None:
        return []
    models: dict[str, Model] = {}
    found = [race_of(state, number, models) for number in state.undecided()]
    return sorted(found, key=lambda one: (-(one.probability or 0.0), one.challenger))
