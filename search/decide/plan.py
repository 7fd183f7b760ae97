"""What to run next, given the state. Pure but for the study that it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from enum import Enum, auto

from search.core.recipe import identity
from search.core.sources import Sources
from search.core.space import Point
from search.core.state import State, TrialKey
from search.core.types import Change, Decision, Experiment, Kind, Purpose, Work
from search.decide.contenders import RaceIndex
from search.decide.posterior import Next
from search.decide.races import open_races

MOST_CRASHES_IN_A_ROW = 8  # then the incumbent is measured again: does anything still run on this machine?


class Pause(Enum):
    """Why there is no work to hand out."""

    WAIT = auto()  # something in flight, or another slot's baseline, must come first
    FINISHED = auto()  # the limit is reached and nothing is in flight
    BROKEN = auto()  # one trial after another crashed, the incumbent's too: the machine is at fault, not the ideas


@dataclass(frozen=True)
class Limit:
    """How many experiments after the baseline, and measurements for want of any; None: without end. The further seeds
    of races come on top."""

    experiments: int | None = None

    def reached(self, state: State) -> bool:
        if self.experiments is None:
            return False
        return state.begun >= self.experiments


@dataclass(frozen=True)
class SlotContext:
    """The slot that asks for work, one of those present. machines: the kind of each slot that is known by now."""

    asking: int
    present: Set[int]
    machines: Mapping[int, str]


def next_work(
    state: State,
    limit: Limit,
    sources: Sources,
    suggest: Callable[[int, str], Point | None],
    slots: SlotContext,
    index: RaceIndex | None = None,
) -> Work | Pause:
    """The next trial to start in the slot that asks. Work that was begun and that nobody runs comes first.

    suggest: the study's, by experiment number and the commit around which to look. index: that follows this state; made
    if there is none.
    """
    if state.paused:
        return Pause.WAIT
    for key, work in sorted(state.to_rerun.items()):
        if not is_for_larger(state, key, slots):
            return Work(work.experiment, work.seed, work.attempt + 1, work.commit, work.purpose)
    first = baseline_work(state, slots.asking, slots.present)
    if first is not None:
        return first
    for experiment in state.unstarted.values():
        return Work(experiment, state.settings.seed, commit=experiment.commit)
    if state.crashes_in_a_row >= MOST_CRASHES_IN_A_ROW and state.incumbent_crashed:
        return Pause.BROKEN
    further = race_work(state, slots, index)
    if further is not None:
        return further
    if limit.reached(state):
        return Pause.FINISHED if state.decisions and not in_work(state) and not state.undecided() else Pause.WAIT
    if state.crashes_in_a_row >= MOST_CRASHES_IN_A_ROW and state.decisions:
        return after_many_crashes(state)
    if incumbent_is_for_larger(state, slots):
        return Pause.WAIT
    number = state.next_experiment
    for proposal in state.waiting.values():
        edit = Experiment(
            number, Kind.PROPOSAL, proposal.parent, (), proposal.idea, None, proposal.number, proposal.commit
        )
        return Work(edit, state.settings.seed, commit=proposal.commit)
    again = rebase(state, number, sources)
    if again is not None:
        return Work(again, state.settings.seed)
    point = suggest(number, state.incumbent_commit)
    if point is not None:
        changes = sources.space(state.incumbent_commit).changes(sources.recipe(state.incumbent_commit), point)
        description = ", ".join(map(str, changes))
        return Work(Experiment(number, Kind.SWEEP, state.incumbent_commit, changes, description), state.settings.seed)
    return measure_again(state, Purpose.AGAIN)


def in_work(state: State) -> bool:
    """Whether something was begun and has not ended."""
    return bool(state.in_flight or state.to_rerun)


def is_for_larger(state: State, key: TrialKey, slots: SlotContext) -> bool:
    """Whether a run that ran out of memory on one card waits for a slot with a larger one than the asking slot's."""
    needed, here = state.too_small.get(key), state.memory_of(slots.asking)
    if needed is None or here is None or here > needed:
        return False
    return state.has_larger(needed, slots.present)


def incumbent_is_for_larger(state: State, slots: SlotContext) -> bool:
    """Whether what the incumbent needs does not fit the asking slot's card, so that nothing around it would, and other
    slots have larger ones."""
    here = state.memory_of(slots.asking)
    outcomes = state.outcomes_of(state.incumbent.experiment) if state.incumbent else []
    needed = max((outcome.memory_mb or 0.0 for outcome in outcomes), default=0.0)
    return here is not None and needed > here and state.has_larger(here, slots.present)


