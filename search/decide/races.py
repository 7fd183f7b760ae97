"""Races: an experiment that may be better than the incumbent, beside it, and what each race needs next. Pure.

Seeds are spent where they are worth most. What one more seed of either side is worth is its knowledge gradient
(surrogate.py), beside that of a new point. What is decided in the end is decided by the means of the seeds that both
sides have (rules.py); the posterior says where the next seed goes, and whether a lead is to be believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from search.core.state import State
from search.core.types import Decision, Outcome
from search.decide.belief import Belief
from search.decide.rules import confirm_seeds, mean_of, mostly_degenerate, out_of_race, scored, short_of_least

SECOND = 0.33  # probability of being better from which a challenger gets the seeds that keeping it takes
SURE = 0.65  # from which these are run at once, on as many slots as are free
CONVINCING = 0.5  # probability of being better from which a lead is believed
MOST_SEEDS = 8  # of one experiment, for races
EQUAL_MARGIN = 0.5  # of the noise: what a simpler train.py may be worse by than the best that there ever was
EQUAL_DOUBT = 0.1  # probability that it is worse by more
EQUAL_SEEDS = 4  # of one that is simpler, at most
AWAY_SECONDS = 600.0  # a slot that is away for longer is not waited for


class Next(Enum):
    """What a race needs."""

    CHALLENGER = auto()  # one more seed for the challenger
    CHALLENGER_ALL = auto()  # all of its remaining seeds, at once
    INCUMBENT = auto()  # one more seed for the incumbent
    DECIDE = auto()  # nothing: the rules decide by what both have
    DROP = auto()  # nothing: the challenger is not worth a further seed


@dataclass(frozen=True)
class Race:
    """One challenger beside the incumbent, on one kind of slot.

    need: what it waits for. probability: that it is better. worth: of its next seed. estimate: of its true primary
    score. out: why it is out whatever its scores, or ''. is_equal: as good as the best that there ever was, as far as
    that can be said, and simpler. why: it needs that, in one line.
    """

    challenger: int
    incumbent: int
    machine: str
    need: Next
    probability: float | None = None
    worth: float = 0.0
    estimate: float | None = None
    out: str = ""
    is_equal: bool = False
    why: str = ""


@dataclass(frozen=True)
class Sides:
    """What a race's two sides have. leads: by the means of their seeds. challenger_worth, incumbent_worth, new_worth:
    of a further seed of each, and of a new point. tied: on the first seed both scored the same. patient: its seeds are
    run however little it promises."""

    seeds: int
    incumbent_seeds: int
    leads: bool
    probability: float
    challenger_worth: float
    incumbent_worth: float
    new_worth: float
    tied: bool = False
    patient: bool = False


def next_of(sides: Sides, further: int) -> Next:
    """What the race between these two needs next. further: seeds of whatever is kept, at the least."""
    if further == 0:
        return Next.DECIDE
    wanted = 1 + further
    believed = sides.probability >= CONVINCING
    may_run, may_measure = sides.seeds < MOST_SEEDS, sides.incumbent_seeds < MOST_SEEDS
    if sides.seeds < wanted:
        may_win = sides.patient or sides.probability >= SECOND or (sides.tied and sides.seeds == 1)
        if not may_win:
            return Next.DROP
        return Next.CHALLENGER_ALL if sides.probability >= SURE else Next.CHALLENGER
    if (
        max(sides.challenger_worth, sides.incumbent_worth) > sides.new_worth
        and not believed
        and (may_run or may_measure)
    ):
        is_ours = may_run and (sides.challenger_worth >= sides.incumbent_worth or not may_measure)
        return Next.CHALLENGER if is_ours else Next.INCUMBENT
    if not believed and not (sides.patient and sides.leads):
        return Next.DROP
    if not sides.leads and believed:
        # What the seeds say and what all else says differ: the side of which less is known is measured again.
        if may_run and sides.seeds <= sides.incumbent_seeds:
            return Next.CHALLENGER
        if may_measure:
            return Next.INCUMBENT
    return Next.DECIDE


def kinds_present(state: State) -> dict[int, str]:
    """The kind of each slot that is there, by its latest trial that said it, else by its card. One that went a moment
    ago counts: its worker starts again, its node may come back. A clock that was put back makes no moment longer."""
    ago = {slot: state.now - at for slot, at in state.left_at.items() if slot not in state.present}
    gone = {slot for slot, seconds in ago.items() if not 0 <= seconds <= AWAY_SECONDS}
    return {number: kind for number, kind in state.machines.items() if number not in gone}


def is_simpler(challenger: list[Outcome], incumbent: list[Outcome]) -> bool:
    """Whether a challenger would make train.py simpler."""
    return bool(challenger and incumbent) and 0 < challenger[0].code_size < incumbent[0].code_size


def race_of(state: State, experiment: int, belief: Belief) -> Race:
    """The race of an undecided experiment with an outcome against the present incumbent. belief: follows the state."""
    incumbent = state.incumbent
    assert incumbent is not None
    kinds = set(kinds_present(state).values())
    outcomes = scored(state, experiment)
    machine = outcomes[0].machine if outcomes else ""
    out = out_of_race(state, experiment) or stopped_reason(state, experiment)
    if out or not outcomes:
        return Race(experiment, incumbent.experiment, machine, Next.DECIDE, out=out or "crashed")
    if machine and machine not in kinds:
        gone = f"no {machine} slot is left to confirm it on"
        return Race(experiment, incumbent.experiment, machine, Next.DECIDE, out=gone)
    challenger, held = scored(state, experiment, machine), scored(state, incumbent.experiment, machine)
    if not held:
        # Seconds on another kind of slot are other seconds: first the incumbent is measured on this one.
        why = f"the incumbent has no run on {machine}, where e{experiment:04d} has one"
        return Race(experiment, incumbent.experiment, machine, Next.INCUMBENT, why=why)
    one, other = mean_of(challenger), mean_of(held)
    assert one is not None and other is not None
    gain = one.primary - other.primary
    lead = belief.lead(experiment, incumbent.experiment)
    simpler = is_simpler(challenger, held)
    doubt = doubt_of_equal(state, experiment, belief) if simpler and confirm_seeds(state) else 1.0
    is_equal = simpler and as_good(state, challenger, held, doubt, belief)
    # A lead over a model that screens nothing is worth a look, and so is a simpler train.py that may be as good.
    may_be_equal = simpler and EQUAL_DOUBT < doubt < 0.5 and len(challenger) < EQUAL_SEEDS
    sides = Sides(
        seeds=len(challenger),
        incumbent_seeds=len(held),
        leads=gain > 0,
        probability=lead.probability,
        challenger_worth=belief.worth_of_a_seed(experiment, incumbent.experiment),
        incumbent_worth=belief.worth_of_a_seed(incumbent.experiment, experiment),
        new_worth=belief.worth_of_a_new_point(),
        tied=any(theirs.seed == challenger[0].seed and theirs.score == challenger[0].score for theirs in held),
        patient=mostly_degenerate(held) and gain > 0,
    )
    need = next_of(sides, confirm_seeds(state))
    if confirm_seeds(state) and need in (Next.DROP, Next.DECIDE):
        if is_equal:
            need = Next.DECIDE
        elif may_be_equal:
            need = Next.CHALLENGER
    estimate = belief.estimate(experiment)
    return Race(
        experiment,
        incumbent.experiment,
        machine,
        need,
        round(lead.probability, 4),
        sides.challenger_worth,
        estimate,
        is_equal=is_equal,
        why=f"e{experiment:04d} is {lead.probability:.0%} likely to be better than e{incumbent.experiment:04d}; "
        f"expected gain in {state.settings.task.metric.name} of one more seed of it {sides.challenger_worth:.3g}, "
        f"of the incumbent {sides.incumbent_worth:.3g}, of a new point {sides.new_worth:.3g}",
    )


def stopped_reason(state: State, experiment: int) -> str:
    """How an experiment's trial was stopped early; '' if it was not."""
    return next((outcome.reason for outcome in state.outcomes_of(experiment) if outcome.stopped), "")


