"""Which decision can be made now, and what it says: the keep rules, applied to what both sides of a race have. Pure."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace

from search.core.state import State
from search.core.types import Decision, Outcome, Status, short
from search.decide.belief import Belief
from search.decide.proof import sides_to_verify
from search.decide.races import Next, Race, overtaken, race_of
from search.decide.rules import (
    confirm_seeds,
    judge,
    mean_of,
    mean_rates,
    memory_note,
    repeats_tell,
    scored,
    short_of_least,
)
from search.decide.speed import is_gpu, unequal_note

EQUAL = "equal, and simpler"
ALWAYS_THE_SAME = "its runs give the same to the last digit: repeating proves nothing, and no trial is spent on it"
AS_GOOD = "no worse than the best by half the noise, as far as its seeds tell, and simpler"


def next_decision(state: State, now: float, belief: Belief) -> Decision | None:
    """The first decision that can be made, None if all wait for trials. The baseline must not have crashed.

    now: seconds since the epoch. A decision's time is later than the last one's, whatever the clock does: files are
    merged by these times. belief: follows this state.
    """
    now = max(now, state.decisions[-1].time + 1e-3) if state.decisions else now
    undecided = state.undecided()
    if state.incumbent is None:  # the baseline's decision lets others follow
        return _of_the_baseline(state, now) if undecided else None
    fallen = overtaken(state, belief)
    if fallen is not None:
        return _of_the_fallen(state, *fallen, now)
    for number in undecided:
        if state.seeds_in_flight(number):
            continue
        race = race_of(state, number, belief)
        if race.need in (Next.DECIDE, Next.DROP):
            return _of_a_race(state, race, now, belief)
    return None


def _of_the_baseline(state: State, now: float) -> Decision:
    ours = scored(state, 0)
    made = _made(state, 0, Status.KEEP, "baseline", ours, now)
    probes = {outcome.slot: float(outcome.speed.get("probe") or 0.0) for outcome in ours if is_gpu(outcome.machine)}
    estimate = made.score.primary if made.score else None
    note = made.note or unequal_note(probes) or ("" if repeats_tell(state) else ALWAYS_THE_SAME)
    return replace(made, estimate=estimate, note=note)


def _of_the_fallen(state: State, incumbent: Decision, before: Decision, now: float) -> Decision:
    """The incumbent's end: more seeds have shown that its predecessor is better, or that it must not be kept."""
    ours, theirs = scored(state, incumbent.experiment), scored(state, before.experiment)
    one, other = mean_of(ours), mean_of(theirs)
    assert one is not None and other is not None
    metric = state.settings.task.metric
    reason = short_of_least(state, ours) or (
        f"{metric.name} {metric.gain(one.primary - other.primary, metric.digits)}, worse than its predecessor "
        f"{short(before.commit)}, "
        f"over {len(ours)} seeds against {len(theirs)}"
    )
    return _made(state, incumbent.experiment, Status.DISCARD, reason, ours, now, before)


def _of_a_race(state: State, race: Race, now: float, belief: Belief) -> Decision:
    """What the rules say of a challenger whose race is over, by the means of what both sides have."""
    incumbent = state.incumbent
    assert incumbent is not None
    task, metric = state.settings.task, state.settings.task.metric
    number = race.challenger
    ours, theirs = scored(state, number), scored(state, race.incumbent, race.machine or None)
    score, held = mean_of(ours), mean_of(theirs)
    if any(outcome.crashed for outcome in state.outcomes_of(number)):
        return _made(state, number, Status.CRASH, race.out, ours, now, incumbent)
    if race.out or score is None or held is None:
        return _made(state, number, Status.DISCARD, race.out, ours, now, incumbent)
    chance = None if race.probability is None else f"{race.probability:.0%}"
    if race.need is Next.DROP:
        gap = f"{metric.name} {metric.gain(score.primary - held.primary, metric.digits)}"
        reason = f"{gap} over {len(ours)} of its seeds: {chance} likely to be better"
        return _made(state, number, Status.DISCARD, reason, ours, now, incumbent, race)
    bare = confirm_seeds(state) == 0
    as_good = (EQUAL if bare else AS_GOOD) if race.is_equal else ""
    status, reason = judge(task, score, held, as_good)
    simpler = bool(as_good) and reason == as_good
    if len(ours) > 1:
        reason += f" over {len(ours)} seeds: {chance} likely to be better"
    made = _made(state, number, status, reason, ours, now, incumbent, race, simpler)
    if status is not Status.KEEP:
        return made
    lead = belief.lead(number, 0)
    return replace(made, gain=(lead.mean, lead.deviation))


def _made(
    state: State,
    number: int,
    status: Status,
    reason: str,
    ours: list[Outcome],
    now: float,
    incumbent: Decision | None = None,
    race: Race | None = None,
    simpler: bool = False,
) -> Decision:
    experiment = state.experiments[number]
    first = min(state.outcomes_of(number), key=lambda outcome: outcome.seed)
    score = None if status is Status.CRASH else mean_of(ours)
    without_score = reason if status is Status.CRASH or first.stopped else ""
    memory_gb = max((outcome.memory_mb or 0.0 for outcome in ours), default=0.0) / 1024 if score else 0.0
    theirs = [] if incumbent is None else scored(state, incumbent.experiment)
    slow = [note for outcome in ours if (note := outcome.speed.get("slow"))]
    memory = memory_note(memory_gb, incumbent.memory_gb) if incumbent and score else ""
    return Decision(
        experiment=number,
        status=status,
        reason=reason,
        commit=first.commit,
        slot=first.slot,
        score=score,
        memory_gb=memory_gb,
        description=experiment.description + (f" ({without_score})" if without_score else ""),
        incumbent=incumbent.commit if incumbent else first.commit,
        incumbent_score=mean_of(theirs),
        changes=experiment.changes,
        seeds=tuple(outcome.seed for outcome in ours) or (first.seed,),
        time=now,
        note="; ".join(filter(None, [memory, *slow])),
        incumbent_seeds=tuple(outcome.seed for outcome in theirs),
        probability=race.probability if race else None,
        estimate=race.estimate if race else None,
        simpler=simpler,
        metrics=mean_rates(state.settings.task, [outcome.metrics for outcome in ours]),
        proposal=experiment.proposal,
    )


def baseline_has_failed(state: State, slots: Set[int]) -> bool:
    """Whether there is nothing to search around: all of the baseline's trials crashed, on two slots, or there is no
    other slot to ask. slots: those that there are, and that are coming up."""
    outcomes = state.outcomes_of(0)
    crashed_on = {outcome.slot for outcome in outcomes}
    return bool(outcomes) and all(one.crashed for one in outcomes) and (len(crashed_on) > 1 or slots <= crashed_on)


def weights_wanted(state: State) -> Callable[[int], bool]:
    """Whether an experiment's weights are kept: of the baseline, of what is recommended, of the incumbent, of the one
    before it, to which the search may fall back, and of all that is not decided."""
    wanted = {0, *(decision.experiment for decision in state.frontier[-2:])}
    if state.incumbent is not None:
        wanted |= set(sides_to_verify(state))
    return lambda number: number in wanted or number not in state.verdicts