def baseline_work(state: State, slot: int, present: Set[int]) -> Work | None:
    """The baseline's trial of this slot, if it has not begun; or that of a slot that is not there any more."""
    begun = state.started_seeds.get(0, ())
    if len(begun) >= state.settings.slots:
        return None
    baseline = state.experiments.get(0) or Experiment(0, Kind.BASELINE, state.settings.base)
    for of_slot, seed in enumerate(state.baseline_seeds):
        if seed not in begun and (of_slot == slot or of_slot not in present):
            return Work(baseline, seed)
    return None


def race_work(state: State, slots: SlotContext, index: RaceIndex | None = None) -> Work | None:
    """A further seed for a race, on the kind of slot that it is run on; None if no race needs this slot now."""
    for race in open_races(state, index):
        is_other_kind = race.machine != slots.machines.get(slots.asking, race.machine)
        if is_other_kind and race.machine in slots.machines.values():
            continue  # a slot of its kind will ask
        if race.need is Next.INCUMBENT and not state.seeds_in_flight(race.incumbent):
            return measure_again(state, Purpose.CONFIRM)
        in_flight = len(state.seeds_in_flight(race.challenger))
        if race.need is Next.CHALLENGER and not in_flight:
            return further_seed(state, race.challenger)
        run = len(state.outcomes_of(race.challenger)) + in_flight
        if race.need is Next.CHALLENGER_ALL and run <= state.settings.confirm_seeds:
            return further_seed(state, race.challenger)
    return None


def further_seed(state: State, experiment: int) -> Work:
    commit = state.outcomes_of(experiment)[0].commit
    seed = state.next_seed(experiment)
    return Work(state.experiments[experiment], seed, commit=commit, purpose=Purpose.CONFIRM)


def measure_again(state: State, purpose: Purpose) -> Work:
    """Measures the incumbent with its next seed: for a race, or for want of anything else if a space is used up."""
    experiment = state.incumbent.experiment if state.incumbent else 0
    seed = state.next_seed(experiment)
    return Work(state.experiments[experiment], seed, commit=state.incumbent_commit, purpose=purpose)


def rebase(state: State, number: int, sources: Sources) -> Experiment | None:
    """A kept change on top of the incumbent that it beat without having begun from it: both may be good together.

    Of recipes only; unmerged() is for code that differs.
    """
    for decision in state.kept_apart:
        winner = state.experiments[decision.experiment]
        if winner.number in state.rebased or not same_code(winner, decision.incumbent, sources):
            continue
        below = sources.recipe(decision.incumbent)
        changes = tuple(
            Change(change.axis, below[change.axis], change.new)
            for change in winner.changes
            if below[change.axis] != change.new
        )
        together = below | {change.axis: change.new for change in changes}
        if changes and identity(sources.code(decision.incumbent), together) not in sources.tried(state):
            description = f"{', '.join(map(str, changes))} (as kept before, on top of what it beat)"
            return Experiment(number, Kind.REBASE, decision.incumbent, changes, description, winner.number)
    return None


def same_code(winner: Experiment, incumbent: str, sources: Sources) -> bool:
    """Whether an experiment changed the recipe alone, of the same code as this commit's."""
    code = sources.code(winner.parent)
    return sources.code_of(winner) == code == sources.code(incumbent)


def unmerged(state: State, sources: Sources) -> list[Decision]:
    """Kept decisions of which one side edited the code, whose winner had not begun from the incumbent that it beat, and
    whose edit has not been handed in on top of that yet."""
    return [
        decision
        for decision in state.kept_apart
        if decision.commit not in state.by_origin
        and not same_code(state.experiments[decision.experiment], decision.incumbent, sources)
    ]


def turn_is_due(state: State, per_round: int, limit: Limit) -> bool:
    """Whether the agent is to be asked: once after every round, one turn at a time."""
    if state.paused or state.incumbent is None or state.open_turn is not None or limit.reached(state):
        return False
    taken = next((turn.done for turn in reversed(state.turns) if turn.number not in state.cut_short), 0)
    return state.done // per_round > taken // per_round


def after_many_crashes(state: State) -> Work | Pause:
    """Is it the ideas or the machine? The incumbent, which did run once, answers."""
    assert state.incumbent is not None
    if any(number == state.incumbent.experiment for number, _ in state.in_flight):
        return Pause.WAIT
    return measure_again(state, Purpose.AGAIN)