def best_ever(state: State, belief: Belief) -> int:
    """Of the incumbents that stand, the one that is believed to be the best: what simpler ones are measured by."""
    best = state.frontier[0].experiment
    for decision in state.frontier[1:]:
        if belief.lead(decision.experiment, best).mean > 0:
            best = decision.experiment
    return best


def doubt_of_equal(state: State, experiment: int, belief: Belief) -> float:
    """The probability that an experiment is worse than the best that there ever was, by more than the margin. The
    margin counts from that, so that ten simplifications in a row give away no more than one."""
    return belief.lead(experiment, best_ever(state, belief)).below(-EQUAL_MARGIN * belief.noise_in_use())


def as_good(state: State, challenger: list[Outcome], held: list[Outcome], doubt: float, belief: Belief) -> bool:
    """Whether a challenger is as good as the incumbent. Without confirmation: equal to the last digit, in both
    metrics. doubt: by doubt_of_equal."""
    one, other = mean_of(challenger), mean_of(held)
    if one is None or other is None:
        return False
    if confirm_seeds(state) == 0:
        return one == other
    if doubt > EQUAL_DOUBT or len(challenger) < 2:
        return False
    side = one.secondary - other.secondary
    error = belief.noise_of_tie_breaker() * (1 / len(challenger) + 1 / len(held)) ** 0.5
    return side >= -error


