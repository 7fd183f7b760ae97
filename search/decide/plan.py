"""What to run next, given the state. Pure but for the study that it asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from enum import Enum, auto

from search.core.recipe import identity
from search.core.seeds import purpose_of
from search.core.sources import Sources
from search.core.state import State, TrialKey
from search.core.types import Change, Decision, Experiment, Kind, Purpose, SearchError, Work
from search.decide.belief import Belief
from search.decide.points.sampler import Suggestion
from search.decide.proof import fresh_begun, proof_side, sides_to_verify
from search.decide.races import SURE, Next, Race, races_to_run
from search.decide.rules import confirm_seeds, repeats_tell

MOST_CRASHES_IN_A_ROW = 8  # then the incumbent is measured again: does anything still run on this machine?


class Pause(Enum):
    """Why there is no work to hand out."""

    WAIT = auto()  # something in flight, or another slot's baseline, must come first
    FINISHED = auto()  # the limit is reached and nothing is in flight
    BROKEN = auto()  # the machine is at fault, not the ideas: one trial after another crashed, the incumbent's too


@dataclass(frozen=True)
class Limit:
    """When a search ends.

    experiments: after the baseline, and measurements for want of any; the further seeds of races and of the proof come
    on top. trials: of all kinds. None: without end. verify: so many fresh seeds of the recommended commit and of the
    baseline are run, and nothing else.
    """

    experiments: int | None = None
    trials: int | None = None
    verify: int | None = None

    def reached(self, state: State) -> bool:
        """Whether nothing new is to be tried."""
        return self.verify is not None or self.progress(state) >= 1

    def progress(self, state: State) -> float:
        """How much of the search is done, from 0; of one without end, always 0. Trials are kept for the proof."""
        parts = [0.0]
        if self.experiments is not None:
            parts.append(state.begun / self.experiments if self.experiments else 1.0)
        if self.trials is not None:
            parts.append(len(state.attempts) / (self.trials - self.kept_for_proof(state)))
        return max(parts)

    @property
    def size(self) -> int:
        """In experiments or trials; 0: without end."""
        return min((n for n in (self.experiments, self.trials) if n), default=0)

    def kept_for_proof(self, state: State) -> float:
        """How many of a limited number of trials; 0 without that limit."""
        return (self.trials or 0) * state.settings.proof_share

    def is_for_the_proof(self, state: State) -> bool:
        """Whether of a limited number of trials only those are left that are kept for the proof."""
        return self.trials is not None and len(state.attempts) >= self.trials - self.kept_for_proof(state)

    def is_spent(self, state: State) -> bool:
        """Whether there is no trial left at all."""
        return self.trials is not None and len(state.attempts) >= self.trials


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
    suggest: Callable[[int], Suggestion | None],
    slots: SlotContext,
    belief: Belief,
) -> Work | Pause:
    """The next trial to start in the slot that asks. Work that was begun and that nobody runs comes first.

    suggest: by experiment number, around the incumbent. belief: follows this state.
    """
    if state.paused:
        return Pause.WAIT
    trusted = {slot for slot in slots.present if is_trusted(state, slot)}
    if trusted and slots.asking not in trusted:
        return Pause.WAIT
    if all(state.health.is_aside(slot, state.now) for slot in slots.present):
        return Pause.BROKEN
    if limit.verify is not None:
        return verification_work(state, limit.verify)
    for key, work in sorted(state.to_rerun.items()):
        if not is_for_larger(state, key, slots):
            return replace(work, attempt=work.attempt + 1)
    first = baseline_work(state, slots.asking, slots.present)
    if first is not None:
        return first
    for experiment in state.unstarted.values():
        return Work(experiment, state.settings.seed, commit=experiment.commit)
    if state.crashes_in_a_row >= MOST_CRASHES_IN_A_ROW and state.incumbent_crashed:
        return Pause.BROKEN
    if limit.is_spent(state):
        return Pause.WAIT if in_work(state) else Pause.FINISHED
    if limit.is_for_the_proof(state):
        more = last_work(state, limit, slots, belief)
    else:
        more = race_work(state, slots, belief) or proof_work(state, limit, belief)
    if more is not None:
        return more
    if limit.reached(state):
        return Pause.FINISHED if state.decisions and not in_work(state) and not state.undecided() else Pause.WAIT
    if state.crashes_in_a_row >= MOST_CRASHES_IN_A_ROW and state.decisions:
        return after_many_crashes(state)
    if incumbent_is_for_larger(state, slots):
        return Pause.WAIT
    number = state.next_experiment
    for proposal in state.waiting.values():
        why = f"the longest waiting proposal, by {proposal.author}; proposals come before new points"
        edit = Experiment(
            number, Kind.PROPOSAL, proposal.parent, (), proposal.idea, None, proposal.number, proposal.commit, why
        )
        return Work(edit, state.settings.seed, commit=proposal.commit)
    again = rebase(state, number, sources)
    if again is not None:
        return Work(again, state.settings.seed)
    found = suggest(number)
    if found is not None:
        changes = sources.space(state.incumbent_commit).changes(sources.recipe(state.incumbent_commit), found.point)
        description = ", ".join(map(str, changes))
        point = Experiment(number, Kind.SWEEP, state.incumbent_commit, changes, description, why=found.why)
        return Work(point, state.settings.seed)
    if not repeats_tell(state):
        return Pause.WAIT if in_work(state) or state.undecided() else Pause.FINISHED
    return measure_again(state, Purpose.AGAIN, "every point in reach was tried: the incumbent is measured again")


def is_trusted(state: State, slot: int) -> bool:
    """Whether a slot may have work: it is not put aside, and none of its crashes is being tried again elsewhere."""
    return not state.health.is_aside(slot, state.now) and not state.health.is_rechecked(slot)


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
    if len(begun) >= len(state.baseline_seeds):
        return None
    baseline = state.experiments.get(0) or Experiment(0, Kind.BASELINE, state.settings.base)
    for of_slot, seed in enumerate(state.baseline_seeds):
        if seed not in begun and (of_slot == slot or of_slot not in present):
            return Work(baseline, seed)
    return None


def last_work(state: State, limit: Limit, slots: SlotContext, belief: Belief) -> Work | Pause | None:
    """What the trials go to that are kept for the proof: once few others are out, whose outcomes may replace the
    incumbent, to a race that is nearly won, while half of them are left; then to the proof; then to other races."""
    left = (limit.trials or 0) - len(state.attempts)
    choosing = sum(purpose_of(seed, state.settings.seed) is None for _, seed in state.in_flight)
    if choosing > left / 2:
        return Pause.WAIT
    nearly_won = race_work(state, slots, belief, SURE) if left > limit.kept_for_proof(state) / 2 else None
    return nearly_won or proof_work(state, limit, belief) or race_work(state, slots, belief)


def race_work(state: State, slots: SlotContext, belief: Belief, likely: float = 0.0) -> Work | None:
    """A further seed for a race, on the kind of slot that it is run on; None if no race needs this slot now.

    likely: of races whose challenger is at least so likely to be better.
    """
    for race in races_to_run(state, belief):
        if (race.probability or 0.0) < likely:
            continue
        is_other_kind = race.machine != slots.machines.get(slots.asking, race.machine)
        if is_other_kind and race.machine in slots.machines.values():
            continue  # a slot of its kind will ask
        due = side_due(state, race)
        if due is not None:
            is_ours = due == race.challenger
            return further_seed(state, race) if is_ours else measure_again(state, Purpose.CONFIRM, race.why)
    return None


def side_due(state: State, race: Race) -> int | None:
    """The experiment that a race needs a further seed of; None if what it needs runs, or it needs none."""
    if race.need is Next.INCUMBENT:
        return None if state.seeds_in_flight(race.incumbent) else race.incumbent
    in_flight = len(state.seeds_in_flight(race.challenger))
    run = len(state.outcomes_of(race.challenger)) + in_flight
    is_due = (race.need is Next.CHALLENGER and not in_flight) or (
        race.need is Next.CHALLENGER_ALL and run <= confirm_seeds(state)
    )
    return race.challenger if is_due else None


def further_seed(state: State, race: Race) -> Work:
    experiment = race.challenger
    commit = state.outcomes_of(experiment)[0].commit
    seed = state.next_seed(experiment)
    return Work(state.experiments[experiment], seed, commit=commit, purpose=Purpose.CONFIRM, why=race.why)


def proof_work(state: State, limit: Limit, belief: Belief) -> Work | None:
    """A fresh seed of the incumbent or of the baseline, if one is due."""
    if state.incumbent is None or confirm_seeds(state) == 0 or not state.settings.proof_share:
        return None
    progress = limit.progress(state) if limit.size else None
    waits = not limit.is_for_the_proof(state) and bool(state.undecided())
    side = proof_side(state, belief, progress, limit.size, waits)
    if side is None:
        return None
    incumbent = state.incumbent.experiment
    of = f"that e{incumbent:04d} is better than the baseline" if incumbent else "of whatever will be kept"
    return fresh_seed(state, side, Purpose.PROOF, f"for the proof {of}: nothing is chosen by it")


def verification_work(state: State, seeds: int) -> Work | Pause:
    """The next fresh seed that search.verify asked for: so many for the recommended commit, and for the baseline."""
    if not state.frontier:
        raise SearchError("there is no baseline yet: nothing to verify")
    if not repeats_tell(state):
        raise SearchError("its runs give the same to the last digit, whoever repeats them: there is nothing to verify")
    again = [work for work in state.to_rerun.values() if work.purpose is Purpose.VERIFY]
    if again:
        return replace(again[0], attempt=again[0].attempt + 1)
    for number in sides_to_verify(state):
        if fresh_begun(state, number, Purpose.VERIFY) < seeds:
            return fresh_seed(state, number, Purpose.VERIFY, "search.verify asked for it: nothing is chosen by it")
    return Pause.WAIT if state.in_flight else Pause.FINISHED


def fresh_seed(state: State, experiment: int, purpose: Purpose, why: str) -> Work:
    """A run of an experiment with a seed that nothing was chosen by."""
    commit, seed = state.verdicts[experiment].commit, state.next_seed(experiment, purpose)
    return Work(state.experiments[experiment], seed, commit=commit, purpose=purpose, why=why)


def measure_again(state: State, purpose: Purpose, why: str) -> Work:
    """Measures the incumbent with its next seed: for a race, or for want of anything else if a space is used up."""
    experiment = state.incumbent.experiment if state.incumbent else 0
    seed = state.next_seed(experiment)
    return Work(state.experiments[experiment], seed, commit=state.incumbent_commit, purpose=purpose, why=why)


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
            why = f"e{winner.number:04d} was kept, and had not begun from what it beat: both may be good together"
            return Experiment(number, Kind.REBASE, decision.incumbent, changes, description, winner.number, why=why)
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
    why = f"{state.crashes_in_a_row} trials crashed in a row: does the incumbent still run?"
    return measure_again(state, Purpose.AGAIN, why)