def overtaken(state: State, belief: Belief) -> tuple[Decision, Decision] | None:
    """(the incumbent, its predecessor) if more seeds have shown the incumbent to be the worse one, or to fall below
    the least sensitivity that is wanted; else None."""
    if len(state.frontier) < 2:
        return None
    before, incumbent = state.frontier[-2:]
    if state.seeds_in_flight(incumbent.experiment):
        return None
    new, old = (short_of_least(state, scored(state, one.experiment)) for one in (incumbent, before))
    if new and not old:
        return incumbent, before
    for machine in {outcome.machine for outcome in scored(state, incumbent.experiment)}:
        ours, theirs = (mean_of(scored(state, d.experiment, machine)) for d in (incumbent, before))
        if ours is None or theirs is None or ours.primary >= theirs.primary:
            return None
    lead = belief.followed().lead(incumbent.experiment, before.experiment)
    if incumbent.simpler and doubt_of_equal(state, incumbent.experiment, belief) <= EQUAL_DOUBT:
        return None
    return (incumbent, before) if lead.mean < 0 or confirm_seeds(state) == 0 else None


def races_to_run(state: State, belief: Belief) -> list[Race]:
    """The open races whose seeds are due. Where several challengers may win, those that are unlikely to be better than
    the one that is believed in most wait for the end of its race."""
    found = open_races(state, belief)
    hopeful = [one for one in found if one.probability is not None and one.need not in (Next.DROP, Next.DECIDE)]
    if len(hopeful) < 2:
        return found
    first = max(hopeful, key=lambda one: belief.lead(one.challenger, one.incumbent).mean)
    behind = {
        one.challenger
        for one in hopeful
        if one is not first and belief.lead(one.challenger, first.challenger).probability < SECOND
    }
    return [one for one in found if one.challenger not in behind]


def open_races(state: State, belief: Belief) -> list[Race]:
    """Every open race, the one whose next seed is worth most first."""
    if state.incumbent is None:
        return []
    found = [race_of(state, number, belief) for number in state.undecided()]
    return sorted(found, key=lambda one: (-one.worth, one.challenger))
